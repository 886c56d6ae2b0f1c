"""The stylesheets and scripts on Quarto's pages: what it made of the small book (1.7.34), kept
in tests/data/quarto-pages with the rules of its stylesheet that lay them out.

Its colours are not kept. COLOURS stands for what it does with the variables that the theme sets,
and for the faint colours that it would leave where the theme sets none. Where Quarto is,
tests/chapters/test_pages.py opens whole pages.
"""

import re

import pytest
import sass
from bs4 import BeautifulSoup
from page_faults import CONTRAST, CUT_OFF, OPEN_FOLDED, SIDEWAYS, axe
from quarto_pages import SAVED
from small_book import ROOT

THEME = ROOT / "figures/theme"
KEPT = sorted(SAVED.glob("*.html"))
PAGES = [*KEPT, ROOT / "tests/data/quarto-sampler.html"]  # which has an image without alt text
COLOURS = """
body { background: $body-bg; color: $body-color; border-color: $border-color; }
a { color: $link-color; }
div.sourceCode { background: $code-block-bg; color: #003b4f; }
pre { overflow: auto; background: $code-block-bg; color: $pre-color; }
code span { color: #003b4f; }
code span.im { color: #00769e; }
:not(pre) > code { background: $code-bg; color: $code-color; }
.code-fold > summary, .nav-page a { color: #6c757d; }
.callout-header { color: $body-color; border-left: 3px solid $callout-color-note; }
.text-muted { color: $text-muted; }
#quarto-sidebar, .quarto-secondary-nav { background: $sidebar-bg; color: $sidebar-fg; }
#quarto-sidebar a, .quarto-secondary-nav a { color: $sidebar-fg; }
.bi::before { content: "\\25a1"; }
"""


def sheet_of(scheme):
    sources = [
        (THEME / name).read_text(encoding="utf-8")
        for name in (f"quarto-{scheme}.scss", "quarto.scss")
    ]
    colours, rules = sources[0], sources[1]
    shared = (THEME / "shared.css").read_text(encoding="utf-8")
    layout = (SAVED / "layout.css").read_text(encoding="utf-8")
    return layout + sass.compile(string=colours + COLOURS + rules) + shared


SCRIPTS = "".join(
    (THEME / f"{name}.html").read_text(encoding="utf-8") for name in ("predict", "keyboard")
)


def composed(path, scheme, scripts=SCRIPTS):
    """A page of Quarto's with its stylesheets and the book's, and the book's scripts; with boxes of
    the figures' size for the figures."""
    body = BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser")
    for image in body.find_all("img"):
        image["src"] = "data:image/svg+xml,<svg xmlns='http://www.w3.org/2000/svg'/>"
    return (
        "<!doctype html><html lang=en><meta name=viewport content='width=device-width'><title>x"
        f"</title><style>{sheet_of(scheme)}</style><body class='nav-sidebar floating"
        f" quarto-{scheme}'>{(body.body or body).decode_contents()}{scripts}</body></html>"
    )


# Predict: choose the last, or type what is long. The text is wide, for the narrowest page.
PREDICT = """() => document.querySelectorAll(".predict form").forEach((form) => {
  const [...inputs] = form.querySelectorAll("input");
  if (inputs[0].type === "radio") inputs.at(-1).checked = true;
  else inputs[0].value = "something that somebody has thought about for a long while";
  form.requestSubmit();
})"""


@pytest.mark.browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("path", PAGES, ids=[path.stem for path in PAGES])
def test_quartos_pages_fit_and_can_be_read(bare_browser, path, scheme):
    page = bare_browser.new_page()
    for width in (1400, 768, 390):
        page.set_viewport_size({"width": width, "height": 900})
        page.set_content(composed(path, scheme))
        page.evaluate(PREDICT)
        page.evaluate(OPEN_FOLDED)
        faults = {
            name: page.evaluate(script)
            for name, script in (
                ("contrast", CONTRAST),
                ("sideways", SIDEWAYS),
                ("cut off", CUT_OFF),
            )
        }
        assert not any(faults.values()), f"{width} px: {faults}"
    page.close()


@pytest.mark.browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("path", KEPT, ids=[path.stem for path in KEPT])
def test_quartos_pages_keep_to_wcag(bare_browser, path, scheme):
    page = bare_browser.new_page()
    for width in (1400, 390):
        page.set_viewport_size({"width": width, "height": 900})
        page.set_content(composed(path, scheme))
        page.evaluate(OPEN_FOLDED)
        page.wait_for_timeout(100)  # the boxes in what has opened are seen in the next frame
        assert axe(page) == [], f"{width} px"
    page.close()


@pytest.mark.browser
@pytest.mark.parametrize(
    "rule, script, width",
    [
        (r"^main img \{.*\}$", CUT_OFF, 768),
        (r"^.*span\[id\^=.*overflow-x.*$", SIDEWAYS, 390),
        (r"^p:has\(> math.*$", SIDEWAYS, 390),
        (r"overflow-wrap: break-word", SIDEWAYS, 390),
        (r"^\.nav-page a, [^}]*\}", CONTRAST, 1400),
        (r"^main code span\.kw.*$", CONTRAST, 1400),
        (r", \.quarto-float-tbl > div:has\(> table\)", SIDEWAYS, 390),
        (r", \.table-scroll(?=[ ,])", SIDEWAYS, 390),
        (r"^main\.content \.citation a [^}]*\}", axe, 1400),
        (r"^\.quarto-page-breadcrumbs [^}]*\}", axe, 390),
    ],
)
def test_each_rule_is_needed(bare_browser, monkeypatch, rule, script, width):
    """Without the rule one of the pages has the fault: the test above can fail."""
    whole = sheet_of("dark")
    without = re.sub(rule, "", whole, flags=re.MULTILINE)
    assert without != whole
    monkeypatch.setitem(globals(), "sheet_of", lambda scheme: without)
    page = bare_browser.new_page(viewport={"width": width, "height": 900})
    found = []
    for path in KEPT if script is axe else PAGES:
        page.set_content(composed(path, "dark"))
        found += axe(page) if script is axe else page.evaluate(script)
    page.close()
    assert found


@pytest.mark.browser
def test_the_keyboards_script_is_needed(bare_browser):
    """Without it what scrolls and the heads of folded callouts are out of the keyboard's reach."""
    page = bare_browser.new_page(viewport={"width": 390, "height": 900})
    page.set_content(composed(SAVED / "03-more.html", "light", scripts=""))
    page.evaluate(OPEN_FOLDED)
    found = " ".join(axe(page))
    page.close()
    assert "aria-allowed-attr" in found and "scrollable-region-focusable" in found


@pytest.mark.browser
def test_what_scrolls_takes_the_focus_while_it_does(bare_browser):
    page = bare_browser.new_page(viewport={"width": 390, "height": 900})
    page.set_content(composed(SAVED / "03-more.html", "light"))
    takes = "id => document.getElementById(id).tabIndex"
    head = page.locator(".callout-header[data-bs-toggle]")
    assert head.get_attribute("role") == "button" and head.get_attribute("tabindex") == "0"
    assert page.evaluate(takes, "eq-folded") == -1
    page.evaluate("addEventListener('click', () => { window.clicked = true; })")
    head.press("Enter")
    assert page.evaluate("window.clicked")
    page.evaluate(OPEN_FOLDED)
    page.wait_for_function("document.getElementById('eq-folded').tabIndex === 0")
    page.set_viewport_size({"width": 1400, "height": 900})
    page.wait_for_function("document.getElementById('eq-folded').tabIndex === -1")
    page.close()


@pytest.mark.browser
def test_predictions_are_asked_for_on_quartos_pages(bare_browser):
    page = bare_browser.new_page()
    page.set_content(composed(SAVED / "01-first.html", "light"))
    assert page.locator(".predict form").count() == 2
    assert page.locator(".predict ul").count() == page.locator("details[open].answer").count() == 0
    page.evaluate(PREDICT)
    assert page.locator("details[open].answer").count() == 2
    said = page.locator(".predicted").all_inner_texts()
    assert said[0] == "You predicted: the last" and said[1].startswith("You predicted: something")
    page.close()


@pytest.mark.browser
def test_boxes_keep_their_distance(bare_browser):
    """From what comes before and after; what is folded is a line below its question."""
    page = bare_browser.new_page()
    page.set_content(composed(SAVED / "01-first.html", "light"))
    gaps = page.evaluate("""() => [...document.querySelectorAll(
        "main section > .claim, main section > .predict, main section > .try")].flatMap((box) => {
      const { top, bottom } = box.getBoundingClientRect();
      return [top - box.previousElementSibling.getBoundingClientRect().bottom,
        box.nextElementSibling.getBoundingClientRect().top - bottom];
    })""")
    assert len(gaps) == 8 and min(gaps) > 12, gaps
    page.close()


@pytest.mark.browser
def test_a_claim_keeps_its_distance(bare_browser):
    page = bare_browser.new_page()
    page.set_content(composed(ROOT / "tests/data/quarto-pages/02-second.html", "light"))
    assert (
        page.evaluate("""() => {
      const claim = document.querySelector(".claim");
      const next = [...document.querySelectorAll("main p")].find(
        (p) => p.textContent.startsWith("A paragraph after a claim"));
      return next.getBoundingClientRect().top - claim.getBoundingClientRect().bottom;
    }""")
        > 12
    )
    page.close()


@pytest.mark.parametrize(
    "scheme, block", [("light", r"\nbody \{(.*?)\}"), ("dark", r"\nbody\.quarto-dark \{(.*?)\}")]
)
def test_bootstrap_gets_the_colours_of_the_book(scheme, block):
    own = dict(
        re.findall(
            r"--(\w+): (#\w+);", re.search(block, (THEME / "shared.css").read_text(), re.S).group(1)
        )
    )
    given = dict(
        re.findall(
            r"\$(?:callout-color-)?(\w+): (#\w+);", (THEME / f"quarto-{scheme}.scss").read_text()
        )
    )
    assert len(given) == 10 and given == {name: own[name] for name in given}
