"""The plan of the house: which floor may know of which, and nothing knows of itself in a circle."""

import ast
import re
from pathlib import Path

import pytest

from lab.store import ROOT

MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for path in [
        *sorted(ROOT.glob("_*.py")),
        *sorted((ROOT / "lab").rglob("*.py")),
        *sorted((ROOT / "tools").rglob("*.py")),
    ]
}


def imports_of(path):
    """The project's modules that a file imports anywhere, also inside its functions."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are written in full"
            found.add(node.module)
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return {name for name in found if name in MODULES}


ARROWS = {name: imports_of(path) - {name} for name, path in MODULES.items()}


def cycle_in(arrows):
    """A circle of modules that import each other, as a list, or None."""
    done, path = set(), []

    def visit(name):
        if name in path:
            return [*path[path.index(name) :], name]
        if name in done:
            return None
        path.append(name)
        for other in sorted(arrows[name]):
            if circle := visit(other):
                return circle
        done.add(path.pop())
        return None

    return next((circle for name in sorted(arrows) if (circle := visit(name))), None)


def test_no_module_imports_itself_in_a_circle():
    packages = {name for name, path in MODULES.items() if path.name == "__init__.py"}
    arrows = {name: others - packages for name, others in ARROWS.items() if name not in packages}
    assert cycle_in(arrows) is None
    assert cycle_in({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == ["b", "c", "b"]


@pytest.mark.parametrize(
    "floor, above",
    [
        ("_checks", ("_common", "lab", "tools")),
        ("_common", ("lab", "tools")),
        ("lab", ("tools",)),
        ("lab.stats", ("lab.store", "lab.addition", "lab.modular", "lab.adders")),
        ("lab.store", ("lab.addition", "lab.modular", "lab.adders", "lab.page", "lab.figures")),
        ("lab.addition", ("lab.modular", "lab.adders", "lab.page", "lab.figures", "lab.registry")),
        ("lab.modular", ("lab.adders", "lab.page", "lab.figures", "lab.registry")),
        ("lab.adders", ("lab.page", "lab.figures", "lab.registry")),
        ("lab.figures", ("lab.page", "lab.registry")),
    ],
)
def test_a_floor_does_not_know_what_stands_on_it(floor, above):
    wrong = [
        (name, other)
        for name, others in ARROWS.items()
        if name == floor or name.startswith(floor + ".")
        for other in others
        if any(other == each or other.startswith(each + ".") for each in above)
    ]
    assert wrong == []


def test_only_pages_know_of_pages():
    page = {
        name
        for name, others in ARROWS.items()
        if any(other.startswith("lab.page") for other in others)
    }
    assert {name for name in page if name.startswith("lab.")} <= {
        name for name in MODULES if name.startswith("lab.page")
    } | {"lab.exercises"}


def test_every_folder_of_lab_has_its_tests():
    folders = {path.parent.relative_to(ROOT / "lab") for path in (ROOT / "lab").rglob("*.py")} - {
        Path(".")
    }
    for folder in folders:
        if folder != Path("adders/gradients"):  # held against the models they differentiate
            assert list((ROOT / "tests" / "lab" / folder).rglob("test_*.py")), folder


# -- The picture


PICTURE = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8").partition("```mermaid")[2]
ROOMS = {
    name: label.partition(":")[0].split(", ")
    for name, label in re.findall(r'^    (\w+)\["(.+)"\]$', PICTURE, re.MULTILINE)
    if name != "chapters"  # no modules
}
DRAWN = {(a, b) for a, b in re.findall(r"^    (\w+) --> (\w+)$", PICTURE, re.MULTILINE)}


def rooms_of(module):
    return [
        room
        for room, names in ROOMS.items()
        if any(module == name or module.startswith(name + ".") for name in names)
    ]


def reachable(arrows):
    """All pairs of rooms that a way of arrows leads between."""
    ways = set(arrows)
    while more := {(a, d) for a, b in ways for c, d in ways if b == c} - ways:
        ways |= more
    return ways


def test_the_picture_has_a_room_for_every_module():
    homeless = {name: rooms_of(name) for name in MODULES if len(rooms_of(name)) != 1}
    assert set(homeless) <= {"lab", "tools"} and homeless.get("tools", ["tools"]) == ["tools"]


def test_every_import_follows_the_arrows_of_the_picture_and_every_arrow_is_an_import():
    imports = {
        (rooms_of(name)[0], rooms_of(other)[0])
        for name, others in ARROWS.items()
        for other in others
        if rooms_of(name) and rooms_of(other)
    }
    imports = {(a, b) for a, b in imports if a != b}
    ways = reachable(DRAWN)
    assert imports <= ways, imports - ways
    assert not {room for room in ROOMS if (room, room) in ways}
    of_chapters = {(a, b) for a, b in DRAWN if a == "chapters"}
    assert DRAWN - of_chapters <= imports, DRAWN - of_chapters - imports
    assert reachable({("a", "b"), ("b", "c")}) == {("a", "b"), ("b", "c"), ("a", "c")}
