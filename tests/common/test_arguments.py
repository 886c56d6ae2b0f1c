"""Arguments of every kind: whole numbers of numpy and PyTorch, numbers that are none, a user's own
defaults and figures."""

import math
import subprocess
import sys

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch

from _checks import (
    LARGEST_SEED,
    one_of,
    real_number,
    seed_number,
    true_or_false,
    whole_number,
    whole_numbers,
)
from _common import (
    AdditionTransformer,
    add_with_model,
    as_array,
    attention_weights,
    census,
    decode_tokens,
    encode_addition,
    encode_reversal,
    generate,
    get_attention_maps,
    make_addition_dataset,
    make_disjoint_addition_split,
    make_reversal_dataset,
    own_defaults,
    pair_overlap,
    plot_attention,
    predict_answers,
    seeded_generator,
    test_addition,
    train_model,
)
from lab import store
from lab.adders.models.micro_adder import MicroAdderConfig
from lab.adders.models.rotary_adder import RotaryAdderConfig
from lab.adders.training.fleets import Fleet
from lab.adders.training.recipes import FleetConfig, Recipe
from lab.adders.training.sweeps import sweep_name
from lab.addition.interventions import Sums
from lab.checks import seed_numbers, seeded_rng
from lab.experiments import configs_of
from lab.modular.model import ModularConfig, ModularTransformer, modular_split
from lab.runs import RunConfig

WHOLE = [
    np.int64,
    np.int32,
    np.uint8,
    np.int8,
    lambda n: np.array(n),
    lambda n: torch.tensor(n),
    lambda n: torch.tensor(n, dtype=torch.uint8),
]
X, Y = make_addition_dataset(64)
QUICK = {"epochs": 1, "log_every": 0, "progress": False}


def train(**settings):
    torch.manual_seed(0)
    return train_model(
        settings.pop("model", None) or AdditionTransformer(), X, Y, X, Y, **QUICK | settings
    )


# -- the checks


@pytest.mark.parametrize("make", WHOLE)
def test_whole_numbers_of_every_width_are_pythons(make):
    for number in (
        whole_number("n", make(7), 1, 10),
        seed_number("seed", make(7)),
        *seed_numbers([make(7)]),
    ):
        assert number == 7 and type(number) is int
    assert type(real_number("lr", make(7))) is float
    for wrong in (
        True,
        np.True_,
        torch.tensor(True),
        7.0,
        np.float64(7),
        torch.tensor(7.0),
        "7",
        None,
        [7],
        np.array([7]),
        7j,
    ):
        with pytest.raises(TypeError, match="n must be a whole number, not"):
            whole_number("n", wrong)


def test_lists_of_seeds():
    for seeds in (
        [3, 4],
        (3, 4),
        range(3, 5),
        np.arange(3, 5),
        torch.arange(3, 5),
        np.array([3, 4], np.uint8),
        iter([3, 4]),
    ):
        assert seed_numbers(seeds) == [3, 4]
    for wrong in (3, None, {3, 4}, np.array(3), np.zeros((2, 2), int), {3: 4}):
        with pytest.raises(TypeError, match="a list of whole numbers is needed, a seed each"):
            whole_numbers("a seed", wrong)
    for wrong in ([], [3, 3], np.array([3, 3])):
        with pytest.raises(ValueError, match="each once"):
            seed_numbers(wrong)


def test_real_numbers_and_their_bounds():
    for number in (
        0.5,
        np.float32(0.5),
        np.float64(0.5),
        torch.tensor(0.5),
        torch.tensor(0.5, dtype=torch.bfloat16),
        np.array(0.5),
    ):
        assert (
            real_number("lr", number, above=0) == 0.5 and type(real_number("lr", number)) is float
        )
    for wrong in ("0.01", None, True, np.True_, 1j, [0.1], torch.ones(1)):
        with pytest.raises(TypeError, match="lr must be a number, not"):
            real_number("lr", wrong)
    for bounds, message in (
        ({}, "finite"),
        ({"above": 0}, "above 0"),
        ({"low": 0, "high": 1}, "between 0 and 1"),
        ({"above": 0, "below": 1}, "above 0 and below 1"),
    ):
        for wrong in (math.nan, math.inf, -math.inf):
            with pytest.raises(ValueError, match=f"lr must be {message}, not"):
                real_number("lr", wrong, **bounds)


def test_switches_and_words():
    for truth in (True, np.True_, torch.tensor(True)):
        assert true_or_false("ffn", truth) is True
    for wrong in (1, 0, None, "yes"):
        with pytest.raises(TypeError, match="ffn must be True or False"):
            true_or_false("ffn", wrong)
    assert (
        one_of("size", np.int64(2), (1, 2)) == 2
        and type(one_of("size", np.int64(2), (1, 2))) is int
    )
    for wrong in ("c", None, ["a"], np.array(["a", "b"]), 1, True):
        with pytest.raises(ValueError, match="unknown word .*: it may be one of a, b"):
            one_of("word", wrong, ("a", "b"))
    with pytest.raises(ValueError, match="unknown size True"):
        one_of("size", True, (1, 2))


@pytest.mark.parametrize(
    "use",
    [
        lambda seed: seeded_generator(seed),
        lambda seed: seeded_rng(seed),
        lambda seed: RunConfig(seed=seed),
        lambda seed: make_addition_dataset(4, seed=seed),
        lambda seed: train(seed=seed),
        lambda seed: MicroAdderConfig().build(seed),
        lambda seed: ModularConfig(seed=seed),
    ],
)
def test_seeds_out_of_range_are_refused(use):
    use(LARGEST_SEED)
    for wrong in (2**64, -1, np.int64(-1)):
        with pytest.raises(ValueError, match="seed must be between 0 and 18446744073709551615"):
            use(wrong)
    for wrong in (None, True, "3", 3.0):
        with pytest.raises(TypeError, match="seed must be a whole number"):
            use(wrong)


# -- whole numbers where the book takes them


@pytest.mark.parametrize("make", WHOLE)
def test_sizes_and_seeds_of_every_kind_do_the_same(make, capsys):
    history = train(
        seed=make(3),
        epochs=make(2),
        batch_size=make(32),
        warmup_steps=make(1),
        eval_every=make(1),
        stop_at=make(1),
    )
    same = train(seed=3, epochs=2, batch_size=32, warmup_steps=1, stop_at=1)
    assert history["loss"] == same["loss"] and history["epoch"] == [1]
    assert torch.equal(
        make_addition_dataset(make(9), make(2), make(5))[0], make_addition_dataset(9, 2, 5)[0]
    )
    assert torch.equal(
        make_reversal_dataset(make(9), make(4), make(5))[0], make_reversal_dataset(9, 4, 5)[0]
    )
    assert encode_addition(make(99), make(99)) == encode_addition(99, 99)
    assert encode_reversal([make(1), make(2)]) == encode_reversal([1, 2])
    model = AdditionTransformer(
        d_model=make(8), n_heads=make(2), n_layers=make(1), d_ff=make(8), max_seq_len=make(13)
    )
    test_addition(model, make(100), make(100))
    assert "100 + 100 = 200 " in capsys.readouterr().out
    assert add_with_model(model, make(100), make(100)) == add_with_model(model, 100, 100)


def test_names_of_runs_hang_on_the_number_not_on_its_kind():
    for make in WHOLE:
        assert store.run_name(
            RunConfig(seed=make(43), n_train=make(100), d_model=make(64))
        ) == store.run_name(RunConfig(seed=43, n_train=100, d_model=64))
        assert store.run_name(ModularConfig(seed=make(3), p=make(59))) == store.run_name(
            ModularConfig(seed=3, p=59)
        )
        assert sweep_name(
            FleetConfig(
                MicroAdderConfig(d_ff=make(2)),
                Recipe(steps=make(100), evaluate_every=make(50)),
                data_seed=make(4),
            )
        ) == sweep_name(
            FleetConfig(MicroAdderConfig(), Recipe(steps=100, evaluate_every=50), data_seed=4)
        )
    assert store.run_name(RunConfig(lr=np.float64(0.02), weight_decay=1)) == store.run_name(
        RunConfig(lr=0.02, weight_decay=1.0)
    )
    assert sweep_name(FleetConfig(RotaryAdderConfig(phi_start=(8, 10)))) == sweep_name(
        FleetConfig(RotaryAdderConfig(phi_start=[8.0, 10.0]))
    )
    assert (
        configs_of("reference", np.arange(42, 44))
        == configs_of("reference", [42, 43])
        == configs_of("reference", torch.tensor([42, 43]))
    )
    with pytest.raises(ValueError, match="at least one seed"):
        configs_of("reference", [])


def test_small_kinds_do_not_overflow():
    a, b = np.array([200, 250], np.uint8), np.array([100, 250], np.uint8)
    assert decode_tokens(Sums(a, b).sequences[1]) == "250+250=0050<EOS>"
    from lab.addition.carries import carries, local_views

    assert carries(a, b).tolist() == carries(a.astype(int), b.astype(int)).tolist()
    assert [view[0].tolist() for view in local_views(a, b)] == [
        view[0].tolist() for view in local_views(a.astype(int), b.astype(int))
    ]
    from lab.adders.formats import FORMATS

    with pytest.raises(TypeError, match="operand a must be a tensor of int64, not of torch.uint8"):
        FORMATS["plain"].sequences(torch.tensor(a), torch.tensor(b))


@pytest.mark.parametrize(
    "config, wrong, error",
    [
        (RunConfig, {"lr": "0.01"}, TypeError),
        (RunConfig, {"lr": None}, TypeError),
        (RunConfig, {"lr": math.nan}, ValueError),
        (RunConfig, {"lr": 0}, ValueError),
        (RunConfig, {"epochs": 1.5}, TypeError),
        (RunConfig, {"n_train": True}, TypeError),
        (RunConfig, {"fit_factor": 0}, ValueError),
        (RunConfig, {"fit_factor": "2"}, TypeError),
        (RunConfig, {"ffn": 1}, TypeError),
        (RunConfig, {"n_heads": 5}, ValueError),
        (RunConfig, {"optimizer": "lbfgs"}, ValueError),
        (RunConfig, {"stop_at": 151}, ValueError),
        (RunConfig, {"digit_order": "lsb"}, ValueError),
        (RunConfig, {"clip": -1}, ValueError),
        (RunConfig, {"clip": math.inf}, ValueError),
        (ModularConfig, {"lr": None}, TypeError),
        (ModularConfig, {"p": 113.0}, TypeError),
        (ModularConfig, {"beta1": 1.0}, ValueError),
        (ModularConfig, {"fraction": "0.3"}, TypeError),
        (Recipe, {"lr": "0.02"}, TypeError),
        (Recipe, {"steps": 60_000.0}, TypeError),
        (Recipe, {"carry_share": 1.5}, ValueError),
        (Recipe, {"clip": 0}, ValueError),
        (Recipe, {"digit_stages": 3}, TypeError),
        (Recipe, {"digit_stages": ((11, 5),)}, ValueError),
        (Recipe, {"lr_factors": (("S", "ten"),)}, TypeError),
        (Recipe, {"carry_fade": (1, 2, 3)}, ValueError),
        (MicroAdderConfig, {"d_ff": 0}, ValueError),
        (MicroAdderConfig, {"spiral": "abcd"}, TypeError),
        (MicroAdderConfig, {"tied_qk": 1}, TypeError),
        (RotaryAdderConfig, {"period": math.nan}, ValueError),
        (RotaryAdderConfig, {"window": 2.0}, TypeError),
        (FleetConfig, {"model": "57"}, TypeError),
        (FleetConfig, {"recipe": {}}, TypeError),
        (FleetConfig, {"data_seed": 10**6}, ValueError),
    ],
)
def test_settings_are_refused_by_name(config, wrong, error):
    with pytest.raises(error) as caught:
        config(**wrong)
    assert type(caught.value) is error and next(iter(wrong)) in str(caught.value)


@pytest.mark.parametrize(
    "wrong, error",
    [
        ({"lr": "0.01"}, TypeError),
        ({"lr": None}, TypeError),
        ({"lr": math.inf}, ValueError),
        ({"clip": "1"}, TypeError),
        ({"weight_decay": None}, TypeError),
        ({"fit_factor": 0}, ValueError),
        ({"fit_factor": -1}, ValueError),
        ({"fit_factor": "2"}, TypeError),
        ({"fit_factor": math.nan}, ValueError),
        ({"extra_epochs": False}, TypeError),
        ({"measure": 3}, TypeError),
        ({"log_every": True}, TypeError),
    ],
)
def test_training_refuses_by_name(wrong, error):
    with pytest.raises(error, match=next(iter(wrong))):
        train(**wrong)


# -- models and gradients


@pytest.mark.parametrize(
    "use",
    [
        lambda model: train(model=model),
        lambda model: predict_answers(model, X, 7),
        lambda model: generate(model, X[:, :8], 2),
        lambda model: add_with_model(model, 1, 2),
        lambda model: census(model, 1),
        lambda model: attention_weights(model, X),
        lambda model: get_attention_maps(model, 1, 2),
    ],
)
def test_models_of_another_kind_are_refused(use):
    for model in (torch.nn.Linear(2, 2), torch.nn.Identity()):
        with pytest.raises(TypeError, match=f"model must .*{type(model).__name__} has no"):
            use(model)


def test_attention_of_a_model_without_layers_is_refused():
    from lab.addition.other_architectures import build

    with pytest.raises(TypeError, match="GRUAdder has none"):
        attention_weights(build("gru", 13), X)


def test_training_without_gradients_is_refused():
    for switch in (torch.no_grad, torch.inference_mode):
        model = AdditionTransformer()
        with switch():
            for use in (lambda: train(model=model), lambda: Fleet(FleetConfig(), [0])):
                with pytest.raises(ValueError, match="gradients are switched off"):
                    use()
    with pytest.raises(ValueError, match="tensors of weights are frozen"):
        train(model=AdditionTransformer().requires_grad_(False))
    with torch.inference_mode():
        model = AdditionTransformer()
    with pytest.raises(ValueError, match="inference_mode"):
        train(model=model)
    model = AdditionTransformer()
    model.token_emb.requires_grad_(False)
    before = model.token_emb.weight.clone()
    assert train(model=model)["ended"] == "finished" and torch.equal(
        model.token_emb.weight, before
    )  # some frozen: they stay


# -- a user's own defaults

DEFAULTS = {
    "device": lambda: torch.set_default_device("meta"),
    "dtype": lambda: torch.set_default_dtype(torch.float64),
}


@pytest.fixture(params=DEFAULTS)
def own_choice(request):
    """A session whose user has set a default of PyTorch's."""

    def choose():
        DEFAULTS[request.param]()

    yield choose
    torch.set_default_device(None)
    torch.set_default_dtype(torch.float32)


def test_a_users_defaults_change_nothing(own_choice):
    def results():
        torch.manual_seed(0)
        with own_defaults():
            model = AdditionTransformer()
        from lab.adders.ten_digits import (
            board_pairs,
            mixed_pairs,
            pattern_pairs,
            stratified_pairs,
            sum_nines_pairs,
        )
        from lab.addition.censuses import read_block
        from lab.runs import datasets, new_model

        rotary = RotaryAdderConfig(
            start="wide",
            activation="tanh",
            ffn_in="last",
            ffn_out="last",
            write="last",
            head="diagonal",
        ).build(3)
        recipe = Recipe(steps=10, evaluate_every=10, batch_size=4)
        history = train_model(model, X, Y, X, Y, **QUICK)
        return [
            sum(encode_addition(12, 34), []),
            make_reversal_dataset(5)[0],
            make_disjoint_addition_split(5, 5)[2],
            pair_overlap(X, X),
            history["loss"],
            add_with_model(model, 1, 2),
            census(model, 1),
            get_attention_maps(model, 1, 2)[0],
            read_block(model, 7)[1],
            board_pairs(5)[0],
            *stratified_pairs(2, 0),
            *pattern_pairs(1, 0),
            *sum_nines_pairs(2, 0),
            *mixed_pairs(9, seeded_generator(0), 10, 0.5),
            *new_model(RunConfig(seed=3)).parameters(),
            datasets(RunConfig(n_train=5, n_test=5))[0],
            *MicroAdderConfig().build(3).parameters(),
            *rotary.parameters(),
            *ModularTransformer(59, 8, 2, 8, seed=1).parameters(),
            modular_split(ModularConfig())[0],
            Fleet(FleetConfig(recipe=recipe), [1, 2]).run(progress=False).final,
        ]

    before = results()
    own_choice()
    dtype, device = torch.get_default_dtype(), torch.get_default_device()
    for one, other in zip(before, results(), strict=True):
        assert (
            one.dtype == other.dtype and torch.equal(one, other)
            if isinstance(one, torch.Tensor)
            else np.all(np.equal(one, other))
        )
    assert (torch.get_default_dtype(), torch.get_default_device()) == (dtype, device)


# -- figures


def test_maps_of_every_kind_are_drawn():
    for kind in (torch.bfloat16, torch.float16, torch.float64):
        maps, labels = get_attention_maps(AdditionTransformer().to(kind), 1, 2)
        assert len(plot_attention(maps, labels).axes) == 3
    assert as_array(torch.ones(2, dtype=torch.bfloat16, requires_grad=True)).tolist() == [1, 1]
    assert (
        plot_attention(
            [torch.eye(2, dtype=torch.bfloat16, requires_grad=True)], "ab", titles=["one"]
        )
        .axes[0]
        .get_title()
        == "one"
    )
    for titles in ([], ["one"], ["one", "two", "three"], "ab"):
        with pytest.raises(ValueError, match="titles must be a list of 2, one per map"):
            plot_attention([np.eye(2)] * 2, "ab", titles=titles)
    plt.close("all")


USERS_FIGURES = """
import matplotlib
matplotlib.use("agg")
before = dict(matplotlib.rcParams)
from _common import *
import warnings
warnings.simplefilter("error")
fig, axes = plt.subplots(1, 2)
for ax in axes:
    plt.colorbar(ax.imshow(np.eye(3)), ax=ax)
plt.tight_layout()
plt.figure(); plt.imshow(np.eye(3)); plt.colorbar(); plt.tight_layout()
plt.subplots_adjust(left=0.2)
figure = plt.figure(); grid = figure.add_gridspec(2, 2)
figure.add_subplot(grid[0, :]); figure.add_axes([0.1, 0.1, 0.2, 0.2])
plt.subplot(projection="polar")
figure.suptitle("all"); figure.savefig("/dev/null", format="png", bbox_inches="tight")
changed = {name for name, value in matplotlib.rcParams.items() if before[name] != value}
assert not any(name.startswith("figure.") for name in changed)
"""


def test_a_readers_own_figures_work_after_the_import():
    done = subprocess.run(
        [sys.executable, "-c", USERS_FIGURES], cwd=store.ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def test_the_books_own_figures_say_their_layout():
    import re

    for file in [
        store.ROOT / "_common.py",
        *(store.ROOT / "lab").glob("*.py"),
        *(store.ROOT / "chapters").glob("*.qmd"),
    ]:
        for call in re.findall(
            r"plt\.(?:subplots|subplot_mosaic|figure)\((?:[^\n]*\n)?[^\n]*\n",
            file.read_text(encoding="utf-8"),
        ):
            assert 'layout="constrained"' in call, f"{file.name}: {call}"
