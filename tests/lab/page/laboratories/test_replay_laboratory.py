"""The laboratory of the replayed run: its weights are the stored ones at each epoch, and what comes
after the sixth is shown to those who have guessed."""

import re
import time

import numpy as np
import pytest
import torch
from page_faults import CONTRAST, SIDEWAYS

from _common import digits_at_chance, encode_addition, generate, get_attention_maps
from lab.addition.replay import KEPT, model_at, replay
from lab.experiments import runs_of
from lab.page.laboratories import OPEN_EPOCHS, show_laboratory

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("laboratories")]
MODEL = """([data, i, rows]) => { const model = new bookLaboratories.Transformer(
    {...data.epochs[i], config: data.config, tensors: data.tensors, half: true}); """
GUESS = "Your guess, epoch 1 to 40"


@pytest.fixture(scope="module")
def run():
    return replay()


@pytest.fixture
def page(opened):
    return opened("replay")


def statuses(page):
    return page.locator("[role=status]").all_inner_texts()


@pytest.mark.parametrize("epoch", [0, 6, 12, 22, 40])
def test_logits_maps_and_digits_are_pytorchs(page, data_of, run, epoch):
    """500 sums at five of the epochs: digits equal, logits within 1e-4 of their scale."""
    a, b = np.random.default_rng(epoch).integers(1000, size=(2, 500))
    rows = torch.tensor([sum(encode_addition(int(x), int(y)), [])[:12] for x, y in zip(a, b)])
    model, data, i = model_at(run, epoch), data_of("replay"), KEPT.index(epoch)
    with torch.no_grad():
        expected = model(rows)  # (500, 12, V)
    asked = [data, i, rows.tolist()]
    started = time.perf_counter()
    logits = page.evaluate(
        MODEL + "return rows.map((t) => model.forward(t).logits.map((l) => [...l])); }", asked
    )
    print(f"one pass: {2 * (time.perf_counter() - started):.1f} ms")
    assert abs(torch.tensor(logits) - expected).max() < 1e-4 * expected.std()
    written = page.evaluate(
        MODEL + "return rows.map((t) => model.write(t.slice(0, 8), 5).tokens); }", asked
    )
    assert written == generate(model, rows[:, :8], 5)[:, -5:].tolist()
    patterns = page.evaluate(
        MODEL + "return model.forward(rows[0]).patterns.map((heads) => heads[0]); }", asked
    )
    maps, _ = get_attention_maps(model, int(a[0]), int(b[0]))
    for ours, theirs in zip(patterns, maps):
        for t, weights in enumerate(ours):
            assert np.allclose(weights, np.asarray(theirs).squeeze()[t, : t + 1], atol=1e-5)


def test_the_history_is_the_runs_own(data_of, run):
    """Never the reference run's of the same seed, which went another way."""
    data, [reference] = data_of("replay"), runs_of("reference", [run.config.seed])
    excess = digits_at_chance(run.history["loss"], run.config.floor, n_targets=12)
    assert np.allclose([each["excess"] for each in data["history"]], excess, atol=5e-4)
    assert [each["accuracy"] for each in data["history"]] == run.history["accuracy"].tolist()
    drawn = next(each for each in data["others"][0]["runs"] if each["seed"] == run.config.seed)
    theirs = digits_at_chance(reference.history["loss"][:40], run.config.floor, n_targets=12)
    assert np.allclose(drawn["excess"], theirs, atol=5e-4)
    assert abs(np.array(drawn["excess"]) - excess).max() > 0.2
    assert "it is not the reference run of seed 44," in data["note"]


def test_before_a_guess_nothing_later_is_shown(page, data_of):
    """Neither in words nor in a curve, though the address asks for it."""
    page.goto(page.url + "#lab-replay?epoch=40")
    page.reload()
    page.get_by_label("Other runs laid behind").select_option("1")
    slider = page.get_by_label("Epoch", exact=True)
    slider.press("End")
    assert slider.get_attribute("aria-valuetext") == f"epoch {OPEN_EPOCHS}"
    rows = page.locator("table").last.locator("tbody tr")
    rows.first.wait_for()
    assert rows.count() == sum(epoch <= OPEN_EPOCHS for epoch in KEPT)
    drawn = [one.get_attribute("points") for one in page.locator("polyline").all()]
    assert len(drawn) == 25 and max(len(points.split()) for points in drawn) <= OPEN_EPOCHS
    assert not re.search(r"epoch (?!1 to)(?:[7-9]|\d\d)", page.locator("main").inner_html())


def test_by_keyboard_and_by_address(page, data_of):
    assert "Guess first" in statuses(page)[0]
    page.get_by_label(GUESS).focus()
    for key in ("ArrowUp", "Control+a", "9", "9", "Tab"):  # neither an arrow nor Tab is an answer
        page.keyboard.press(key)
    assert "Guess first" in statuses(page)[0]
    page.keyboard.press("Enter")  # on the button
    assert statuses(page)[0] == "Guess an epoch from 1 to 40."
    page.get_by_label(GUESS).focus()
    for key in ("Control+a", "3", "0", "Enter"):
        page.keyboard.press(key)
    assert (
        statuses(page)[0] == "You said epoch 30. It was epoch 23: 7 epochs earlier than you said."
    )
    slider = page.get_by_label("Epoch", exact=True)
    slider.focus()
    for key in ("End", "ArrowLeft"):
        page.keyboard.press(key)
    assert slider.get_attribute("aria-valuetext") == "epoch 39"
    assert "100.0 % of the test sums right" in statuses(page)[1]
    page.get_by_label("First number").focus()
    for key in ("Control+a", "9", "9", "9", "Tab", "Control+a", "1"):
        page.keyboard.press(key)
    assert statuses(page)[1].endswith("999 + 1: the model writes 1000, which is right.")
    page.get_by_label("Other runs laid behind").focus()
    page.keyboard.type("all")
    assert page.locator(".other").count() == 20
    kept, address = statuses(page), page.url
    assert all(part in address for part in ("a=999", "b=1", "epoch=39", "guess=30", "others=1"))
    page.goto("about:blank")
    page.goto(address)
    assert statuses(page) == kept and page.locator(".other").count() == 20
    page.get_by_role("button", name="Reset").press("Enter")
    assert "Guess first" in statuses(page)[0] and "#" not in page.url


def test_every_epochs_answers_stand_in_the_table(page, run):
    page.goto(page.url + "#lab-replay?guess=23&a=500&b=501")
    page.reload()
    rows = page.locator("table").last.locator("tbody tr")
    rows.nth(len(KEPT) - 1).wait_for()
    prompt = torch.tensor([encode_addition(500, 501)[0]])
    for row, epoch in zip(rows.all_inner_texts(), KEPT):
        digits = generate(model_at(run, epoch), prompt, 5)[0, -5:-1].tolist()
        right = sum(x == y for x, y in zip(digits, [1, 0, 0, 1]))
        assert row.split("\t")[0] == str(epoch) and row.endswith(f"{right} of 4")


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_after_the_guess_it_is_as_legible(opened, theme):
    page = opened("replay", "#lab-replay?guess=30&epoch=22&others=1", theme, 360)
    assert page.evaluate(CONTRAST) == [] and page.evaluate(SIDEWAYS) == []
    box = page.locator(".laboratory")
    assert box.evaluate("(box) => box.scrollWidth - box.clientWidth") <= 0


def test_it_opens_in_a_notebook(bare_browser, tmp_path):
    """As an output's HTML in a page of somebody else's: built, as high as what it shows, and used
    without a complaint, although a frame has no address to write to."""
    output = tmp_path / "output.html"
    output.write_text(
        f"<!doctype html><meta charset='utf-8'><body>{show_laboratory('replay').data}",
        encoding="utf-8",
    )
    page, said = bare_browser.new_page(viewport={"width": 1000, "height": 900}), []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.goto(output.as_uri())
    frame = page.frame_locator("iframe")
    frame.locator(".lab-title").wait_for()
    frame.get_by_label(GUESS).fill("12")
    frame.get_by_label(GUESS).press("Enter")
    frame.get_by_role("button", name="Reset").click()
    frame.locator(".lab-title").wait_for()
    shown = page.locator("iframe").evaluate(
        "(f) => [f.clientHeight, f.contentDocument.documentElement.scrollHeight]"
    )
    assert shown[0] == shown[1] and said == []
    page.close()


def test_only_laboratories_open_in_a_notebook():
    with pytest.raises(ValueError, match="no laboratory 'garden': there are adder, replay"):
        show_laboratory("garden")
