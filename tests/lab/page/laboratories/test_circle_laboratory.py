"""The laboratory of the circle: all pairs, spectra and removed frequencies are lab/modular's."""

import math
import re
import time

import numpy as np
import pytest
import torch

from lab.modular.fourier import (
    component_norms,
    excluded_logits,
    frequency_norms,
    keep_sum_frequencies,
)
from lab.modular.measures import grids
from lab.modular.runs import runs_of_arm

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("laboratories")]


@pytest.fixture(scope="module")
def run():
    [run] = runs_of_arm("reference")
    return run


@pytest.fixture
def page(opened):
    return opened("circle")


def test_logits_and_cuts_are_those_of_the_book(page, data_of, run):
    _, logits = grids(run.model())
    p, keys = len(logits), run.key_frequencies
    sums = (torch.arange(p)[:, None] + torch.arange(p)) % p
    cases = [("remove", [k]) for k in keys] + [("keep", [k]) for k in keys]
    cases += [("remove", keys), ("keep", keys), ("remove", [2, 3]), ("keep", [2, 3])]
    started = time.perf_counter()
    found, some = page.evaluate(
        """([data, cases]) => {
            const network = new bookLaboratories.circleParts.Network(data.weights);
            const { p } = data.config;
            for (let a = 0; a < p; a += 1) for (let b = 0; b < p; b += 1) network.pair(a, b);
            const right = cases.map(([mode, ks]) => network.right(mode, ks));
            return [right, Array.from(network.logits.subarray(0, 500 * p))];
        }""",
        [data_of("circle"), cases],
    )
    print(f"all {p * p:,} pairs and {len(cases)} cuts: {time.perf_counter() - started:.1f} s")
    expected = logits.flatten(0, 1)[:500].flatten()
    assert abs(torch.tensor(some) - expected).max() < 1e-4 * logits.std()
    for (mode, ks), count in zip(cases, found):
        cut = keep_sum_frequencies(logits, ks)[sums] if mode == "keep" else None
        cut = excluded_logits(logits, ks) if cut is None else cut
        assert abs(count - int((cut.argmax(-1) == sums).sum())) <= 2, (mode, ks)


def shares_of(norms):
    """From norms by frequency, the constant first, to shares of the squares."""
    power = np.asarray(norms[1:], dtype=float) ** 2
    return power / power.sum()


def test_the_spectra_of_all_epochs_are_those_of_the_book(page, data_of, run):
    """The run's within 0.002 (its embeddings have 8 bits a number, but the last), its replicas'
    within 1e-5."""
    data = data_of("circle")
    assert data["epochs"] == sorted(run.embeddings) and len(data["epochs"]) == 29
    found = page.evaluate(
        "() => bookLaboratories.circleParts.tables.map(bookLaboratories.circleParts.spectrum)"
    )
    for epoch, shares in zip(data["epochs"], found):
        table = run.embeddings[epoch][: run.config.p].float()
        expected = shares_of(frequency_norms(component_norms(table)))
        assert np.allclose(shares, expected, atol=1e-6 if epoch == data["epochs"][-1] else 2e-3)
    others = page.evaluate(
        "() => bookLaboratories.circleParts.others.map((o) => o.spectra.map((s) => [...s]))"
    )
    for other, spectra in zip(runs_of_arm("replicas"), others):
        measured = other.history["epoch"]
        for epoch, shares in zip(data["epochs"], spectra):
            row = int((measured <= epoch).sum()) - 1
            assert np.allclose(shares, shares_of(other.spectra["embedding"][row]), atol=1e-5)


def test_circles_are_those_of_the_book(page, data_of, run):
    """In the plane of a frequency, at the end: the run's, and its replicas' of their largest."""
    data = data_of("circle")

    def plane(table, k):
        turn = 2 * np.pi * k * np.arange(len(table)) / len(table)
        axes = np.stack([np.cos(turn), np.sin(turn)]) @ table
        return axes / np.linalg.norm(axes, axis=1, keepdims=True) @ table.T

    k = run.key_frequencies[0]
    found = page.evaluate(
        "(k) => bookLaboratories.circleParts.circle(bookLaboratories.circleParts.tables.at(-1), k)"
        ".map((axis) => [...axis])",
        k,
    )
    assert np.allclose(found, plane(run.weights["W_E"][: run.config.p].double().numpy(), k))
    for other, drawn in zip(runs_of_arm("replicas"), data["others"]):
        assert drawn["k"] == 1 + int(other.spectra["embedding"][-1][1:].argmax())
        table = other.weights["W_E"][: other.config.p].double().numpy()
        assert np.allclose(drawn["circle"], plane(table, drawn["k"]), atol=1e-4)


def test_by_keyboard_and_by_address(page):
    slider = page.get_by_label("Epoch", exact=True)
    slider.focus()
    page.keyboard.press("Home")
    assert "epoch 0" in page.locator("[role=status]").first.inner_text()
    assert "epoch=0" in page.url
    page.get_by_label("Beside it").focus()
    page.keyboard.type("seed 3")
    words = page.locator("[role=status]").first.inner_text()
    assert words.startswith("In epoch 0 ") and words.endswith("of that of seed 3.")
    slider.focus()
    page.keyboard.press("End")
    assert page.locator("[role=status]").first.inner_text().endswith("ended in epoch 8,200.")
    page.keyboard.press("Home")
    address = page.url
    page.get_by_role("button", name="Ask all pairs").press("Enter")
    page.get_by_text("pairs are right").wait_for(timeout=60_000)
    page.goto("about:blank")
    page.goto(address)
    assert page.locator("[role=status]").first.inner_text() == words
    assert page.get_by_label("Epoch", exact=True).input_value() == "0"
    page.get_by_role("button", name="Reset").press("Enter")
    assert "#" not in page.url


def test_the_picture_says_how_round_it_is(page):
    """Of two independent normal numbers a twentieth lies within Rayleigh's quantile."""
    cloud = math.sqrt(math.log(0.95) / math.log(0.05))
    roundness = r"the nearest is (\d+) % as far from the centre as the farthest .+ cloud: (\d+) %"
    picture = page.locator("svg[role=img]").first
    trained, said = map(int, re.search(roundness, picture.get_attribute("aria-label")).groups())
    assert said == round(100 * cloud) and trained > 70
    page.get_by_role("slider", name="Epoch").press("Home")
    untrained, _ = map(int, re.search(roundness, picture.get_attribute("aria-label")).groups())
    assert untrained < 30
