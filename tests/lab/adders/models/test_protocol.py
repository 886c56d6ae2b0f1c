"""Every family keeps to the protocol that lab/adders/models/__init__.py writes down."""

import pytest
import torch

from lab.adders.formats import FORMATS
from lab.adders.models import Adder, ModelConfig, PositionOnlyConfig
from lab.adders.training.sweeps import PRESETS, preset


@pytest.mark.parametrize("name", PRESETS)
def test_a_family_keeps_to_the_protocol(name):
    config = preset(name).model
    assert isinstance(config, ModelConfig) and config.n_targets in (11, 12)
    model, again = config.build(3), config.build(3)
    assert isinstance(model, Adder) and model.config == config
    a, b = torch.tensor([42, 9_999_999_999]), torch.tensor([7, 1])
    sequences = FORMATS[config.format].sequences(a, b)[:, :-1]
    assert sequences.shape[1] <= model.max_seq_len
    logits = model(sequences)
    assert logits.shape[:2] == sequences.shape and logits.shape[2] >= 10
    assert all(torch.equal(p, q) for p, q in zip(model.parameters(), again.parameters()))
    if isinstance(config, PositionOnlyConfig) and config.position_only:
        assert hasattr(model, "position_only_parts")


def test_what_lacks_a_part_is_no_model():
    assert not isinstance(object(), ModelConfig)
