"""What chapters need, as they say it."""

import pytest
from small_book import ROOT, write_small_book

from lab.figures.preface import draw_map
from lab.page.needs import chapters_needed, direct


def test_the_book_says_of_each_chapter_what_it_needs():
    needed = chapters_needed(ROOT)
    assert list(needed) == list(range(1, 12))
    assert needed[1] == ("The problem", []) and needed[3][1] == [1, 2]
    assert all(each < number for number, (_, named) in needed.items() for each in named)
    assert 10 not in needed[11][1], "it says that nothing of chapter 10 is needed"


def test_what_follows_from_the_rest_is_left_out():
    needed = {1: ("a", []), 2: ("b", [1]), 3: ("c", [1, 2]), 4: ("d", [1])}
    assert direct(needed) == {1: [], 2: [1], 3: [2], 4: [1]}
    figure = draw_map({number: name for number, (name, _) in needed.items()}, direct(needed))
    texts = {text.get_text() for text in figure.axes[0].texts}
    assert texts == {"1\na", "2\nb", "3\nc", "4\nd"}


def test_a_chapter_that_does_not_say_is_named(tmp_path):
    with pytest.raises(ValueError, match="01-first.qmd does not say"):
        chapters_needed(write_small_book(tmp_path / "book"))
