"""Several random starts of a seed, of which it takes the best: which it takes, alone and in a
fleet, and after a break."""

import dataclasses

import pytest
import torch

from lab.adders.models.rotary_adder import ROTARY_ADDERS
from lab.adders.training.fleets import Fleet, chosen_starts
from lab.adders.training.recipes import DATA_SEED_OFFSET, FleetConfig, Recipe
from lab.adders.training.stacked import StackedModels
from lab.adders.training.sweeps import changed, preset

SHORT = Recipe(
    steps=80,
    batch_size=16,
    warmup_steps=10,
    digit_stages=(),
    evaluate_every=40,
    stop_after_perfect=None,
    tries=3,
    try_steps=40,
)
CONFIG = FleetConfig(
    dataclasses.replace(ROTARY_ADDERS["r12-step-one-way-two-dimensions"], start="random"), SHORT
)
pytestmark = pytest.mark.usefixtures("one_thread")


def test_a_seed_takes_the_start_of_the_lowest_training_loss():
    """Each candidate trained alone, as if it were the seed's only one, gives the losses by which
    one is taken."""
    plain = dataclasses.replace(CONFIG, recipe=dataclasses.replace(SHORT, tries=1))
    taken = []
    for seed in (4, 9):
        starts = StackedModels.untrained(
            CONFIG.model, [seed + i * DATA_SEED_OFFSET for i in range(3)], "cpu"
        ).flat
        losses = []
        for start in starts:
            alone = Fleet(plain, [seed])
            alone.models.bind(start[None].clone())
            losses.append(alone.run(progress=False, stop_at=40).history[-1]["loss"])
        assert len(set(losses)) == 3
        taken.append(starts[losses.index(min(losses))])
    assert torch.equal(chosen_starts(CONFIG, [4, 9]), torch.stack(taken))
    assert torch.equal(Fleet(CONFIG, [9]).models.flat[0], taken[1])
    own = StackedModels.untrained(CONFIG.model, [4, 9], "cpu").flat
    assert any(not torch.equal(a, b) for a, b in zip(own, taken))  # else the test could not fail


def test_alone_and_in_a_fleet_and_after_a_break(tmp_path):
    together = Fleet(CONFIG, [4, 9]).run(progress=False)
    assert torch.equal(Fleet(CONFIG, [9]).run(progress=False).final[0], together.final[1])
    Fleet(CONFIG, [4, 9]).run(progress=False, stop_at=40).save(tmp_path / "half")
    assert torch.equal(
        Fleet.load(tmp_path / "half", CONFIG, [4, 9]).run(progress=False).final, together.final
    )


def test_wrong_settings():
    for wrong in ({"tries": 0}, {"tries": 2, "try_steps": 30}, {"tries": 2, "try_steps": 0}):
        with pytest.raises(ValueError, match="tries|try_steps"):
            dataclasses.replace(SHORT, **wrong)
    with pytest.raises(ValueError, match="start_from"):
        Fleet(dataclasses.replace(CONFIG, start_from="r12-00000000"), [0], start=torch.zeros(1, 12))


def test_settings_of_the_model_are_changed_too():
    name = "r12-step-one-way-two-dimensions"
    config = changed(preset(name), {"model.start": "random", "tries": 16})
    assert (
        config.model == dataclasses.replace(ROTARY_ADDERS[name], start="random")
        and config.recipe.tries == 16
    )
    with pytest.raises(ValueError, match="model.nothing"):
        changed(preset(name), {"model.nothing": 1})
