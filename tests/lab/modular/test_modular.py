"""Modular addition: the short way against the plain forward, TransformerLens, training,
interruption, storage."""

import dataclasses
import math

import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from safetensors import safe_open

from lab import store
from lab.modular import runs as modular_runs
from lab.modular.fourier import (
    ablation_table,
    component_norms,
    cosine_fit,
    distance_irrelevance,
    frequency_norms,
    key_frequencies,
)
from lab.modular.measures import grids, progress_measures, time_to_grok
from lab.modular.model import (
    ModularConfig,
    ModularMLP,
    ModularTransformer,
    all_pairs,
    gradient_symmetricity,
    loss_in_float64,
    make_optimizer,
    modular_split,
    new_model,
    score,
    train_step,
)
from lab.modular.runs import (
    ModularTraining,
    book_arms,
    checkpoint_epochs,
    finished_modular,
    read_modular,
    train_and_store,
)
from tools import benchmark

TINY = ModularConfig(
    p=11, fraction=0.7, d_model=32, n_heads=2, d_mlp=64, epochs=300, lr=5e-3, measure_every=50
)
LENS = store.ROOT / "tests" / "data" / "transformer_lens_modular.safetensors"
ARCHITECTURES = pytest.mark.parametrize("architecture", ["transformer", "mlp"])


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """One stored run of the tiny configuration, with everything kept."""
    folder = tmp_path_factory.mktemp("modular")
    return read_modular(train_and_store(TINY, folder, "checkpoints", progress=False))


# -- the setting


def test_the_reference_setting():
    config = ModularConfig()
    model = new_model(config)
    assert sum(w.numel() for w in model.parameters()) == 226_048
    assert (
        sum(
            w.numel()
            for w in new_model(dataclasses.replace(config, architecture="mlp")).parameters()
        )
        == 225_536
    )
    assert all(
        abs(float(w.detach().std()) / (0.8 / math.sqrt(128)) - 1) < 0.05 for w in model.parameters()
    )
    train, test = modular_split(config)
    assert (len(train), len(test)) == (3_830, 8_939)
    order = torch.randperm(12_769, generator=torch.Generator().manual_seed(598))
    assert set(train.tolist()) == set(order[:3_830].tolist()) and not set(train.tolist()) & set(
        test.tolist()
    )
    a, b = all_pairs(113)
    assert (int(a[114]), int(b[114])) == (1, 1) and (int(a[112]), int(b[112])) == (
        0,
        112,
    )  # a-major
    assert store.run_name(config).startswith("modular-seed999-") and config.differs == ""
    options = make_optimizer(model, config).param_groups[0]
    assert (options["lr"], options["weight_decay"], options["betas"]) == (1e-3, 1.0, (0.9, 0.98))


def test_the_loss_is_taken_in_float64():
    logits = torch.tensor([[60.0, 0.0, 0.0]], requires_grad=True)
    loss = loss_in_float64(logits, torch.tensor([0]))
    assert loss.item() == pytest.approx(2 * math.exp(-60), rel=1e-9)  # float32 would say 0
    loss.backward()
    assert logits.grad[0, 1].item() == pytest.approx(math.exp(-60), rel=1e-6)
    assert score(torch.eye(3), torch.tensor([0, 1, 0]))[1] == pytest.approx(2 / 3)


# -- the short way


def pairs_of(config):
    a, b = all_pairs(config.p)
    index = modular_split(config)[0]
    return a[index], b[index]


def both_ways(model, a, b):
    """(logits, gradients) by the plain forward over all tokens and by the short way."""
    results = []
    for logits in (model(model.tokens(a, b))[:, -1], model.pair_logits(a, b)):
        loss = loss_in_float64(logits, (a + b) % model.p)
        results.append((logits.detach(), torch.autograd.grad(loss, list(model.parameters()))))
    return results


@ARCHITECTURES
def test_the_short_way_is_the_plain_forward_at_the_reference_setting(architecture):
    config = ModularConfig(architecture=architecture)
    (plain, plain_gradient), (short, short_gradient) = both_ways(
        new_model(config), *pairs_of(config)
    )
    assert (plain - short).abs().max() < 1e-5
    assert max(float((x - y).abs().max()) for x, y in zip(plain_gradient, short_gradient)) < 1e-5
    assert (
        max(float((x - y).norm() / x.norm()) for x, y in zip(plain_gradient, short_gradient)) < 1e-4
    )


@ARCHITECTURES
def test_the_short_way_in_float64_with_large_weights(architecture):
    """Attention far from uniform: scores of some tens, where exponentials by token would
    overflow."""
    config = dataclasses.replace(TINY, architecture=architecture)
    model = new_model(config).double()
    with torch.no_grad():
        for w in model.parameters():
            w *= 6
    (plain, plain_gradient), (short, short_gradient) = both_ways(model, *pairs_of(config))
    torch.testing.assert_close(short, plain, rtol=1e-9, atol=1e-7)
    for x, y in zip(short_gradient, plain_gradient):
        torch.testing.assert_close(x, y, rtol=1e-7, atol=1e-9 * float(y.abs().max()))


def test_training_the_short_way_is_training_the_plain_way():
    one, other = new_model(TINY), new_model(TINY)
    a, b = pairs_of(TINY)
    optimizer = make_optimizer(one, TINY)
    plain = torch.optim.AdamW(other.parameters(), lr=TINY.lr, betas=(0.9, 0.98), weight_decay=1.0)
    for _ in range(5):
        loss = train_step(one, optimizer, a, b, (a + b) % 11)
        expected = F.cross_entropy(other(other.tokens(a, b))[:, -1].double(), (a + b) % 11)
        plain.zero_grad()
        expected.backward()
        plain.step()
        assert loss == pytest.approx(expected.item(), rel=1e-5)
    for x, y in zip(one.parameters(), other.parameters()):
        assert (x - y).abs().max() < 1e-3 * float(y.abs().max())


def test_attention_is_the_plain_models():
    model = new_model(TINY)
    a, b = pairs_of(TINY)
    x = model.embed(model.tokens(a, b))
    scores = torch.stack(
        [((x[:, -1] @ model.W_Q[h])[:, None] * (x @ model.W_K[h])).sum(-1) / 4 for h in range(2)]
    )  # (H, N, 3)
    torch.testing.assert_close(
        model.attention(a, b), scores.softmax(-1).permute(2, 1, 0), rtol=1e-4, atol=1e-5
    )


def test_no_later_token_is_seen():
    model = new_model(TINY)
    tokens = torch.tensor([[3, 4, 11], [3, 5, 11]])
    logits = model(tokens)
    later = (
        (logits[0] - logits[1]).abs().amax(1)
    )  # (3,): other rows of a product of matrices may be added in another
    assert later[0] < 1e-5 < 1e-3 < later[1]  # order, so that "not seen" is a matter of rounding


# -- TransformerLens


def lens_states():
    """The fixture: weights and logits of three models that TransformerLens itself built and ran."""
    with safe_open(LENS, framework="pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}
    return {
        seed: {
            name.split(".", 1)[1]: value
            for name, value in tensors.items()
            if name.startswith(f"{seed}.")
        }
        for seed in range(3)
    }


@pytest.mark.parametrize("seed", range(3))
def test_a_checkpoint_of_transformer_lens_opens_with_the_same_logits(seed):
    state = lens_states()[seed]
    logits = state.pop("logits")  # (49, 3, 7)
    model = ModularTransformer.from_transformer_lens(state)
    a, b = all_pairs(7)
    with torch.no_grad():
        assert (model(model.tokens(a, b)) - logits).abs().max() < 1e-5
        assert (model.pair_logits(a, b) - logits[:, -1]).abs().max() < 1e-5


def test_the_export_has_every_tensor_that_transformer_lens_has():
    state = lens_states()[0]
    state.pop("logits")
    ours = ModularTransformer.from_transformer_lens(state).to_transformer_lens()
    learned = {name for name in state if name.split(".")[-1] not in ("mask", "IGNORE")}
    assert set(ours) == learned
    assert all(torch.equal(ours[name], state[name]) for name in learned)


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda s: s.pop("blocks.0.attn.W_O"), "lacks blocks.0.attn.W_O"),
        (lambda s: s["blocks.0.mlp.b_in"].add_(1), "has no blocks.0.mlp.b_in"),
        (lambda s: s.update({"blocks.1.mlp.W_in": torch.ones(2)}), "has no blocks.1.mlp.W_in"),
        (
            lambda s: s.update({"pos_embed.W_pos": torch.ones(4, 16)}),
            r"pos_embed.W_pos must have shape \(3, 16\)",
        ),
    ],
)
def test_another_models_checkpoint_is_refused(change, message):
    state = lens_states()[0]
    state.pop("logits")
    change(state)
    with pytest.raises(ValueError, match=message):
        ModularTransformer.from_transformer_lens(state)


# -- clock and pizza


def test_gradient_symmetricity_of_known_models():
    model = ModularMLP(11, 16, 32, seed=1)
    with torch.no_grad():
        model.W_b.copy_(model.W_a)
    assert gradient_symmetricity(model, 200) == pytest.approx(
        1, abs=1e-5
    )  # a and b come in by one matrix
    with torch.no_grad():
        model.W_b.neg_()
    assert gradient_symmetricity(model, 2_000) == pytest.approx(
        -10 / 11, abs=0.03
    )  # where a = b no neuron fires: 0
    assert (
        abs(gradient_symmetricity(ModularMLP(11, 512, 512, seed=1), 500)) < 0.2
    )  # two unrelated ones


# -- training and its history


def test_a_short_run_end_to_end(tiny):
    history, config = tiny.history, tiny.config
    assert config == TINY and tiny.result["ended"] == "finished"
    assert history["epoch"].tolist() == [*range(0, 250, 5), 250, 300]
    assert history["train_loss"].iloc[0] == pytest.approx(math.log(11), rel=0.05)
    assert history["train_accuracy"].iloc[-1] == 1 and history["train_loss"].iloc[-1] < 0.01
    assert history.notna().all().all() and (history["seconds"].diff()[1:] >= 0).all()
    assert (
        tiny.times()["memorised"] == history.loc[history["train_accuracy"] >= 0.99, "epoch"].iloc[0]
    )
    assert (tiny.spectra["embedding"].shape, tiny.spectra["logit_map"].shape) == ((52, 6), (52, 6))


def test_the_history_is_that_of_the_stored_checkpoints(tiny):
    train, test = modular_split(TINY)
    a, b = all_pairs(11)
    for epoch in tiny.checkpoints:
        row, model = tiny.history.set_index("epoch").loc[epoch], tiny.model(epoch)
        logits = model(model.tokens(a, b))[:, -1]
        assert row["train_loss"] == pytest.approx(
            float(loss_in_float64(logits[train], ((a + b) % 11)[train])), rel=0.02
        )
        assert row["test_loss"] == pytest.approx(
            float(loss_in_float64(logits[test], ((a + b) % 11)[test])), rel=0.02
        )
        assert row["weight_norm"] == pytest.approx(
            sum(float((w**2).sum()) for w in model.parameters()), rel=1e-3
        )
        progress = progress_measures(model, tiny.key_frequencies, train)
        for name, value in progress.items():
            assert row[name] == pytest.approx(value, rel=0.02)
        i = tiny.history["epoch"].tolist().index(epoch)
        torch.testing.assert_close(
            tiny.spectra["embedding"][i].double(),
            frequency_norms(component_norms(model.W_E[:11])),
            rtol=5e-3,
            atol=5e-3,
        )
    assert tiny.key_frequencies == key_frequencies(
        frequency_norms(component_norms(tiny.model().neuron_logit_map().T))
    )
    assert all(
        torch.equal(tiny.weights[name], value) for name, value in tiny.checkpoints[300].items()
    )
    assert set(tiny.checkpoints) < set(tiny.embeddings)
    assert all(
        torch.equal(weights["W_E"], tiny.embeddings[epoch])
        for epoch, weights in tiny.checkpoints.items()
    )


def test_the_final_measures_are_those_of_the_trained_model(tiny):
    model, keys = tiny.model(), tiny.key_frequencies
    logits, test = grids(model)[1], modular_split(TINY)[1]
    table = ablation_table(logits, keys, test).set_index("kept")["accuracy"]
    final = tiny.result["final"]
    # The measures were taken on float32 weights, and these are float16: a number moves by up to
    # 5e-4 of its size, and neurons at the border of their ReLU change sides. That tells most in the
    # gradients, which jump there.
    assert final["accuracy"] == table["all"] and final["r2"] == pytest.approx(
        cosine_fit(logits, keys)[1], abs=2e-3
    )
    assert final["without_keys"] == pytest.approx(table["all but the key frequencies"], abs=0.02)
    assert final["only_keys"] == pytest.approx(table["only the key frequencies"], abs=0.02)
    assert final["gradient_symmetricity"] == pytest.approx(gradient_symmetricity(model), abs=0.02)
    assert final["distance_irrelevance"] == pytest.approx(distance_irrelevance(logits), abs=2e-3)
    old = dataclasses.replace(tiny, result={"key_frequencies": keys})
    assert old.final == pytest.approx(final, abs=0.02)


def test_an_interrupted_run_goes_on_to_the_same_bits(tmp_path):
    config = dataclasses.replace(TINY, epochs=100)
    whole = ModularTraining(config, tmp_path / "whole").run(progress=False)
    ModularTraining(config, tmp_path / "parts").run(progress=False, stop_at=35)
    resumed = ModularTraining(config, tmp_path / "parts")
    assert resumed.epoch == 35 and resumed.ended is None
    resumed.run(progress=False)
    assert all(
        torch.equal(x, y) for x, y in zip(whole.model.parameters(), resumed.model.parameters())
    )
    one, other = whole.finish("checkpoints"), resumed.finish("checkpoints")
    assert one.keys() == other.keys()
    assert all(one[name] == other[name] for name in one if name != "history.csv")
    tables = [pd.DataFrame(t.history).drop(columns="seconds") for t in (whole, resumed)]
    pd.testing.assert_frame_equal(*tables)
    with pytest.raises(ValueError, match="another configuration"):
        ModularTraining(dataclasses.replace(config, lr=1e-3), tmp_path / "parts")


def test_a_run_ends_after_it_has_learned(tmp_path, monkeypatch):
    monkeypatch.setattr(modular_runs, "LEARNED", 0.05)  # of 37 unseen sums: soon reached
    config = dataclasses.replace(TINY, extra_epochs=20, epochs=200)
    training = ModularTraining(config, tmp_path).run(progress=False)
    learned = next(row["epoch"] for row in training.history if row["test_accuracy"] >= 0.05)
    assert training.ended == "learned" and learned + 20 <= training.epoch < 200


def test_a_run_that_diverges_is_stored_up_to_there(tmp_path):
    run = read_modular(
        train_and_store(dataclasses.replace(TINY, lr=1e30), tmp_path, progress=False)
    )
    assert run.result["ended"].startswith("diverged at epoch") and len(run.history) >= 1
    assert run.history["train_loss"].map(math.isfinite).all()


# -- storage


def test_what_is_kept_and_how_large(tiny, tmp_path):
    path = train_and_store(
        dataclasses.replace(TINY, epochs=50, measure_every=10), tmp_path, "history", progress=False
    )
    run = read_modular(path)
    assert sorted(p.name for p in path.iterdir()) == [
        "config.json",
        "history.csv",
        "provenance.json",
        "result.json",
    ]
    assert run.weights is None and run.checkpoints == run.embeddings == run.spectra == {}
    with pytest.raises(ValueError, match="keeps no weights of the end"):
        run.model()
    with pytest.raises(ValueError, match="keeps no weights of epoch 3"):
        tiny.model(3)
    assert not list((tmp_path / ".partial").iterdir())
    with pytest.raises(ValueError, match="unknown keep .*: it may be one of"):
        ModularTraining(TINY, tmp_path / "other").finish("everything")


def test_some_thirty_checkpoints_of_the_reference_run():
    config = ModularConfig()
    measured = [epoch for epoch in range(config.epochs + 1) if config.is_measured(epoch)]
    epochs, whole = checkpoint_epochs(measured)
    assert epochs == [0, 100, 200, 500, *range(1_000, 25_001, 1_000)]
    assert whole == [0, 200, 1_000, 5_000, 10_000, 15_000, 18_000, 25_000]
    assert checkpoint_epochs([0, 5, 10]) == ([0, 5, 10], [0, 10])
    assert all(epoch in measured for epoch in range(0, 25_001, 100)) and measured[:3] == [0, 10, 20]


def test_a_stored_run_stays_and_damage_is_named(tmp_path):
    config = dataclasses.replace(TINY, epochs=50, measure_every=10)
    path = train_and_store(config, tmp_path, "spectra", progress=False)
    before = (path / "provenance.json").read_bytes()
    assert train_and_store(config, tmp_path, "weights", progress=False) == path
    assert (path / "provenance.json").read_bytes() == before
    (path / "spectra.safetensors").write_bytes((path / "spectra.safetensors").read_bytes()[:-1])
    with pytest.raises(store.DamagedRun, match="spectra.safetensors was truncated or altered"):
        read_modular(path)


def test_runs_are_taken_from_the_book_then_from_your_own_then_trained(tmp_path, monkeypatch):
    monkeypatch.setattr(modular_runs, "BOOK_MODULAR", tmp_path / "book")
    monkeypatch.setattr(modular_runs, "YOUR_MODULAR", tmp_path / "yours")
    monkeypatch.setattr(modular_runs, "note_use", lambda run: None)
    monkeypatch.delenv("BOOK_RUNS", raising=False)
    config = dataclasses.replace(TINY, epochs=50, measure_every=10)
    trained = finished_modular(config, "history", progress=False)
    assert (
        trained.origin == "yours"
        and finished_modular(config, "history").provenance == trained.provenance
    )
    more = finished_modular(config, "weights", progress=False)  # an own run that kept too little
    assert more.weights is not None and more.history.drop(columns="seconds").equals(
        trained.history.drop(columns="seconds")
    )
    train_and_store(config, tmp_path / "book", "history", progress=False)
    assert finished_modular(config, "weights").origin == "book"
    monkeypatch.setenv("BOOK_RUNS", "fresh")
    assert finished_modular(config, "weights").origin == "yours"
    with pytest.raises(TypeError, match="needs a ModularConfig"):
        finished_modular("reference")


def test_time_to_grok():
    history = pd.DataFrame(
        {
            "epoch": [0, 100, 200, 300],
            "train_accuracy": [0, 0.995, 1, 1],
            "test_accuracy": [0, 0.1, 0.5, 0.992],
        }
    )
    assert time_to_grok(history) == {
        "memorised": 100,
        "grokked": 300,
        "delay": 200,
        "censored_at": 300,
    }
    assert time_to_grok(history, 1.0, 0.5) == {
        "memorised": 200,
        "grokked": 200,
        "delay": 0,
        "censored_at": 300,
    }
    assert time_to_grok(history, test_level=0.999) == {
        "memorised": 100,
        "grokked": None,
        "delay": None,
        "censored_at": 300,
    }


# -- the benchmark


def test_what_the_benchmark_times_is_one_model():
    model, (a, b) = new_model(TINY), pairs_of(TINY)
    torch.testing.assert_close(
        benchmark.last_row_logits(model, model.tokens(a, b)),
        model(model.tokens(a, b))[:, -1],
        rtol=1e-4,
        atol=1e-5,
    )


def test_the_benchmark_says_what_each_way_costs(capsys, monkeypatch):
    monkeypatch.setattr(benchmark, "ModularConfig", lambda: TINY)
    threads = torch.get_num_threads()
    try:
        benchmark.report_modular(threads=1, steps=1, repeats=2)
    finally:
        torch.set_num_threads(threads)
    out = capsys.readouterr().out
    assert out.count("ms per step") == 3 and "the short way" in out and "1 threads" in out


def test_the_books_arms():
    arms = book_arms()
    assert arms["reference"] == ([ModularConfig()], "checkpoints")
    assert len(arms["replicas"][0]) >= 5 and len(arms["small prime"][0]) >= 30
    names = [store.run_name(config) for configs, _ in arms.values() for config in configs]
    assert len(names) == len(set(names))
    assert all(config.seed == config.data_seed for config in arms["replicas"][0])


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"p": 15}, "odd prime"),
        ({"p": 2}, "odd prime"),
        ({"fraction": 1.0}, "fraction must leave"),
        ({"fraction": 0}, "fraction must leave"),
        ({"d_model": 30}, "multiple of n_heads"),
        ({"epochs": 150}, "multiple of measure_every"),
        ({"architecture": "rnn"}, "one of transformer, mlp"),
        ({"task": "addition"}, "unknown task"),
    ],
)
def test_bad_settings(settings, message):
    with pytest.raises(ValueError, match=message):
        ModularConfig(**settings)
