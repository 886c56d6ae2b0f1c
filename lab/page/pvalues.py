"""The p-values that stand in a page's sentences."""

import re

__all__ = ["p_values"]

NUMBER = r"([0-9]*\.?[0-9]+(?:e-?[0-9]+)?)"
FORMS = re.compile(
    rf"\bp (?:=|<|below) {NUMBER}"
    rf"|\bp-value of {NUMBER}"
    rf"|\((?:largest|smallest p-value[^()]*?,?) {NUMBER}\)"
)


def p_values(sentence):
    """The p-values named in a sentence as it is recorded (its Markdown, signs escaped): a list of
    floats, in order. "p < 0.0001" counts as 0.0001."""
    text = sentence.replace("\\", "")
    return [float(next(filter(None, match.groups()))) for match in FORMS.finditer(text)]
