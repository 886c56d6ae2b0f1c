"""The laboratories in a real browser: their numbers are PyTorch's, and a keyboard is enough."""

import re

import numpy as np
import pytest
import torch
from page_faults import CONTRAST, SIDEWAYS

from _common import encode_addition, generate
from lab.addition.carries import all_pairs, carries
from lab.addition.censuses import census_of, subjects
from lab.addition.interventions import (
    ablate_edges,
    ablate_part,
    interventions_of,
    patch,
    streams,
)
from lab.experiments import half_trained, runs_of
from lab.page.laboratories import HERE, LABORATORIES, laboratories_of
from lab.page.qmd import list_pages, read_config
from lab.stats import exact_interval
from lab.store import ROOT

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("laboratories")]
UNNAMED = """() => [...document.querySelectorAll("main input, main select, main progress")]
    .filter((one) => !one.getAttribute("aria-label") && !one.labels.length).length"""


MODEL = """(data, i) => new bookLaboratories.Transformer(
    {...data.models[i], config: data.config, tensors: data.tensors})"""


def in_page(page, data, i, body, argument):
    """body: JavaScript of `model` and `x` -> what it returns."""
    script = f"([data, i, x]) => {{ const model = ({MODEL})(data, i); {body} }}"
    return page.evaluate(script, [data, i, argument])


def some_sums(n, seed):
    a, b = np.random.default_rng(seed).integers(1000, size=(2, n))
    tokens = [sum(encode_addition(int(x), int(y)), [])[:12] for x, y in zip(a, b)]
    return a, b, torch.tensor(tokens)  # (N,), (N,), (N, 12)


def models():
    return [run.model() for run in (*runs_of("reference"), half_trained()[0])]


def scale_of(logits):
    return float(logits.std())


def test_logits_and_digits_are_pytorchs(opened, data_of):
    page, data = opened("adder"), data_of("adder")
    for i, model in enumerate(models()):
        a, b, tokens = some_sums(500, seed=i)
        with torch.no_grad():
            expected = model(tokens)  # (N, 12, V)
        logits = in_page(
            page,
            data,
            i,
            "return x.map((t) => model.forward(t).logits.map((l) => [...l]))",
            tokens.tolist(),
        )
        assert abs(torch.tensor(logits) - expected).max() < 1e-4 * scale_of(expected)
        written = in_page(
            page,
            data,
            i,
            "return x.map((t) => model.write(t.slice(0, 8), 5).tokens)",
            tokens.tolist(),
        )
        assert written == generate(model, tokens[:, :8], 5)[:, -5:].tolist()


def test_interventions_are_those_of_the_book(opened, data_of):
    page, data, rng = opened("adder"), data_of("adder"), np.random.default_rng(1)
    model = models()[0]
    _, _, tokens = some_sums(100, seed=9)
    _, _, others = some_sums(100, seed=10)
    cases, expected = [], []
    with torch.no_grad():
        for k, (row, other) in enumerate(zip(tokens, others)):
            layer, query = int(rng.integers(2)), int(rng.integers(7, 11))
            key = int(rng.integers(query + 1))
            part = ["attention", "feed-forward", "layer"][k % 3]
            depth = int(rng.integers(3))
            vector = streams(model, other[None])[depth][:, key]
            change, intervene = [  # hooks stand from the call on: only one is called
                (
                    {"edges": [{"layer": layer, "row": query, "key": key}]},
                    lambda: ablate_edges(model, layer, [(query, key)]),
                ),
                (
                    {"parts": [{"layer": layer, "part": part}]},
                    lambda: ablate_part(model, layer, part),
                ),
                (
                    {"patch": {"depth": depth, "position": key, "vector": vector[0].tolist()}},
                    lambda: patch(model, depth, key, vector),
                ),
            ][k % 3 if k < 90 else 1]
            with intervene():
                expected.append(model(row[None])[0])
            cases.append([row.tolist(), change])
    logits = in_page(
        page,
        data,
        0,
        "return x.map(([t, c]) => model.forward(t, c).logits.map((l) => [...l]))",
        cases,
    )
    expected = torch.stack(expected)
    assert abs(torch.tensor(logits) - expected).max() < 1e-4 * scale_of(expected)


def test_intervals_and_carries_are_those_of_the_book(opened):
    page = opened("adder")
    cases = [(0, 6), (6, 6), (3, 50), (150, 300), (299, 300), (12, 1000)]
    shown = page.evaluate(
        "(cases) => cases.map(([k, n]) => bookLaboratories.exactInterval(k, n))", cases
    )
    assert np.allclose(shown, [exact_interval(*case) for case in cases], atol=1e-9)
    a, b = all_pairs()
    chosen = np.random.default_rng(0).choice(len(a), 2000)
    pairs = np.stack([a[chosen], b[chosen]], 1)
    counted = page.evaluate(
        "(pairs) => pairs.map(([a, b]) => bookLaboratories.nCarries(a, b))", pairs.tolist()
    )
    assert counted == carries(pairs[:, 0], pairs[:, 1]).sum(1).tolist()


def test_the_adder_by_keyboard_and_by_address(opened):
    page = opened("adder", "#lab-adder?a=500&b=501")
    status = page.locator("[role=status]").first
    assert status.inner_text() == "500 + 501: the model writes 1001, which is right."
    page.get_by_label("First number", exact=True).focus()
    for key in ("Control+a", "9", "9", "9", "Tab", "Control+a", "1"):
        page.keyboard.press(key)
    assert status.inner_text() == "999 + 1: the model writes 1000, which is right."
    assert "a=999" in page.url and "b=1" in page.url
    change = page.get_by_label("Change", exact=True)
    change.focus()
    page.keyboard.type("take a whole")
    assert change.input_value() == "layer" and "change=layer" in page.url
    page.get_by_role("button", name="The same on 300 sums").press("Enter")
    many = page.locator("[role=status]").last
    many.get_by_text("exact, 95 %").wait_for(timeout=60_000)
    before, after = map(int, re.findall(r"(\d+) of 300", many.inner_text()))
    assert before == 300 and after < 200
    page.get_by_role("button", name="Reset").press("Enter")
    assert page.get_by_label("First number", exact=True).input_value() == "123"
    assert "#" not in page.url


@pytest.mark.parametrize(
    "change, where",
    [("edge&key=6", {"row": 8, "key": 6}), ("feed-forward", {"part": "feed-forward"})],
)
def test_a_cut_on_many_sums_stands_beside_the_books_figure(opened, change, where):
    """The tens digit, the first layer, two carries; page and book draw other sums."""
    table = interventions_of(runs_of("reference")[1])["edges" if "key" in where else "parts"]
    where = {"how": "zero", "layer": 0, "carries": 2, "digit": 1, **where}
    [row] = table[(table[list(where)] == list(where.values())).all(axis=1)].itertuples()
    page = opened("adder", f"#lab-adder?model=1&column=1&layer=0&carries=2&change={change}")
    page.get_by_role("button", name="The same on 300 sums").press("Enter")
    many = page.locator("[role=status]").last
    many.get_by_text("exact, 95 %").wait_for(timeout=60_000)
    low, high = (f"{100 * end:.1f} %" for end in exact_interval(round(row.right * row.n), row.n))
    said = (
        f"The book's own figure for this cut, in chapter 6: {round(row.right * row.n)} of {row.n}"
    )
    assert f"{said} ({low} to {high})." in many.inner_text()
    ours = int(re.search(r"in (\d+) of 300 \([^)]*\) after", many.inner_text())[1]) / 300
    assert abs(ours - row.right) < 5 * np.sqrt(row.right * (1 - row.right) / 300) + 0.01


def test_the_focus_goes_on_when_a_button_is_done(opened):
    """From the button that is gone to "Stop", and from "Stop" back."""
    page, focused = opened("adder"), "document.activeElement.textContent"
    page.get_by_role("button", name="The same on 300 sums").press("Enter")
    assert page.evaluate(focused) == "Stop"
    page.get_by_text("exact, 95 %").wait_for(timeout=60_000)
    assert page.evaluate(focused) == "The same on 300 sums"
    page = opened("census")
    page.get_by_role("button", name="Draw 200").press("Enter")
    page.get_by_text("200 samples").wait_for(timeout=60_000)
    assert page.evaluate(focused) == "Draw 200"
    page.get_by_role("button", name="Draw one").press("Enter")
    page.get_by_text("201 samples").wait_for()


def test_where_the_book_did_not_look_no_figure_stands(opened):
    for address in ("model=5&change=layer", "change=patch"):
        page = opened("adder", f"#lab-adder?{address}")
        page.get_by_role("button", name="The same on 300 sums").press("Enter")
        page.get_by_text("exact, 95 %").wait_for(timeout=60_000)
        assert "own figure" not in page.locator("[role=status]").last.inner_text()


@pytest.mark.parametrize("name", LABORATORIES)
@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 320])
def test_a_laboratory_is_legible(opened, name, theme, width):
    page = opened(name, "", theme, width)
    assert page.evaluate(CONTRAST) == []
    assert page.evaluate(SIDEWAYS) == []
    assert page.evaluate(UNNAMED) == 0
    box = page.locator(".laboratory")
    assert box.evaluate("(box) => box.scrollWidth - box.clientWidth") <= 0


@pytest.mark.parametrize("name", LABORATORIES)
def test_tab_reaches_every_control_and_shows_where_it_is(opened, name):
    page = opened(name)
    reachable = "main :is(input, select, button, summary, [tabindex]):not(:disabled)"
    n = page.locator(reachable).locator("visible=true").count()
    reached = []
    for _ in range(n):
        page.keyboard.press("Tab")
        reached.append(
            page.evaluate("""() => {
                const one = document.activeElement;
                const style = getComputedStyle(one);
                const all = [...document.querySelectorAll("main *")];
                const seen = style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2;
                return one.closest(".laboratory") && seen ? all.indexOf(one) : -1; }""")
        )
    assert -1 not in reached and reached == sorted(set(reached)), reached
    page.get_by_role("button", name="Reset").press("Enter")
    assert page.evaluate("document.activeElement.textContent") == "Reset"


@pytest.mark.parametrize("name", LABORATORIES)
def test_in_print_the_sentence_is_back_and_controls_are_gone(opened, name):
    page = opened(name)
    sentence = page.get_by_text("Without JavaScript.")
    assert not sentence.is_visible()
    page.emulate_media(media="print")
    assert sentence.is_visible()
    assert page.locator(":is(input, select, button)").locator("visible=true").count() == 0
    drawn = page.locator(":is(svg, table)").locator("visible=true").count()
    assert drawn or name == "regression"  # which shows nothing before a guess


@pytest.mark.parametrize("name", LABORATORIES)
def test_nothing_moves_for_those_who_asked_for_it(opened, name):
    page = opened(name, reduced_motion="reduce")
    moving = """() => document.getAnimations().length + [...document.querySelectorAll("main *")]
        .filter((one) => parseFloat(getComputedStyle(one).transitionDuration) > 0).length"""
    assert page.evaluate(moving) == 0


def test_without_scripts_each_has_a_sentence_and_a_figure_of_its_own():
    found = []
    for page in list_pages(ROOT, read_config(ROOT, "reader")):
        text = (ROOT / page.source).read_text(encoding="utf-8")
        for name, block in re.findall(
            r"^::: \{#lab-([a-z]+) \.laboratory\}$(.*?)^:::$", text, re.M | re.S
        ):
            said, cell = block.split("```{python}")
            assert said.count(".") >= 2 and f'"lab-{name}")' in cell
            assert len(re.search(r'fig-alt: "(.*)"', cell)[1]) > 100
            found.append(name)
    assert sorted(found) == sorted(LABORATORIES)


def test_estimates_are_unbiased_and_exact_intervals_hold(opened):
    kinds = subjects()
    run = kinds["half trained"][0]
    rate = census_of(run, progress=False).wrong.mean()
    for design in ("simple", "proportional", "equal"):
        page = opened("census", f"#lab-census?design={design}&n=200")
        for _ in range(3):
            page.get_by_role("button", name="Draw 200").press("Enter")
        status = page.locator("[role=status]")
        status.get_by_text("600 samples").wait_for(timeout=60_000)
        mean, truth = (
            float(x) / 100
            for x in re.search(
                r"is ([\d.]+) %; the census says ([\d.]+) %", status.inner_text()
            ).groups()
        )
        assert truth == pytest.approx(rate, abs=5e-6)
        assert mean == pytest.approx(rate, abs=5 * np.sqrt(rate * (1 - rate) / 200 / 600) * 2)
        held = int(re.search(r"(\d+) intervals", status.inner_text())[1])
        assert held >= (0.93 if design == "simple" else 0.85) * 600


def test_without_scripts_the_sentence_stays(opened, folder, bare_browser):
    context = bare_browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto((folder / "adder-light.html").as_uri())
    assert page.locator("main").inner_text() == "Without JavaScript."
    context.close()


@pytest.mark.parametrize("name", LABORATORIES)
def test_a_laboratory_is_ready_soon(opened, name):
    """Within a second on a phone that is not busy; here the best of three, with room for a machine
    that is."""
    page = opened(name)
    ready = "performance.getEntriesByType('navigation')[0].domContentLoadedEventEnd"
    times = [page.evaluate(ready)]
    for _ in range(2):
        page.reload()
        times.append(page.evaluate(ready))
    print(f"{name}: ready after {min(times):.0f} ms")
    assert min(times) < 4000


def test_a_page_stays_light(folder):
    """With a quarter of a megabyte for the text, which no chapter passes: 1.5 MB."""
    sizes = {path.name: path.stat().st_size for path in folder.glob("*.js")}
    print(sizes)
    assert max(sizes.values()) < 1_240_000, sizes


def test_which_laboratories_a_book_has():
    text = "::: {#lab-adder .laboratory}\nA sentence.\n:::\n"
    assert laboratories_of([text, "", text]) == ["adder"]
    with pytest.raises(ValueError, match="no laboratory 'nothing': there are adder"):
        laboratories_of([text.replace("adder", "nothing")])


def test_the_preface_leads_to_every_laboratory():
    led_to = re.findall(
        r"^\| @(sec-[\w-]+) \|", (ROOT / "index.qmd").read_text("utf-8"), re.MULTILINE
    )
    sections = {}
    for path in sorted((ROOT / "chapters").glob("*.qmd")):
        text = path.read_text(encoding="utf-8")
        for found in re.finditer(r"^:{3,} \{#lab-(\w+) \.laboratory\}", text, re.MULTILINE):
            sections[found[1]] = re.findall(r"\{#(sec-[\w-]+)\}", text[: found.start()])[-1]
    assert set(sections) == set(LABORATORIES)
    assert led_to == list(sections.values())


def test_what_a_change_does_is_told_and_not_only_shown(opened):
    page = opened("adder", "#lab-adder?a=123&b=989&column=1&change=layer&layer=0")
    told = page.locator("[role=status]").nth(1).inner_text()
    assert re.match(r"With the change the tens digit is .+; without it 1\. All four", told), told
    page.get_by_label("Change").select_option("nothing")
    assert page.locator("[role=status]").nth(1).inner_text() == ""


def test_the_sample_just_drawn_is_told(opened):
    page = opened("census", "#lab-census?n=50")
    page.get_by_role("button", name="Draw one").press("Enter")
    page.get_by_text("This sample: ").wait_for()
    assert re.search(r"(contains|misses) the truth\. In all: 1 sample\.", page.inner_text("main"))
    label = page.locator("svg[role=img]").first.get_attribute("aria-label")
    assert "1 of them miss it" in label or "0 of them miss it" in label


def test_what_is_no_frequency_is_named(opened):
    page = opened("circle", "#lab-circle")
    field = page.get_by_label("Frequencies, 1 to 56")
    field.fill("99 38, abc")
    field.press("Enter")
    page.get_by_text("pairs are right").wait_for(timeout=60_000)
    assert "Without 38 (99, abc: no frequency from 1 to 56)" in page.inner_text("main")


@pytest.mark.parametrize("change", ["edge", "patch"])
def test_a_change_that_cannot_reach_the_digit_is_said(opened, change):
    seen = opened("adder", f"#lab-adder?change={change}&key=6&column=0")
    assert "cannot reach it" not in seen.locator("[role=status]").nth(1).inner_text()
    later = opened("adder", f"#lab-adder?change={change}&key=9&column=0")
    told = later.locator("[role=status]").nth(1).inner_text()
    assert told.startswith('The row of the ones sees no position after "=": this change cannot')


def test_the_patch_that_stands_there_changes_the_digit(opened):
    page = opened("adder", "#lab-adder?change=patch")
    assert "ones digit is 7 (" in page.locator("[role=status]").nth(1).inner_text()


@pytest.mark.parametrize("name", LABORATORIES)
def test_an_address_may_hold_anything(opened, name):
    """A link that was typed wrong opens the laboratory, with its first choices."""
    script = (HERE / f"{name}.js").read_text(encoding="utf-8")
    settings = re.search(r"settingsOf\(root\.id, \{(.+?)\}\)", script, re.DOTALL)[1]
    names = re.findall(r"(\w+):", settings)
    assert len(names) > 2
    page = opened(name, f"#lab-{name}?" + "&".join(f"{each}=nonsense" for each in names))
    assert page.locator(".laboratory [role=status]").first.inner_text()
    assert page.evaluate(UNNAMED) == 0
