"""Figures as a page shows them: PNG at twice their size, in at most 256 colours.

Figures are most of what a reader of a page loads. They have a few colours and the shades of smooth
edges between these; a palette shows them as the eye sees them, for two fifths of the bytes.
"""

import io
from binascii import b2a_base64

from IPython.core.pylabtools import retina_figure
from matplotlib.figure import Figure
from PIL import Image

COLOURS = 256


def with_few_colours(png):
    """A picture as PNG of at most COLOURS colours, without transparency. png: bytes of a PNG.

    The palette is Pillow's "maximum coverage": it leaves no colour far from its nearest, where a
    median cut gives up rare ones, and lines of a figure are rare."""
    with Image.open(io.BytesIO(png)) as picture:
        flat = Image.new("RGB", picture.size, "white")
        flat.paste(picture, mask=picture.convert("RGBA").getchannel("A"))
    few = flat.quantize(COLOURS, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
    written = io.BytesIO()
    few.save(written, format="PNG")
    return written.getvalue()


def picture_of(figure):
    """What Jupyter shows of a figure: (PNG in base64, its size on the page), as its "retina" format
    gives them, or None for a figure without axes."""
    shown = retina_figure(figure, pil_kwargs={"compress_level": 0})  # it is packed below
    if shown is None:
        return None
    png, size = shown
    return b2a_base64(with_few_colours(png), newline=False).decode("ascii"), size


def show_pictures(shell):
    """Let an IPython shell show figures so, from the next cell on: Jupyter sets its own format
    after the first cell that imports pyplot, so ours is set before every cell."""
    formatter = shell.display_formatter.formatters["image/png"]
    shell.events.register("pre_run_cell", lambda info: formatter.for_type(Figure, picture_of))
