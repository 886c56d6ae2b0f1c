"""What is wrong with a page that a browser shows, as scripts for `page.evaluate`; each gives an
empty list for a sound page. `axe` asks axe-core for what breaks WCAG 2.2 at its levels A and AA."""

from axe_playwright_python.sync_playwright import Axe

# WCAG AA: text has 4.5 to 1 against what is behind it, large text 3 to 1.
CONTRAST = """() => {
  const parse = (text) => text.match(/[\\d.]+/g).map(Number);
  const luminance = ([r, g, b]) => [r, g, b].map((c) => (c /= 255) <= .04045 ? c / 12.92 : ((c + .055) / 1.055) ** 2.4)
    .reduce((sum, c, i) => sum + c * [.2126, .7152, .0722][i], 0);
  const over = ([r, g, b, alpha = 1], below) => [r, g, b].map((c, i) => alpha * c + (1 - alpha) * below[i]);
  const ground = (element) => {
    const own = element ? parse(getComputedStyle(element).backgroundColor) : [255, 255, 255];
    return own.length < 4 || own[3] === 1 ? own : over(own, ground(element.parentElement));
  };
  const low = new Set();
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    if (!walker.currentNode.textContent.trim() || !element.checkVisibility() || element.closest("script")) continue;
    const style = getComputedStyle(element);
    const below = ground(element);
    const [one, other] = [luminance(over(parse(style.color), below)), luminance(below)].sort((a, b) => b - a);
    const ratio = (one + .05) / (other + .05);
    const size = parseFloat(style.fontSize);
    const large = size >= 24 || size >= 18.66 && Number(style.fontWeight) >= 700;
    if (ratio < (large ? 3 : 4.5)) low.add(`${element.tagName}.${element.className} ${ratio.toFixed(2)}`);
  }
  return [...low];
}"""

SIDEWAYS = """() => {
  const { scrollWidth, clientWidth } = document.documentElement;
  return scrollWidth > clientWidth ? [`${scrollWidth} in ${clientWidth}`] : [];
}"""

# A figure is cut off when it is wider than the column; what scrolls inside its box is not.
CUT_OFF = """() => [...document.querySelectorAll("main img")].filter((image) => {
  const column = image.closest("figure, main").getBoundingClientRect();
  return image.getBoundingClientRect().width > column.width + 1;
}).map((image) => `${image.alt}: ${image.getBoundingClientRect().width}`)"""

OPEN_FOLDED = """() => {
  document.querySelectorAll("details").forEach((part) => { part.open = true; });
  document.querySelectorAll(".callout-collapse").forEach((part) => part.classList.add("show"));  // Quarto's
}"""

WCAG = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22a", "wcag22aa"]


def axe(page, contrast=True) -> list[str]:
    """What axe-core finds on `page`, one line a rule. Contrast takes it four fifths of its time."""
    options = {
        "runOnly": {"type": "tag", "values": WCAG},
        "rules": {"color-contrast": {"enabled": contrast}},
        "resultTypes": ["violations"],
        "preload": False,  # it would fetch the stylesheets once more, which pages from disk may not
    }
    found = Axe().run(page, options=options).response["violations"]
    return [
        f"{rule['id']}: {len(rule['nodes'])} times, first {rule['nodes'][0]['html'][:120]}"
        for rule in found
    ]
