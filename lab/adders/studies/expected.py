"""What the author expected of sweeps, written down before they had ended, and what came out.

data/predictions/expected.csv has one row for each number that stands in a table of
data/predictions/*.md: date and commit say when it was written down.
"""

import pandas as pd

from lab import store
from lab.adders.studies import recovery
from lab.adders.studies.generic_starts import STARTS
from lab.adders.studies.reported_failures import FAILURES
from lab.adders.training.sweeps import BOOK_FLEETS, SUCCESS, finished_sweep, sweep_name
from lab.stats import exact_interval

__all__ = "read_expected scored".split()

ENTRIES = STARTS | FAILURES
SECOND_RECOVERY = "recovery, other seeds and processor"
OUTCOMES = {  # what is counted: the least number of the board's sums that a seed gets right
    "all sums right": SUCCESS,
    "more than a tenth right": SUCCESS // 10 + 1,
}


def read_expected():
    """The predictions: a DataFrame (date, commit, file, table, experiment, arm, of, expected,
    outcome), in the order in which they were written."""
    return pd.read_csv(
        store.ROOT / "data" / "predictions" / "expected.csv", keep_default_na=False, dtype=str
    ).astype({"of": int, "expected": int})


def _sweep_of(row):
    """(configuration, seeds, words) of the sweep that a prediction is about."""
    if row["experiment"] == SECOND_RECOVERY:
        counted, rate, noise = row["arm"].split()
        arm = recovery.Arm(int(counted), rate, float(noise))
        return arm.config, recovery.SECOND_SEEDS, f"recovery, {row['arm']}"
    entry = ENTRIES[row["experiment"]]
    return entry.config, entry.seeds, row["experiment"]


def _stored_sweeps():
    """The hashes of the sweeps that the book holds, by its index: a page that asks for what is
    missing is computed again when the index changes."""
    index = BOOK_FLEETS / "index.csv"
    names = store.read_table(index.read_bytes())["folder"] if index.exists() else ()
    return {store.hash_in(name) for name in names}


def scored():
    """The predictions with what came out: a DataFrame as `read_expected`, and count, trained (how
    many seeds), share, low, high (its exact 95 % interval), inside: does it hold the expected one?

    Where the book holds no such sweep yet, all of these are missing.
    """
    table, stored, rows = read_expected(), _stored_sweeps(), []
    for row in table.to_dict("records"):
        config, seeds, words = _sweep_of(row)
        if store.hash_in(sweep_name(config)) not in stored:
            rows.append({})
            continue
        right = finished_sweep(config, seeds, words).outcomes["board_right"]
        count = int((right >= OUTCOMES[row["outcome"]]).sum())
        low, high = exact_interval(count, len(right))
        rows.append(
            {
                "count": count,
                "trained": len(right),
                "share": count / len(right),
                "low": low,
                "high": high,
                "inside": low <= row["expected"] / row["of"] <= high,
            }
        )
    columns = "count trained share low high inside".split()
    return table.join(pd.DataFrame(rows, columns=columns).convert_dtypes())
