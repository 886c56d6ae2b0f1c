"""The laboratory of the circle: all pairs, spectra and removed frequencies are lab/modular's."""

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


def test_the_spectrum_is_that_of_the_book(page, data_of, run):
    norms = frequency_norms(component_norms(run.weights["W_E"][: run.config.p].float()))
    power = norms[1:].square().numpy()
    found = page.evaluate(
        """(data) => bookLaboratories.circleParts.spectrum(
            bookLaboratories.circleParts.halves(data.epochs.at(-1).embedding))""",
        data_of("circle"),
    )
    assert np.allclose(found, power / power.sum(), atol=1e-6)


def test_by_keyboard_and_by_address(page):
    slider = page.get_by_label("Epoch", exact=True)
    slider.focus()
    page.keyboard.press("Home")
    assert "epoch 0" in page.locator("[role=status]").first.inner_text()
    assert "epoch=0" in page.url
    address = page.url
    page.get_by_role("button", name="Ask all pairs").press("Enter")
    page.get_by_text("pairs are right").wait_for(timeout=60_000)
    page.goto("about:blank")
    page.goto(address)
    assert page.get_by_label("Epoch", exact=True).input_value() == "0"
    page.get_by_role("button", name="Reset").press("Enter")
    assert "#" not in page.url
