"""Arithmetic as on another machine: every sum of PyTorch comes out some units in the last place
apart.

Processors add in different orders, so a reduction (sum, mean, product of matrices, softmax, norm,
...) of the same numbers has other last bits elsewhere. `disturb()` moves each of its results by up
to UNITS units in the last place, by a pattern over its places: the same call gives the same bits
again, as on any one machine. Each seed is another pattern, so another machine. Sums of whole
numbers are left alone: they are exact in any order.
"""

import numpy as np
import torch
from torch.utils._python_dispatch import TorchDispatchMode

UNITS = 2
# places after which the pattern repeats: a prime, so that no axis of a tensor fits it
PATTERN = 10_007
KEPT = 256  # factors
REDUCTIONS = {
    "sum",
    "mean",
    "mm",
    "bmm",
    "addmm",
    "baddbmm",
    "mv",
    "dot",
    "_softmax",
    "_log_softmax",
    "logsumexp",
    "var",
    "std",
    "native_layer_norm",
    "norm",
    "linalg_vector_norm",
    "cumsum",
    "prod",
    "nll_loss_forward",
    "var_mean",
    "_scaled_dot_product_flash_attention_for_cpu",
    "convolution",
    "_thnn_fused_gru_cell",
}
_running = []


class _Disturbed(TorchDispatchMode):
    @classmethod
    def _should_skip_dynamo(cls):
        """PyTorch would wrap the method below so that its compiler leaves it alone. Nothing here is
        compiled, and the wrapper costs two seconds in each kernel, and some time at each call."""
        return False

    def __init__(self, seed):
        super().__init__()
        self.units = torch.from_numpy(
            np.random.default_rng(seed).choice([*range(-UNITS, 0), *range(1, UNITS + 1)], PATTERN)
        ).double()
        self.count = 0
        self.factors = {}  # by number of values and their type: many calls have the same few sizes

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        if function.overloadpacket.__name__ not in REDUCTIONS or all(map(_whole, args)):
            return result
        self.count += 1
        if isinstance(result, tuple):
            return tuple(self._moved(each) for each in result)
        return self._moved(result)

    def _moved(self, value):
        if not isinstance(value, torch.Tensor) or not value.is_floating_point():
            return value
        return value * self._factor(value.numel(), value.dtype).view(value.shape)

    def _factor(self, size, dtype):
        """What each of `size` values is multiplied by: (size,)."""
        if (size, dtype) not in self.factors:
            if len(self.factors) >= KEPT:
                self.factors.clear()
            factor = 1 + self.units.to(dtype) * (torch.finfo(dtype).eps / 2)  # (PATTERN,)
            self.factors[size, dtype] = factor.repeat(-(-max(1, size) // PATTERN))[:size]
        return self.factors[size, dtype]


def _whole(argument):
    """Does an argument hold whole numbers only (or no numbers at all)?"""
    if not isinstance(argument, torch.Tensor) or not argument.is_floating_point():
        return True
    values = argument.detach()
    first = values[(0,) * (values.dim() - 1)][:64] if values.numel() and values.dim() else values
    return bool((first == first.round()).all()) and bool((values == values.round()).all())


def disturb(but_for=(), seed=0):
    """From now on, for the whole process, by the pattern of `seed`, unless it turns out to be the
    kernel of a page in `but_for`.

    Those are chapter 11 and its appendix: the circuits that others set by hand decide by leads of a
    few units in the last place of single precision, and their numbers are cut as short as single
    precision allows.
    """
    mode = _Disturbed(seed)
    mode.__enter__()
    _running.append(mode)
    if but_for:
        from lab.page import record

        open_chapter = record.open_chapter

        def open_undisturbed(name):
            if name in but_for:
                _running.pop().__exit__(None, None, None)
            return open_chapter(name)

        record.open_chapter = open_undisturbed
    return mode


def pause():
    """Arithmetic as it is, until `resume`."""
    for mode in reversed(_running):
        mode.__exit__(None, None, None)


def resume():
    for mode in _running:
        mode.__enter__()
