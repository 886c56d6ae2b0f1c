"""The built pages: checked as files, and opened in headless Chromium from disk."""

import json
import re
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

import pypandoc
import pytest
from page_faults import CONTRAST, CUT_OFF, OPEN_FOLDED, SIDEWAYS, axe
from small_book import ROOT

from lab.page.qmd import Prose, list_pages, read_chapter, read_config
from tools.check_pages import check_pages, list_secrets

pytest_browser = pytest.mark.browser

# A figure is loaded when a reader comes near it; here at once.
BROKEN = """() => Promise.all([...document.images].map(async (image) => {
  image.loading = "eager";
  return image.decode().then(() => [], () => [image.src]);
})).then((found) => found.flat())"""
PHONE = {"width": 390, "height": 844}


# -- As files
# --------------------------------------------------------------------------------------------------


def test_the_small_book_is_sound(small_book):
    assert check_pages(small_book, small_book / "_book", "reader") == []


def test_the_book_is_sound(built_book):
    assert check_pages(built_book.parent, built_book, "reader") == []


FAULTS = [
    ("<h1", "<h1>Two</h1><h1", "2 h1 headings"),
    ("<title>", "<title></title><!--", "no <title>"),
    ("</main>", '<p id="content">x</p></main>', "the id 'content' is given twice"),
    ("</main>", '<a href="nowhere.html">x</a></main>', "nowhere.html leads nowhere"),
    ("</main>", '<a href="#nowhere">x</a></main>', "there is no 'nowhere' on that page"),
    (
        "</main>",
        '<a href="chapters/01-first.html#nowhere">x</a></main>',
        "there is no 'nowhere' on that page",
    ),
    ("</main>", '<img src="none.png" alt="a"></main>', "none.png is not there"),
    (
        "</main>",
        '<img src="chapters/01-first_files/figure-html/fig-line-output-1.png" alt=" "></main>',
        "has no alt text",
    ),
    ("</main>", '<img src="https://example.org/x.png" alt="a"></main>', "loaded from elsewhere"),
    (
        "</head>",
        '<script src="https://example.org/x.js"></script></head>',
        "loads https://example.org/x.js from elsewhere",
    ),
    (
        "</head>",
        '<link rel="stylesheet" href="//example.org/x.css"></head>',
        "loads //example.org/x.css from elsewhere",
    ),
    (
        "</head>",
        "<style>@font-face { src: url('https://example.org/f.woff') }</style></head>",
        "a style loads",
    ),
    ("</main>", "<p>See ?fig-line.</p></main>", "unresolved: '\\?fig-line'"),
    ("</main>", "<p>See @fig-line.</p></main>", "unresolved: '@fig-line'"),
    ("</main>", "<p>See ??.</p></main>", "unresolved"),
    ("</main>", "<p>It is 7.3\\xa0% of them.</p></main>", r"unresolved: '\\\\xa0'"),
    ("</main>", "<p>It took np.int64(3) runs.</p></main>", r"unresolved: 'np\.int64\('"),
    ("</main>", "<p>`{python} x`</p></main>", "unresolved"),
    (
        "</main>",
        "<p>Seventeen thousand <em>seven hundred</em> and sixty, by adding the shapes.</p></main>",
        r"holds what chapters/01-first\.qmd:\d+ keeps for instructors",
    ),
    ("</main>", "<pre>right_answer_of_the_check = 17760</pre></main>", "keeps for instructors"),
]


@pytest.mark.parametrize("old, new, message", FAULTS, ids=range(len(FAULTS)))
def test_a_faulty_page_is_told(own_small_book, old, new, message):
    page = own_small_book / "_book/index.html"
    text = page.read_text(encoding="utf-8")
    assert old in text
    page.write_text(text.replace(old, new, 1), encoding="utf-8")
    assert [
        c
        for c in check_pages(own_small_book, own_small_book / "_book", "reader")
        if re.search(message, c)
    ]


def test_what_quarto_always_does_is_no_fault(own_small_book):
    """Two stylesheets of one id, and the book's title as a second h1 above the preface."""
    page = own_small_book / "_book/index.html"
    text = page.read_text(encoding="utf-8")
    sheet = '<link id="quarto-bootstrap" rel="stylesheet" href="assets/shared.css">'
    title = '<header id="title-block-header"><h1 class="title">A small book</h1></header>'
    page.write_text(
        text.replace("</head>", f"{sheet}{sheet}</head>").replace("</main>", f"{title}</main>"),
        encoding="utf-8",
    )
    assert check_pages(own_small_book, own_small_book / "_book", "reader") == []
    page.write_text(
        text.replace("</main>", f"{title}{title.replace('title-', 'other-')}</main>"),
        encoding="utf-8",
    )
    assert [
        c
        for c in check_pages(own_small_book, own_small_book / "_book", "reader")
        if "3 h1 headings" in c
    ]


def test_a_claim_that_its_page_does_not_show_is_told(own_small_book):
    page = own_small_book / "_book/chapters/01-first.html"
    text = page.read_text(encoding="utf-8")
    page.write_text(text.replace("clm-fall-of-both", "clm-other"), encoding="utf-8")
    record = own_small_book / "_record/01-first.json"
    kept = json.loads(record.read_text())
    kept["claims"][0]["sentence"] = ""
    record.write_text(json.dumps(kept))
    assert check_pages(own_small_book, own_small_book / "_book", "reader") == [
        "_book/chapters/01-first.html:1: the record has no sentence for the claim 'order'",
        "_book/chapters/01-first.html:1: the claim 'fall of both' was checked, and"
        " #clm-fall-of-both is not here",
    ]


@pytest_browser
def test_a_prediction_is_kept_and_opens_its_answer(small_book, open_page):
    page = open_page((small_book / "_book/chapters/01-first.html").as_uri())
    by_list, by_words = page.locator("#prd-order"), page.locator("#prd-size")
    assert not by_list.locator("details p").is_visible()
    by_list.get_by_label("the last").check()
    by_list.locator("button").click()
    assert by_list.locator("details p").is_visible()
    assert by_list.locator(".predicted").inner_text() == "You predicted: the last"
    by_words.locator("input").fill("about <b>3</b>")
    page.keyboard.press("Enter")
    assert by_words.locator(".predicted").inner_text() == "You predicted: about <b>3</b>"
    page.reload()
    assert by_list.locator(".predicted").inner_text() == "You predicted: the last"
    assert by_list.get_by_label("the last").is_checked()
    assert by_words.locator("input").input_value() == "about <b>3</b>"
    assert not by_words.locator("details p").is_visible()


@pytest_browser
def test_without_scripts_a_prediction_is_a_fold(small_book, browser):
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto((small_book / "_book/chapters/01-first.html").as_uri())
    box = page.locator("#prd-order")
    assert box.locator("li").count() == 2 and not box.locator("details p").is_visible()
    box.locator("summary").click()
    assert box.locator("details p").is_visible()
    context.close()


def test_a_missing_page_and_a_leaked_notebook_are_told(own_small_book):
    (own_small_book / "_book/chapters/02-second.html").unlink()
    (own_small_book / "_book/downloads/01-first.ipynb").write_text(
        '{"source": "right_answer_of_the_check = 17760\\n"}'
    )
    complaints = check_pages(own_small_book, own_small_book / "_book", "reader")
    assert "_book/chapters/02-second.html: the page is missing" in complaints
    assert [
        c
        for c in complaints
        if c.startswith("_book/downloads/01-first.ipynb: the readers' edition holds")
    ]


def test_there_are_secrets_to_search_for(small_book):
    secrets = [text.strip() for _, text in list_secrets(small_book)]
    assert secrets == [
        "right_answer_of_the_check = 17760",
        "Seventeen thousand seven hundred and sixty, by adding the shapes.",
        "answer = sum([448, 416, 16896])",
    ]


# -- In a browser
# --------------------------------------------------------------------------------------------------


@pytest.fixture(params=["small book", "book"])
def folder(request):
    if request.param == "book":
        return request.getfixturevalue("built_book")
    return request.getfixturevalue("small_book") / "_book"


def addresses(folder):
    return [path.as_uri() for path in sorted(folder.rglob("*.html"))]


@pytest_browser
def test_every_page_opens_without_complaint(folder, open_page):
    pages = addresses(folder)
    assert len(pages) >= 5
    page = open_page(pages[0])
    for address in pages:
        page.goto(address)
        assert page.locator("h1").count() == 1
        broken = page.evaluate(BROKEN)
        assert broken == []


def formulas_in_lines(tree):
    """The formulas in the running text of pandoc's tree."""
    if isinstance(tree, dict):
        if tree.get("t") == "Math" and tree["c"][0]["t"] == "InlineMath":
            yield tree["c"][1]
        tree = list(tree.values())
    if isinstance(tree, list):
        for part in tree:
            yield from formulas_in_lines(part)


@pytest_browser
def test_no_formula_in_a_line_is_wider_than_a_phone(bare_browser):
    """In every edition, so those of solutions too. A line breaks beside a formula, never in it."""
    prose = "\n\n".join(
        part.text
        for page in list_pages(ROOT, read_config(ROOT))
        for part in read_chapter(ROOT / page.source).parts
        if isinstance(part, Prose)
    )
    tree = json.loads(pypandoc.convert_text(prose, "json", "markdown"))
    formulas = list(dict.fromkeys(formulas_in_lines(tree["blocks"])))
    lines = pypandoc.convert_text(
        "\n\n".join(f"${formula}$" for formula in formulas), "html", "markdown", ["--mathml"]
    )
    style = (ROOT / "figures/theme/shared.css").read_text(encoding="utf-8")
    page = bare_browser.new_page()
    page.set_content(f"<style>{style} main {{ font-size: 18px }}</style><main>{lines}</main>")
    widths = page.evaluate(
        "[...document.querySelectorAll('math')].map((one) => one.getBoundingClientRect().width)"
    )
    page.close()
    assert len(widths) == len(formulas) > 100
    room = 300  # of 390, beside the margins of the page, of a box and of a list
    assert [formula for formula, width in zip(formulas, widths) if width > room] == []


@pytest_browser
@pytest.mark.parametrize(
    "viewport", [PHONE, {"width": 320, "height": 256}], ids=["phone", "400 percent"]
)
def test_no_page_is_wider_than_a_phone(folder, open_page, viewport):
    """Nor than a screen of 1280 at 400 percent, all that folds open and laboratories built."""
    page = open_page(addresses(folder)[0], viewport)
    for address in addresses(folder):
        page.goto(address)
        page.evaluate(OPEN_FOLDED)
        laboratory = page.locator(".laboratory[data-script]")
        if laboratory.count():
            laboratory.scroll_into_view_if_needed()
            page.locator(".lab-title").wait_for()
        assert page.evaluate(SIDEWAYS) == [] and page.evaluate(CUT_OFF) == [], address


def test_every_table_has_header_cells(built_book):
    for path in sorted(built_book.rglob("*.html")):
        text = path.read_text(encoding="utf-8")
        tables = re.findall(r"<table.*?</table>", text, re.S)
        assert all("<th" in table.partition("<tbody")[0] for table in tables), path.name


@pytest_browser
def test_contents_open_on_a_phone(folder, open_page):
    page = open_page((folder / "index.html").as_uri(), PHONE)
    assert not page.locator(".chapters").is_visible()
    page.locator(".menu-button").click()
    assert page.locator(".menu-button").get_attribute("aria-expanded") == "true"
    page.locator(".chapters a").nth(1).click()
    page.wait_for_url("**/chapters/01-*.html")
    assert not page.locator(".chapters").is_visible()


@pytest_browser
def test_search_finds_a_word_and_goes_there(folder, open_page):
    last = sorted((folder / "chapters").glob("0*.html"))[-1]
    page = open_page(last.as_uri())
    heading = (
        page.locator("main h2").first
        if page.locator("main h2").count()
        else page.locator("main h1 .chapter-title")
    )
    wanted = heading.evaluate(
        "h => [...h.childNodes].filter(n => !n.classList || !n.classList.contains("
        "'header-section-number')).map(n => n.textContent).join('').trim()"
    )
    page.goto((folder / "index.html").as_uri())
    page.keyboard.press("/")
    page.keyboard.type(wanted.lower())
    hit = page.locator("#search-results a").first
    assert wanted in hit.inner_text()
    page.keyboard.press("Enter")
    page.wait_for_url(f"**/{last.name}*")


@pytest_browser
def test_search_says_when_it_finds_nothing(folder, open_page):
    page = open_page((folder / "index.html").as_uri())
    page.locator("#search").fill("xyzzyqqq")
    page.locator("#search-results").get_by_text("Nothing found.").wait_for()
    assert page.locator("#search-status").inner_text() == "Nothing found."
    page.keyboard.press("Escape")
    assert not page.locator("#search-results").is_visible()


@pytest_browser
def test_search_results_are_reached_with_arrows(small_book, open_page):
    page = open_page((small_book / "_book/index.html").as_uri())
    page.locator("#search").fill("pangolins")
    page.locator("#search-results a").first.wait_for()
    assert page.locator("#search-results mark").first.inner_text() == "pangolins"
    page.keyboard.press("ArrowDown")
    assert page.evaluate("document.activeElement.closest('#search-results') !== null")
    page.keyboard.press("Enter")
    page.wait_for_url("**/02-second.html")


@pytest_browser
def test_the_index_is_loaded_when_somebody_searches(small_book, open_page):
    page = open_page((small_book / "_book/index.html").as_uri())
    assert page.evaluate("window.bookSearchIndex === undefined")
    page.locator("#search").focus()
    page.wait_for_function("window.bookSearchIndex !== undefined")


@pytest_browser
def test_an_index_that_cannot_be_loaded_is_told(own_small_book, bare_browser):
    (own_small_book / "_book/search-index.js").unlink()
    page = bare_browser.new_page()
    page.goto((own_small_book / "_book/index.html").as_uri())
    page.locator("#search").fill("pangolins")
    page.get_by_text("The search index cannot be loaded.").last.wait_for()
    page.close()


@pytest_browser
@pytest.mark.parametrize("viewport", [None, PHONE], ids=["desk", "phone"])
def test_a_page_is_light(built_book, open_page, viewport):
    """What it loads before anybody scrolls or searches, its figures included: under 1.5 MB."""
    opened = []
    for address in addresses(built_book):  # side by side: each waits for half a second of silence
        page, loaded = open_page("about:blank", viewport), []
        page.on("request", lambda request, loaded=loaded: loaded.append(request.url))
        page.goto(address)
        opened.append((address, page, loaded))
    for address, page, loaded in opened:
        page.wait_for_load_state("networkidle")
        files = {url2pathname(urlsplit(url).path) for url in loaded if url.startswith("file:")}
        weight = sum(Path(file).stat().st_size for file in files)
        print(f"{address.rsplit('/', 1)[1]}: {weight / 1e6:.2f} MB")
        assert Path(url2pathname(urlsplit(address).path)).as_posix() in files
        assert weight < 1_500_000, files


@pytest_browser
def test_a_laboratory_is_built_when_a_reader_comes_near(built_book, open_page):
    chapter = (built_book / "chapters/05-edge-cases.html").as_uri()
    page = open_page(chapter)
    assert page.locator(".lab-title").count() == 0
    assert page.locator("#lab-census p").first.is_visible()
    page.locator("#lab-census").scroll_into_view_if_needed()
    page.locator(".lab-title").wait_for()
    assert not page.locator("#lab-census .stand-in").is_visible()
    page.goto("about:blank")
    page.goto(f"{chapter}#lab-census?n=6")
    page.locator(".lab-title").wait_for()
    assert page.get_by_label("Sample of").input_value() == "6"
    box = page.locator("#lab-census").bounding_box()
    assert abs(box["y"]) < page.viewport_size["height"]


@pytest_browser
def test_search_and_contents_by_keyboard_leave_nothing_behind(small_book, open_page):
    """Results close when the focus goes on, and Escape leads from the contents to their button."""
    page = open_page((small_book / "_book/index.html").as_uri(), PHONE)
    page.mouse.wheel(0, 400)
    page.locator(".menu-button").press("Enter")
    sidebar = page.locator("#sidebar").bounding_box()
    assert 0 < sidebar["y"] < PHONE["height"], "the contents open where the reader is not"
    page.locator("#search").fill("pangolins")
    page.locator("#search-results a").first.wait_for()
    assert page.locator("#search-status").inner_text().endswith("found.")
    page.locator(".theme-toggle").focus()
    assert not page.locator("#search-results").is_visible()
    page.keyboard.press("Escape")
    assert page.evaluate("document.activeElement.className") == "menu-button"
    assert not page.locator("#sidebar").is_visible()


@pytest_browser
def test_without_scripts_nothing_stands_there_that_needs_them(small_book, browser):
    context = browser.new_context(java_script_enabled=False, viewport=PHONE)
    page = context.new_page()
    page.goto((small_book / "_book/index.html").as_uri())
    for name in ("#search", ".theme-toggle", ".menu-button"):
        assert not page.locator(name).is_visible(), name
    assert page.locator(".chapters a").first.is_visible()
    context.close()


@pytest_browser
@pytest.mark.parametrize("system", ["light", "dark"])
def test_the_theme_follows_the_system_until_it_is_chosen(folder, open_page, system):
    page = open_page((folder / "index.html").as_uri(), color_scheme=system)
    dark = "document.body.classList.contains('quarto-dark')"
    assert page.evaluate(dark) == (system == "dark")
    page.locator(".theme-toggle").click()
    assert page.evaluate(dark) == (system == "light")
    page.reload()
    assert page.evaluate(dark) == (system == "light"), "the choice is forgotten"
    chapter = sorted((folder / "chapters").glob("0*.html"))[0]
    page.goto(chapter.as_uri())
    assert page.evaluate(dark) == (system == "light"), "the choice holds on one page only"


@pytest_browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_has_contrast(folder, open_page, scheme):
    """WCAG AA: 4.5 to 1, and 3 to 1 for large text."""
    page = open_page(addresses(folder)[0], color_scheme=scheme)
    for address in addresses(folder):
        page.goto(address)
        page.evaluate(OPEN_FOLDED)
        assert page.evaluate(CONTRAST) == [], address


def assert_keeps_to_wcag(folder, open_page, scheme, width, **options):
    page = open_page(addresses(folder)[0], {"width": width, "height": 900}, color_scheme=scheme)
    for address in addresses(folder):
        page.goto(address)
        page.evaluate(OPEN_FOLDED)
        page.wait_for_timeout(50)  # the boxes in what has opened are seen in the next frame
        assert axe(page, **options) == [], address


@pytest_browser
@pytest.mark.parametrize("width", [1400, 360])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_small_book_keeps_to_wcag(small_book, open_page, scheme, width):
    assert_keeps_to_wcag(small_book / "_book", open_page, scheme, width)


@pytest_browser
@pytest.mark.parametrize("scheme, width", [("light", 1400), ("dark", 360)])
def test_the_book_keeps_to_wcag(built_book, open_page, scheme, width):
    """But for contrast, which test_text_has_contrast asks for: axe would take minutes for it, and
    its other rules do not look at colours."""
    assert_keeps_to_wcag(built_book, open_page, scheme, width, contrast=False)


@pytest_browser
def test_the_page_is_reached_with_the_keyboard(folder, open_page):
    chapter = sorted((folder / "chapters").glob("0*.html"))[0]
    page = open_page(chapter.as_uri())
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip-link"
    page.keyboard.press("Enter")
    reached = set()
    for _ in range(
        page.evaluate("document.querySelectorAll('a, button, input, summary, [tabindex]').length")
        + 5
    ):
        page.keyboard.press("Tab")
        reached.add(
            page.evaluate("document.activeElement.tagName + '.' + document.activeElement.className")
        )
        assert page.evaluate("""() => {
          const e = document.activeElement;
          return e === document.body || getComputedStyle(e).outlineStyle !== 'none';
        }"""), "what has the focus does not show it"
    assert {"SUMMARY.callout-header", "BUTTON.theme-toggle", "BUTTON.code-copy-button"} <= reached
    assert "A.quarto-xref" in reached or page.locator("a.quarto-xref").count() == 0


@pytest_browser
def test_folded_parts_open(small_book, open_page):
    page = open_page((small_book / "_book/chapters/01-first.html").as_uri())
    hint = page.locator("details.callout-tip").first
    assert not hint.locator("p").is_visible()
    hint.locator("summary").press("Enter")
    assert hint.locator("p").is_visible()


@pytest_browser
def test_code_is_copied_without_decoration(small_book, open_page, browser):
    context = browser.new_context(permissions=["clipboard-read", "clipboard-write"])
    page = open_page((small_book / "_book/chapters/02-second.html").as_uri(), context=context)
    block = page.locator("div.sourceCode").first
    block.hover()
    block.locator("button").click()
    assert page.evaluate("navigator.clipboard.readText()").startswith(
        "import matplotlib.pyplot as plt\nfrom lab.page.record"
    )
    context.close()


@pytest_browser
def test_figures_are_turned_over_in_the_dark_but_for_scales(small_book, open_page):
    page = open_page((small_book / "_book/chapters/01-first.html").as_uri(), color_scheme="dark")
    look = "getComputedStyle(document.querySelector('#fig-line img.figure-img')).filter"
    assert "invert" in page.evaluate(look)
    page.evaluate(
        "document.querySelector('#fig-line').closest('.cell').classList.add('colour-scale')"
    )
    assert page.evaluate(look) == "brightness(0.92)"


@pytest_browser
def test_a_margin_note_stands_in_the_margin_and_on_phones_in_the_text(small_book, open_page):
    place = (
        "['.aside', 'main > section > p, main p'].map(s =>"
        " document.querySelector(s).getBoundingClientRect()).map(r => [r.left, r.right])"
    )
    page = open_page(
        (small_book / "_book/chapters/01-first.html").as_uri(), {"width": 1500, "height": 900}
    )
    note, text = page.evaluate(place)
    assert note[0] > text[1] and note[1] <= 1500
    page.set_viewport_size(PHONE)
    note, text = page.evaluate(place)
    assert note[0] >= text[0] and note[1] <= text[1]
