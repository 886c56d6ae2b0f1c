"""What a model does on every three-digit sum there is, read once and kept.

Pairs come in the order of `lab.addition.carries.all_pairs`: pair 1000 a + b is (a, b). Answer
columns come in the order written: ones, tens, hundreds, thousands, <EOS>. Each pair is read twice:
*teacher-forced*, with the right digits before each column, and *autoregressively*, with the model's
own.

The censuses of the book's runs stand in data/censuses (`python -m tools.train "censuses"` writes
them), one folder per run, checked against its checksums and against the weights it was made with
whenever it is read. The census of any other run is taken when it is asked for, and kept with your
own runs.
"""

import io
import math
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F

from _common import DEVICE, EOS, EQUALS, PLUS, Reader, encode_addition, own_defaults, tqdm
from lab import store
from lab.experiments import half_trained, runs_of
from lab.find_or_make import Call, Wanted, find_or_make, python_command
from lab.scale import few

BOOK_CENSUSES = store.ROOT / "data" / "censuses"
YOUR_CENSUSES = store.YOUR_RUNS / ".censuses"
CODE = store.code_hash([store.ROOT / "_common.py", Path(__file__)])

COLUMNS = ["ones", "tens", "hundreds", "thousands", "<EOS>"]
PAIRS = 1_000_000
BINS = 1000  # equal bins of confidence from 0 to 1; coarser ones are made by adding neighbours
AT_ONCE = 8  # first operands that are read together: small models wait for Python otherwise
WORST = 1000  # pairs of smallest margin that are kept
# confidence of a whole answer: classes 0 (below 0.9), 1, 2, 3, 4 (above 0.9999)
CLASS_EDGES = (0.9, 0.99, 0.999, 0.9999)


# The changed recipes of chapter 3, and which of their runs were nearly right when training ended,
# most errors first: at the last evaluation at least 99 % of the test sums right, and not all of
# them (a test holds the list to this rule).
CHANGED_RECIPES = ["learning rate 0.001", "no weight decay", "no warm-up", "SGD with momentum"]
NEARLY_RIGHT = [("no weight decay", 45), ("learning rate 0.001", 45), ("no weight decay", 46)]


def subjects():
    """The runs whose censuses the book shows, by kind: {kind: list of runs}."""
    return {
        "well trained": few(runs_of("reference")),
        "half trained": few(half_trained()),
        "one layer": few(runs_of("one layer"), 1),
        "nearly right": [run for arm, seed in NEARLY_RIGHT for run in runs_of(arm, [seed])],
    }


def end_scores():
    """The share of test sums right at the last evaluation of each run with a changed recipe:
    {(recipe, seed): share}."""
    return {
        (arm, run.config.seed): float(run.history["accuracy"].iloc[-1])
        for arm in CHANGED_RECIPES
        for run in runs_of(arm)
    }


def nearly_right(scores):
    """Those of `end_scores` that meet the rule of NEARLY_RIGHT, most errors first: a list of
    (recipe, seed)."""
    return sorted((key for key, score in scores.items() if 0.99 <= score < 1), key=scores.get)


@dataclass(frozen=True)
class Census:
    """A model's answers to all 10^6 pairs.

    forced_right, written_right: (10^6, 5) booleans, is the column right, teacher-forced and
    autoregressively. worst: DataFrame (pair, margin, column) of the 1000 smallest margins, smallest
    first. The margin of a column is the
        logit of the right token minus that of the best other one, teacher-forced; that of a pair is
        its smallest.
    confidence: (6, 1000, 3), for each column teacher-forced and then for the whole answer as
    written: per bin of
        confidence the number of cases, how many were right, and the sum of their confidences. The
        confidence of a digit is the probability that the model gives to the token it chooses, that
        of an answer the product over its tokens.
    confidence_class: (10^6,) whole numbers 0..4, between which of CLASS_EDGES the confidence of the
    whole answer lies. off_by: DataFrame (off_by, pairs): the number written minus the true sum, and
    how often (wrong answers only;
        `off_by` is nan where what was written is no number).
    """

    forced_right: np.ndarray
    written_right: np.ndarray
    worst: pd.DataFrame
    confidence: np.ndarray
    confidence_class: np.ndarray
    off_by: pd.DataFrame

    @property
    def wrong(self):
        """(10^6,) booleans: pairs whose answer, written by the model on its own, is wrong."""
        return ~self.written_right.all(1)


def probabilities(logits):
    """Logits (B, V) as probabilities (B, V), in 64 bit, so that confidences close to 1 can be told
    apart."""
    return F.softmax(logits.double(), dim=-1)


@own_defaults()
@torch.no_grad()
def read_block(model, a, n=1):
    """The n operands from `a` on, each with all 1000 second operands, read both ways: (forced, top,
    chosen, answer, written, sure), N = 1000 n pairs in order.

    forced: logits (N, 5, V) with the right digits before each column; chosen, top: (N, 5) the
    likeliest token there, and its probability; answer: (N, 5) the right tokens; written: (N, 5) the
    tokens that the model writes on its own; sure: (N,) the probability that it gives to that whole
    answer.
    """
    device = next(model.parameters()).device
    digits = torch.arange(10, device=device)
    operands = torch.arange(a, a + n, device=device)  # (n,)
    reader, pairs = Reader(model, rows=n), torch.arange(1000 * n, device=device)
    for tokens in (operands // 100, operands // 10 % 10, operands % 10, operands * 0 + PLUS):
        reader.read(tokens)
    for size in (n, 10 * n, 100 * n):  # the tree of prefixes: 10 n, 100 n, 1000 n rows
        reader = reader.take(torch.arange(size, device=device).repeat_interleave(10))
        reader.read(digits.repeat(size))
    first = reader.read(torch.full_like(pairs, EQUALS))  # (N, V): logits of the ones digit
    truth = operands.repeat_interleave(1000) + pairs % 1000
    answer = torch.stack(
        [truth // 10**k % 10 for k in range(4)] + [torch.full_like(truth, EOS)], dim=1
    )  # (N, 5)

    asked, forced = reader.length, [first]
    for k in range(4):
        forced.append(reader.read(answer[:, k]))
    forced = torch.stack(forced, dim=1)  # (N, 5, V)
    p = probabilities(forced.flatten(0, 1)).view(1000 * n, 5, -1)
    top, chosen = p.max(-1)  # (N, 5) each
    sure = top.prod(1)  # right answers are written as they are forced
    written = answer.clone()
    strays = (chosen != answer).any(1).nonzero()[:, 0]  # (M,)
    if len(strays):
        own, logits = reader.take(strays, length=asked), first[strays]
        sure[strays] = 1.0
        for k in range(5):
            best, token = probabilities(logits).max(-1)
            written[strays, k] = token
            sure[strays] *= best
            if k < 4:
                logits = own.read(token)
    return forced, top, chosen, answer, written, sure


def margins(forced, answer):
    """Logit of the right token minus that of the best other: (N, K, V), (N, K) -> (N, K)."""
    right = forced.gather(-1, answer[..., None])  # (N, K, 1)
    others = forced.scatter(-1, answer[..., None], -math.inf)  # (N, K, V)
    return (right - others.amax(-1, keepdim=True))[..., 0]


@own_defaults()
@torch.no_grad()
def closest_columns(model, pairs):
    """The column of smallest margin of each pair, teacher-forced, as in `Census.worst`: (N,) ->
    (N,) whole numbers 0..4."""
    rows = torch.tensor(
        [sum(encode_addition(int(pair) // 1000, int(pair) % 1000), []) for pair in pairs],
        device=next(model.parameters()).device,
    )  # (N, 13)
    return margins(model(rows[:, :-1])[:, 7:], rows[:, 8:]).argmin(1).cpu().numpy()


def _binned(confidence, right):
    """Per bin: cases, right ones, sum of confidences: (N,), (N,) -> (BINS, 3)."""
    place = np.minimum((confidence * BINS).astype(int), BINS - 1)
    return np.stack(
        [
            np.bincount(place, weights, BINS)
            for weights in (np.ones_like(confidence), right, confidence)
        ],
        axis=1,
    )


def take_census(model, progress=True):
    """Read all 10^6 pairs with a model for three-digit sums, ones first: a Census. Costs some
    seconds to half a minute.

    Raises as `Reader`; ValueError for a model whose context is too short.
    """
    if model.max_seq_len < 12:
        raise ValueError(
            "the census of three-digit sums needs a context of 12 tokens, the model's is"
            f" {model.max_seq_len}"
        )
    model.eval()
    forced_right, written_right = np.zeros((PAIRS, 5), bool), np.zeros((PAIRS, 5), bool)
    smallest, column = np.zeros(PAIRS, np.float32), np.zeros(PAIRS, np.int8)
    confidence, off_by, classes = np.zeros((6, BINS, 3)), {}, np.zeros(PAIRS, np.uint8)
    for a in tqdm(range(0, 1000, AT_ONCE), unit="block", disable=not progress, leave=False):
        forced, top, chosen, answer, written, sure = read_block(model, a, AT_ONCE)
        rows = slice(1000 * a, 1000 * (a + AT_ONCE))
        forced_right[rows], written_right[rows] = (
            (chosen == answer).cpu(),
            (written == answer).cpu(),
        )
        low = margins(forced, answer).min(1)
        smallest[rows], column[rows] = low.values.cpu(), low.indices.cpu()
        top = top.cpu().numpy()
        for k in range(5):
            confidence[k] += _binned(top[:, k], forced_right[rows, k])
        sure = sure.cpu().numpy()
        confidence[5] += _binned(sure, written_right[rows].all(1))
        classes[rows] = np.digitize(sure, CLASS_EDGES)
        for difference in _differences(written, answer).tolist():
            off_by[difference] = off_by.get(difference, 0) + 1
    order = np.argsort(smallest, kind="stable")[:WORST]
    invalid = off_by.pop(-math.inf, 0)
    table = pd.DataFrame(
        {
            "off_by": [*sorted(off_by), math.nan][: len(off_by) + bool(invalid)],
            "pairs": [off_by[d] for d in sorted(off_by)] + [invalid] * bool(invalid),
        }
    ).astype({"off_by": float, "pairs": int})
    return Census(
        forced_right,
        written_right,
        pd.DataFrame({"pair": order, "margin": smallest[order], "column": column[order]}),
        confidence,
        classes,
        table,
    )


def _differences(written, answer):
    """What wrong answers are off by; -inf where no number was written: (M,) floats, wrong rows
    only."""
    wrong = (written != answer).any(1)
    written, answer = written[wrong], answer[wrong]
    places = 10 ** torch.arange(4, device=written.device)
    number = (written[:, :4] < 10).all(1) & (written[:, 4] == EOS)
    return torch.where(
        number, ((written[:, :4] - answer[:, :4]) * places).sum(1).double(), -math.inf
    )


# --------------------------------------------------------------------------------------------------
# On disk
# --------------------------------------------------------------------------------------------------


def census_to_bytes(census):
    """A Census as a compressed .npz file (no pickle): truth values one bit each."""
    buffer = io.BytesIO()
    np.savez_compressed(
        buffer,
        forced_right=np.packbits(census.forced_right.T, axis=1),
        written_right=np.packbits(census.written_right.T, axis=1),
        confidence=census.confidence,
        confidence_class=census.confidence_class,
        **{f"worst_{name}": census.worst[name].to_numpy() for name in census.worst},
        **{f"off_by_{name}": census.off_by[name].to_numpy() for name in census.off_by},
    )
    return buffer.getvalue()


def census_from_bytes(data):
    """The inverse of `census_to_bytes`."""
    with np.load(io.BytesIO(data), allow_pickle=False) as stored:
        right = {
            name: np.unpackbits(stored[name], axis=1, count=PAIRS).T.astype(bool)
            for name in ("forced_right", "written_right")
        }
        worst = pd.DataFrame(
            {name: stored[f"worst_{name}"] for name in ("pair", "margin", "column")}
        )
        return Census(
            **right,
            worst=worst,
            confidence=stored["confidence"],
            confidence_class=stored["confidence_class"],
            off_by=pd.DataFrame({name: stored[f"off_by_{name}"] for name in ("off_by", "pairs")}),
        )


def census_of(run, progress=True):
    """The Census of a finished run on three-digit sums, made with just these weights: see
    lab/find_or_make.py.

    Raises NotStored; store.DamagedRun, and as `take_census`."""
    wanted = Wanted(
        "census",
        run.name,
        f"of the run {run.name}",
        python_command(
            "lab.addition.censuses", "census_of", Call("lab.runs", "finished_run", run.config)
        ),
        minutes=0.5,
    )
    return find_or_make(
        wanted,
        BOOK_CENSUSES,
        YOUR_CENSUSES,
        find=lambda folder: stored_census(run, folder),
        make=lambda folder: store_census(run, folder, progress),
    )[0]


def stored_census(run, folder):
    """The Census of a run as stored in `folder`; None if there is none, or if it was made with
    other weights."""
    place = Path(folder) / run.name
    if not place.exists():
        return None
    contents, provenance = store.read_folder(place, ("census.npz",))
    if provenance.get("weights") != run.provenance["files"]["weights.safetensors"]:
        return None
    return census_from_bytes(contents["census.npz"])


def store_census(run, folder, progress=True):
    """Take the census of a run and write it into `folder`, whole or not at all; returns its
    path."""
    if (run.config.task, run.config.n_digits, run.config.digit_order) != (
        "addition",
        3,
        "ones_first",
    ):
        raise ValueError(
            f"a census is of three-digit sums, ones first; {run.name} is of"
            f" {run.config.n_digits}-digit {run.config.task}, {run.config.digit_order}"
        )
    started = time.perf_counter()
    census = take_census(run.model(), progress)
    provenance = {
        **store.provenance_of(DEVICE, time.perf_counter() - started, CODE),
        "weights": run.provenance["files"]["weights.safetensors"],
    }
    return store.write_folder(
        Path(folder) / run.name, {"census.npz": census_to_bytes(census)}, provenance, replace=True
    )
