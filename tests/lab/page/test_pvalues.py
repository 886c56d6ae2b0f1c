"""lab/page/pvalues.py on sentences of the kinds that the pages have."""

import pytest

from lab.page.pvalues import p_values


@pytest.mark.parametrize(
    "sentence, values",
    [
        (r"the fastest (p = 0\.008, log-rank statistic over all 252 ways)", [0.008]),
        (r"(sign test: p = 6e\-05), and the weights less (p = 0\.007)", [6e-05, 0.007]),
        (r"(one-sided randomisation test of the sum over seeds: p < 0\.0001)", [0.0001]),
        (r"has an adjusted p-value of 0\.032, against all 20 one of 0\.31", [0.032]),
        (r"the adjusted p-value is below 5 % in 5 of 5 runs (largest 0\.024)", [0.024]),
        (r"(smallest p-value, before any adjustment, 0\.36)", [0.36]),
        ("(sign test: p = 1)", [1.0]),
        ("The column was named after looking, so there is no p-value.", []),
        ("In 5 of 5 runs the deep = 3.", []),
    ],
)
def test_p_values_are_found(sentence, values):
    assert p_values(sentence) == values
