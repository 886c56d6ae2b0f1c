"""The laboratory of eight and nine numbers: its digits, intervals and steps are the book's."""

import re
import time

import numpy as np
import pytest
import torch

from lab.adders.formats import FORMATS
from lab.adders.fragility import passing_interval
from lab.adders.studies.frontier import ENTRIES
from lab.adders.studies.generic_starts import GENERIC
from lab.adders.ten_digits import stratified_pairs
from lab.adders.training.fleets import Examples, Fleet

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("laboratories")]
SWEEPS = (ENTRIES["8"], GENERIC["8, flat"], ENTRIES["9"], ENTRIES["9, random start"])
LAB = "bookLaboratories.eightNumbers"


@pytest.fixture
def page(opened):
    return opened("eight")


def test_logits_and_digits_are_pytorchs(page, data_of):
    a, b, _ = stratified_pairs(25, seed=8)  # 500 sums
    pairs = torch.stack([a, b], 1).tolist()
    sequences = FORMATS["leading zero"].sequences(a, b)
    for k, entry in enumerate(SWEEPS):
        numbers = data_of("eight")["presets"][2 * k]["numbers"]
        model = entry.sweep().model(100).double()
        with torch.no_grad():
            expected = model(sequences[:, :33])[:, 22:33]  # (500, 11, 10)
        found = page.evaluate(
            f"([w, pairs]) => pairs.map(([a, b]) => {LAB}.logitsOf(w, {LAB}.tokensOf(a, b)))",
            [numbers, pairs],
        )
        found = torch.tensor(found, dtype=torch.float64)
        assert abs(found - expected).max() < 1e-4 * expected.std()
        assert torch.equal(found.argmax(-1), expected.argmax(-1))


def test_the_57_is_pytorchs(page, data_of):
    """500 sums, with and without training: digits equal, logits within 1e-4 of their scale."""
    sweep = ENTRIES["57"].sweep()
    [seed] = sweep.outcomes["seed"][sweep.successes]
    a, b, _ = stratified_pairs(25, seed=57)
    sequences = FORMATS["digits only"].sequences(a, b)
    presets = {each["name"]: each["numbers"] for each in data_of("eight")["presets"]}
    for name, model in (
        ("57, trained", sweep.model(seed)),
        ("57, untrained", sweep.config.model.build(seed)),
    ):
        with torch.no_grad():
            expected = model.double()(sequences[:, :32])[:, 21:32]  # (500, 11, 10)
        found = page.evaluate(
            f"([w, pairs]) => pairs.map(([a, b]) => {LAB}.logitsOf(w, {LAB}.tokensOf(a, b)))",
            [presets[name], torch.stack([a, b], 1).tolist()],
        )
        found = torch.tensor(found, dtype=torch.float64)
        print(f"{name}: {abs(found - expected).max() / expected.std():.1e} of the logits' scale")
        assert abs(found - expected).max() < 1e-4 * expected.std()
        assert torch.equal(found.argmax(-1), expected.argmax(-1))


def test_how_far_the_57s_numbers_may_move(page, data_of):
    sweep, data = ENTRIES["57"].sweep(), data_of("eight")
    [seed] = sweep.outcomes["seed"][sweep.successes]
    pairs = torch.tensor(data["demanding"]).T
    model = sweep.model(seed)
    for name, i in (("arc[2]", 2), ("theta", 21), ("w[4]", 56)):
        numbers = next(p["numbers"] for p in data["presets"] if p["name"] == "57, trained")
        found = page.evaluate(
            f"([w, i, pairs]) => {LAB}.passingInterval(w, i, "
            f"pairs.map(([a, b]) => {LAB}.tokensOf(a, b)))",
            [numbers, i, data["demanding"]],
        )
        assert found == pytest.approx(passing_interval(model, name, *pairs), rel=5e-3)


def test_the_57_by_keyboard(page):
    presets = page.get_by_label("Numbers from")
    presets.focus()
    page.keyboard.type("57")
    status = page.locator("[role=status]").first
    assert status.inner_text().startswith("200 of 200") and "preset=8" in page.url
    groups = page.locator("details")
    assert sum(int(text.split(": ")[1]) for text in groups.all_inner_texts()) == 57
    groups.locator("summary").first.press("Enter")
    page.get_by_label("stride").press("PageUp")
    assert not status.inner_text().startswith("200 of 200")


def test_fifty_steps_are_the_fleets(page, data_of):
    """On the same batches; single against double precision: within 1e-3 of each number's size."""
    config, seed = ENTRIES["8"].config, 200
    fleet = Fleet(config, [seed])
    batches = Examples(config, seed, "cpu").draw(0, 50)  # (50, 35, 64)
    start = data_of("eight")["starts"][0]["numbers"][0]
    found = page.evaluate(
        f"""([w, batches]) => {{
            const training = new {LAB}.Training(w);
            for (const batch of batches) training.learn(batch);
            return training.w;
        }}""",
        [start, batches.transpose(1, 2).tolist()],
    )
    fleet._train_to(50)
    expected = fleet.models.flat[0].tolist()
    names = [n for n, p in config.model.build(0).named_parameters() for _ in range(p.numel())]
    order = [names.index(n) for n in "arc S phi write W_1 W_2".split()]
    order += [names.index("H"), names.index("H") + 1]
    expected = [expected[i] for i in order]
    assert not np.allclose(start, expected, rtol=1e-2)
    assert np.allclose(found, expected, rtol=1e-3)


def test_intervals_are_those_of_fragility(page, data_of):
    data = data_of("eight")
    book = data["presets"][0]
    found = page.evaluate(
        f"""([w, pairs]) => {{
            const sums = pairs.map(([a, b]) => {LAB}.tokensOf(a, b));
            const ends = w.map((_, i) => {LAB}.passingInterval(w, i, sums));
            return ends.map((both) => both.map((e) => (Number.isFinite(e) ? e : null)));
        }}""",
        [book["numbers"], data["demanding"]],
    )
    for ours, theirs in zip(found, book["intervals"]):
        for one, other in zip(ours, theirs):
            assert (one is None) == (other is None)
            assert one is None or one == pytest.approx(other, rel=5e-3)


def test_by_keyboard_and_by_address(page, data_of):
    status = page.locator("[role=status]").first
    assert status.inner_text().startswith("200 of 200")
    slider = page.get_by_label("crest of the wave (tokens back)")
    slider.focus()
    for _ in range(12):
        page.keyboard.press("ArrowRight")
    assert not status.inner_text().startswith("200 of 200")
    assert "numbers=" in page.url
    assert page.get_by_label("Numbers from").input_value() == "own"  # no longer the preset's
    kept, address = status.inner_text(), page.url
    page.goto("about:blank")
    page.goto(address)
    assert page.locator("[role=status]").first.inner_text() == kept
    page.get_by_role("button", name="Reset").press("Enter")
    assert page.locator("[role=status]").first.inner_text().startswith("200 of 200")


def test_a_reader_trains_and_stops(page):
    started = time.perf_counter()
    page.get_by_role("button", name="Train").press("Enter")
    page.wait_for_function("document.querySelector('progress').value > 500", timeout=60_000)
    page.get_by_text(re.compile(r"^step [\d,]+, loss \d")).wait_for()
    print(f"500 steps in the page: {time.perf_counter() - started:.1f} s")
    page.get_by_role("button", name="Stop").press("Enter")
    page.get_by_text("Seed 200").wait_for()
    page.get_by_text("it is censored here: neither a success nor a failure").wait_for()
    curve = page.locator("svg").last
    assert curve.get_attribute("aria-label").endswith("0 learned, 0 did not, 1 censored.")
    assert curve.locator(".truth").count() == 1 and curve.locator(".misses").count() == 0


def test_a_seed_without_a_start_is_said(page):
    """And what becomes of the eight is in the address, also where the 57 were under the sliders."""
    page.get_by_label("Numbers from").select_option("57, trained")
    page.get_by_label("Your seed").fill("7")
    page.get_by_role("button", name="Train").press("Enter")
    page.get_by_role("button", name="Stop").press("Enter")
    page.get_by_text("No start is stored for the seed 7; 200 is the nearest. Seed 200").wait_for()
    assert "numbers=" in page.url
    kept, address = page.locator("[role=status]").first.inner_text(), page.url
    page.goto("about:blank")
    page.goto(address)
    assert page.locator("[role=status]").first.inner_text() == kept
