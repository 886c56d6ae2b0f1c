"""The families of ten-digit adders, trained and set by hand, and what a model has to provide.

A family is a configuration, a frozen dataclass of settings whose defaults never change (stored runs
are found by what differs from them), and a module. `ModelConfig` and `Adder` below say what the
rest of the book asks of the two; `position_only` models give more, and train faster for it.
"""

from typing import Protocol, runtime_checkable

import torch

__all__ = "ModelConfig Adder PositionOnlyConfig".split()


@runtime_checkable
class ModelConfig(Protocol):
    """What fleets, sweeps, verification and export ask of a configuration."""

    label: str  # a short name, the first part of a stored sweep's
    format: str  # the sequences it reads: a name in lab.adders.formats.FORMATS
    n_targets: int  # how many rows are trained, from the one that predicts Z0 on: 11, or 12

    def build(self, seed: int) -> "Adder":
        """An untrained model; the same seed gives the same numbers on every machine."""


@runtime_checkable
class PositionOnlyConfig(ModelConfig, Protocol):
    """More of a configuration: can lab.adders.gradients.position_only train it? Then its models
    have `position_only_parts()`, their numbers as a PositionOnlyParts with an axis of seeds."""

    position_only: bool


@runtime_checkable
class Adder(Protocol):
    """What is asked of a module, beside being an nn.Module whose parameters are its learned numbers
    and whose buffers are those that nobody counts."""

    config: ModelConfig
    max_seq_len: int  # tokens it can read

    def __call__(self, tokens: torch.Tensor) -> torch.Tensor:
        """(B, T) int64 token ids -> (B, T, V) logits. Raises ValueError for tokens that it does
        not know, or too many."""
