"""What is measured of a model of modular addition while it trains and at its end, and when it
memorised and grokked.
"""

import torch

from _common import own_defaults
from lab.modular.fourier import (
    component_norms,
    cosine_fit,
    distance_irrelevance,
    excluded_logits,
    excluded_loss,
    frequency_fractions,
    frequency_norms,
    gini,
    keep_sum_frequencies,
    others_restricted,
    restricted_loss,
    varies,
)
from lab.modular.model import all_pairs, gradient_symmetricity, score

__all__ = "LEARNED EXPLAINED time_to_grok grids measure progress_measures final_measures".split()

LEARNED = 0.99  # accuracy that counts as memorised (training pairs) or grokked (test pairs)
EXPLAINED = 0.85  # a neuron whose best frequency explains this share is "explained"


def time_to_grok(history, train_level=LEARNED, test_level=LEARNED):
    """First measured epochs with at least these accuracies, as survival data: a dictionary.

    memorised, grokked: epochs, None where never; delay: grokked - memorised; censored_at: the last
    epoch measured.
    """
    first = {}
    for name, column, level in (
        ("memorised", "train_accuracy", train_level),
        ("grokked", "test_accuracy", test_level),
    ):
        reached = history.loc[history[column] >= level, "epoch"]
        first[name] = int(reached.iloc[0]) if len(reached) else None
    delay = None if None in first.values() else first["grokked"] - first["memorised"]
    return {**first, "delay": delay, "censored_at": int(history["epoch"].iloc[-1])}


@torch.no_grad()
def grids(model):
    """Neurons and logits on all pairs: (p, p, M) and (p, p, p), over a, b and neuron or answer."""
    neurons, logits = model.neurons_and_logits(*all_pairs(model.p))
    return neurons.unflatten(0, (model.p, model.p)), logits.unflatten(0, (model.p, model.p))


@torch.no_grad()
def measure(model, split):
    """All measures that do not need the final key frequencies: (row of the history, spectra by
    name)."""
    p = model.p
    neurons, logits = grids(model)
    a, b = all_pairs(p)
    answers, flat = (a + b) % p, logits.flatten(0, 1)
    row = {}
    for name, index in zip(("train", "test"), split):
        row[f"{name}_loss"], row[f"{name}_accuracy"] = score(flat[index], answers[index])
    components = {
        "embedding": component_norms(model.W_E[:p]),
        "logit_map": component_norms(model.neuron_logit_map().T),
    }
    explained = frequency_fractions(neurons).sum(0).amax(0)  # (M,)
    alive = varies(neurons)
    row |= {
        "weight_norm": float(sum(w.double().square().sum() for w in model.parameters())),
        "embedding_gini": gini(components["embedding"]),
        "logit_map_gini": gini(components["logit_map"]),
        "neurons_explained": float((explained >= EXPLAINED).double().mean()),
        "neuron_fraction": float(explained[alive].median()) if alive.any() else 0.0,
        "neurons_alive": float(alive.double().mean()),
    }
    return row, {name: frequency_norms(norms) for name, norms in components.items()}


@torch.no_grad()
def progress_measures(model, frequencies, train):
    """{"restricted_loss", "restricted_others", "excluded_loss"} of a model for given key
    frequencies; train: indices of the training pairs. restricted_others: the lowest that ten draws
    of as many other frequencies reach."""
    logits = grids(model)[1]
    return {
        "restricted_loss": restricted_loss(logits, frequencies),
        "excluded_loss": excluded_loss(logits, frequencies, train),
        "restricted_others": float(others_restricted(logits, frequencies).min()),
    }


@own_defaults()
@torch.no_grad()
def final_measures(model, frequencies):
    """What is said of a trained model as a whole, for its key frequencies: a dictionary.

    accuracy, without_keys, only_keys: over all pairs, with the logits as they are, without the key
    frequencies' waves of a + b, and with nothing else but the constant. r2: share of the logits'
    variance in cosines of a + b - c. gradient_symmetricity, distance_irrelevance: clock or pizza;
    None where not defined.
    """
    logits = grids(model)[1]
    sums = torch.arange(model.p)
    answers = (sums[:, None] + sums) % model.p  # (p, p)

    def share(right):
        return float(right.double().mean())

    measures = {
        "accuracy": share(logits.argmax(2) == answers),
        "without_keys": share(excluded_logits(logits, frequencies).argmax(2) == answers),
        "only_keys": share(keep_sum_frequencies(logits, frequencies).argmax(1) == sums),
        "r2": cosine_fit(logits, frequencies)[1],
        "distance_irrelevance": distance_irrelevance(logits),
    }
    with torch.enable_grad():
        measures["gradient_symmetricity"] = gradient_symmetricity(model)
    return {name: value if value == value else None for name, value in measures.items()}
