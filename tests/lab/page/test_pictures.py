"""Figures in few colours look as they did, and weigh less."""

import io
from base64 import b64decode

import matplotlib.pyplot as plt
import numpy as np
import pytest
from IPython.core.pylabtools import retina_figure
from PIL import Image

from lab.page.pictures import COLOURS, picture_of


def heat_map():
    figure, ax = plt.subplots()
    figure.colorbar(ax.imshow(np.random.default_rng(0).random((30, 30)), cmap="viridis"))
    return figure


def many_lines():
    figure, ax = plt.subplots()
    for i, course in enumerate(np.random.default_rng(1).random((8, 60)).cumsum(1)):
        ax.plot(course, color=f"C{i}", alpha=0.6, label=f"seed {i}")
    ax.legend()
    return figure


@pytest.mark.parametrize("draw", [heat_map, many_lines])
def test_few_colours_look_the_same_and_weigh_less(draw):
    figure = draw()
    full, size = retina_figure(figure)
    picture, same_size = picture_of(figure)
    few = Image.open(io.BytesIO(b64decode(picture)))
    assert size == same_size and few.mode == "P" and len(few.convert("RGB").getcolors()) <= COLOURS
    off = np.abs(
        np.asarray(few.convert("RGB")).astype(int)
        - np.asarray(Image.open(io.BytesIO(full)).convert("RGB"))
    )
    # of 255: where thin lines cross edges may be some ten off, what is even is not
    assert off.max() <= 24 and np.quantile(off, 0.99) <= 8
    assert len(b64decode(picture)) < 0.6 * len(full)


def test_what_is_transparent_lies_on_white():
    figure, _ = plt.subplots(facecolor="none")
    picture, _ = picture_of(figure)
    assert Image.open(io.BytesIO(b64decode(picture))).convert("RGB").getpixel((0, 0)) == (255,) * 3


def test_a_figure_without_axes_shows_nothing():
    assert picture_of(plt.figure()) is None
