"""The half of tests/notebook_along.py that runs inside the kernels: it imports little, since each
kernel pays for it."""

import disturbed

OWN = "# A cell of the notebook alone.\n"  # how such a cell begins
PLAIN = OWN + "# Arithmetic is as it is here.\n"


def stand_apart():
    """In a kernel, before its page is opened: from now on cells that begin with OWN run as in a
    notebook."""
    from IPython import get_ipython

    from lab import find_or_make
    from lab.page import record
    from lab.page.printed import Printed

    events, kept, note = get_ipython().events, [], Printed._after_cell

    def before(info):
        if info.raw_cell.startswith(OWN):
            kept.append((record._chapter, find_or_make._chapter))
            record._chapter = find_or_make._chapter = None
        if info.raw_cell.startswith(PLAIN):
            disturbed.pause()

    def after(result):
        if kept:
            record._chapter, find_or_make._chapter = kept.pop()
        if result.info.raw_cell.startswith(PLAIN):
            disturbed.resume()

    def note_the_pages(self, result):
        if not result.info.raw_cell.startswith(OWN):
            note(self, result)

    Printed._after_cell = note_the_pages
    events.register("pre_run_cell", before)
    events.register("post_run_cell", after)  # before the record's own, which come with its page
