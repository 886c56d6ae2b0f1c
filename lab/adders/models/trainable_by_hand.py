"""Weights set by hand for the two families that training finds: rotary adders (31 to 18 numbers),
micro-adders (67 to 54).

The circuit is that of lab.adders.models.by_hand, in the pieces these models have. (1) Digits stand
on a short arc (stride delta), which is nearly straight: along it a digit, across it (the radius) a
constant. (2) Attention adds W s_i + s_{i-1} + Z_{i-1}, W = 10, into a dimension of its own. (3) The
arc's own coordinate of the row's token is -2 Z_{i-1} of that, so that reading both gives h = 10
(s_i + c_i) - c_{i-1}; two GELU hinges between 94 and 99 take off one step. (4) The head turns what
is left into a direction, and the nearest of ten directions is the digit. Where the way out of the
FFN is the head's matrix, the arc's middle is put at 45 degrees and the head's radial row made
small: then the difference of the hinges is written where it is wanted, and their sum nearly
nowhere.

What was found by reasoning: all of it but the attention of the micro-adders, 16 numbers from a
small least-squares problem (`solve_positions`). No training, no sums. The first column of the
rotary adders has one token fewer to look at (there is none 22 back): everything it receives is
23/22 of what other columns get, and what is left of the borders between the digits is 4 % of a
digit instead of half of one.
"""

import math
from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy.optimize import minimize

from _checks import not_negative, word
from _common import own_defaults, seeded_generator
from lab.adders.models.by_hand import CHOICES, CircuitConfig
from lab.adders.models.micro_adder import MICRO_ADDERS, MicroAdderConfig
from lab.adders.models.rotary_adder import ROTARY_ADDERS, RotaryAdderConfig
from lab.checks import check_settings

__all__ = "by_hand near NearHandSet HAND_SET_CONFIGS solve_positions".split()

HAND_SET_CONFIGS = {  # the number is the count by the board's rule
    **{
        name: ROTARY_ADDERS[name]
        for name in (
            "r25",
            "r24-frozen-amplitude",
            "r22-fixed-norm",
            "r22-fixed-write",
            "r19-fixed-write-fixed-norm",
        )
    },
    "r31": RotaryAdderConfig(ffn_out="own"),
    "r18-fixed-write-fixed-norm-frozen-amplitude": RotaryAdderConfig(
        write="scratch", norm="ones", amplitude="frozen"
    ),
    **{name: MICRO_ADDERS[name] for name in ("67", "57", "54")},
    "64": replace(MICRO_ADDERS["54"], ffn_out="own"),
    **{
        config.label: config
        for config in (
            CircuitConfig(counted, hinge, sharp)
            for counted in CHOICES["counted"]
            for hinge in CHOICES["hinge"]
            for sharp in (False, True)
        )
    },
}
# W_q (4 x 3), theta, and the position of `=` (3), for positions of mean size 1 / sqrt(D) per
# coordinate: see solve_positions.
POSITIONS = (
    -0.367317275,
    -15.47008198,
    1.874988915,
    -14.98961655,
    1.03562475,
    -1.046670755,
    -12.292316605,
    -5.43603532,
    0.075386575,
    -4.982891860,
    11.43667273,
    2.63680516,
    -0.31594845,
    2.90851099,
    -1.98022389,
    -1.73212082,
)


@dataclass(frozen=True)
class _Design:
    """The free choices: stride of the arc, its radius, scale of the written sum to it, norm weight
    of the written dimension, steepness of the hinges per unit of h, borders of the digits
    (first, spacing), place of the hinges, and a factor on all norm weights, which sizes the
    logits."""

    delta: float
    radius: float
    scale: float
    w_scratch: float
    steep: float
    border: float
    spacing: float
    threshold: float
    w: float = 1.0


def _rotary_design(c):
    border, spacing = 9 / 22, 10 * 23 / 22  # the best straight borders: see the test
    # logits grow with its square; 2.5: they are right, and far too small
    radius = 2.5 if c.amplitude == "frozen" else 4e5
    if c.ffn_out == "own":
        return _Design(
            0.01, radius, 1.5e-4, 1.0 if c.norm == "ones" else 100.0, 2.0, border, spacing, 96.5
        )
    w = 1.0 if c.norm == "ones" else 1e4
    return _Design(0.01, radius, math.sqrt(1e-10 / w), w, 2.0, border, spacing, 96.5)


def _micro_design(c):
    if c.ffn_out == "own":
        return _Design(0.03, 2000.0, 5e-4, 1.0, 1.0, 4.5, 10.0, 94.5)
    return _Design(0.03, 20000.0, 5e-5, 1.0, 1.0, 4.5, 10.0, 94.5, 0.1)


def by_hand(name):
    """The hand-set model of a name in HAND_SET_CONFIGS, in evaluation mode. Raises ValueError for
    others."""
    if name not in HAND_SET_CONFIGS:
        raise ValueError(
            f"no weights set by hand for {name!r}: there are some for {', '.join(HAND_SET_CONFIGS)}"
        )
    config = HAND_SET_CONFIGS[name]
    return (config.build() if isinstance(config, CircuitConfig) else _set(config)).eval()


@own_defaults()
def _set(config):
    rotary = isinstance(config, RotaryAdderConfig)
    design = _rotary_design(config) if rotary else _micro_design(config)
    W, D, scratch = 10.0, config.d_model, config.d_model - 1
    weights = _layer(config, design, D, scratch)
    read, write = weights.pop("value"), weights.pop("write")  # (2,), (D,)
    if rotary:
        omega, phi = 2 * math.pi / 11, 10.3
        gain = math.log(W) / (math.cos((phi - 10) * omega) - math.cos((11 - phi) * omega))
        if config.write == "scratch":  # its size moves into the value
            read, write = read * write[scratch], None
        weights |= {
            "A": [design.radius],
            "S": [gain],
            "phi": [phi],
            "value": read,
            "write": write,
            "arc": [math.pi / 4 - 4.5 * design.delta, design.delta],
        }
    else:
        numbers = torch.tensor(POSITIONS, dtype=torch.float64)
        weights |= {
            "arc": [design.radius, math.pi / 4 - 4.5 * design.delta, design.delta],
            "W_q": numbers[:12].view(4, 3) * design.radius / math.sqrt(D) / design.w,
            "theta": numbers[12:13],
            "equals": numbers[13:],
            "z_hi": torch.zeros(3),
            "B_o": write[None],
            "A_o": torch.linalg.pinv(weights["H"]) @ read[:, None],
        }
    model = config.build(0)
    wanted = dict(model.named_parameters())
    weights = {
        key: torch.as_tensor(value, dtype=torch.float64).view(wanted[key].shape)
        for key, value in weights.items()
        if key in wanted
    }
    model.load_state_dict(weights)
    return model


def _layer(config, design, D, scratch):
    """All but where attention looks: value (2,), write (D,), W_1, H and W_2 (2, D), w (D,), in
    float64.

    Below, P and Q are unit vectors across and along the arc; a row of weights that reads x directly
    becomes one that reads the normalised x = sqrt(D) / radius * w * x by division.
    """
    d, A, W = design.delta, design.radius, 10.0
    P, Q = torch.zeros(2, D, dtype=torch.float64)
    P[:2], Q[:2] = math.sqrt(0.5), torch.tensor([-math.sqrt(0.5), math.sqrt(0.5)])
    w = torch.ones(D, dtype=torch.float64)
    w[scratch] = design.w_scratch
    w *= design.w
    size, b = math.sqrt(D) / A, design.scale * A  # b: one unit of h, in the scratch dimension
    unit = torch.eye(D, dtype=torch.float64)[scratch]
    digits = torch.arange(10, dtype=torch.float64) - 4.5
    along = A * float(
        (digits * (d * digits).sin()).sum() / digits.square().sum()
    )  # the arc per digit, on average
    across = A * float((d * digits).cos().mean())  # its radius, on average
    borders = torch.arange(9, dtype=torch.float64) - 4
    turn = float(
        (borders * (d * borders).tan()).sum() / borders.square().sum()
    )  # the tangent per digit
    constant = P / across
    h = unit / b - 2 * (Q / along + 4.5 * constant)  # reads h = sum + -2 Z
    gates = [
        design.steep * (h - at * constant) / w / size
        for at in (design.threshold - 0.5, design.threshold + 0.5)
    ]
    step = 10 * design.spacing  # taken off by both hinges together
    if config.ffn_out == "head":
        # what the head's row along the arc has in the scratch
        head = math.sqrt(2) * step * b / design.steep
    else:
        head = 0.05 if D == 3 else 20.0  # free: it sizes the logits
    middle = design.border + 4 * design.spacing  # the y in the middle between the digits 4 and 5
    row_along = head * w[scratch] * b * (h - middle * constant) / w
    row_across = head * w[scratch] * b * design.spacing / turn * constant / w
    out = step * b / design.steep * unit
    return {
        "value": (Q / along + 4.5 * constant)[:2] * along / design.w,
        "write": (2 * W + 3) * b / (size * along) * unit,
        "W_1": torch.stack(gates),
        "H": P[:2, None] * row_across + Q[:2, None] * row_along,
        "W_2": torch.stack([-out, out]),
        "w": w,
    }


# --------------------------------------------------------------------------------------------------
# Attention of the micro-adders
# --------------------------------------------------------------------------------------------------


@own_defaults()
def wanted_attention(W=10.0):
    """What the rows of `=`, Z0..Z9 are to look at: (11, 32), rows summing to 1, + and `=` together
    in column 10.

    W on X_i and Y_i, 1 on X_{i-1}, Y_{i-1} and Z_{i-1}; what the first and the last row lack of
    that goes to + and `=`, tokens worth nothing, so that every row is divided by the same 2 W + 3.
    """
    wanted = torch.zeros(11, 32, dtype=torch.float64)
    for i in range(11):
        if i < 10:
            wanted[i, [i, 11 + i]] = W
        if i:
            wanted[i, [i - 1, 10 + i, 21 + i]] = 1
        wanted[i, 10] = 2 * W + 3 - wanted[i].sum()
    return wanted / (2 * W + 3)


@own_defaults()
def solve_positions(start, iterations=1500, W=10.0):
    """The 16 numbers (W_q, theta, the position of `=`) whose pattern is nearest to
    `wanted_attention`: ((16,), divergence).

    Minimises the Kullback-Leibler divergence, summed over the eleven rows, by L-BFGS from `start`
    (16 numbers).
    """
    config = MicroAdderConfig()
    model = config.build(0).double()
    slots, wanted = model.slot_positions().detach(), wanted_attention(W)
    future = torch.ones(32, 32, dtype=torch.bool).triu(1)[21:]
    entropy = torch.special.entr(wanted).sum()

    def divergence(numbers):
        W_q, theta, equals = numbers[:12].view(4, 3), numbers[12], numbers[13:]
        p = torch.cat(
            [slots, torch.zeros(1, 3, dtype=slots.dtype), slots, equals[None], slots]
        )  # (32, 3)
        k = p @ W_q.T
        c, s = theta.cos(), theta.sin()
        q = torch.stack(
            [
                k[:, 0] * c - k[:, 1] * s,
                k[:, 0] * s + k[:, 1] * c,
                k[:, 2] * c - k[:, 3] * s,
                k[:, 2] * s + k[:, 3] * c,
            ],
            dim=1,
        )
        pattern = (q @ k.T / 2)[21:].masked_fill(future, -math.inf).softmax(-1)  # (11, 32)
        marks = torch.nn.functional.one_hot(torch.tensor(10), 32) * pattern[:, 21:22]
        both = torch.where(torch.arange(32) == 21, 0.0, pattern) + marks
        return -torch.special.xlogy(wanted, both + 1e-300).sum() - entropy

    def value_and_gradient(x):
        numbers = torch.tensor(x, dtype=torch.float64, requires_grad=True)
        value = divergence(numbers)
        return value.item(), torch.autograd.grad(value, numbers)[0].numpy()

    found = minimize(
        value_and_gradient,
        np.asarray(start, dtype=float),
        jac=True,
        method="L-BFGS-B",
        options={"maxiter": iterations, "maxfun": 2 * iterations, "maxcor": 30},
    )
    return found.x, float(found.fun)


# --------------------------------------------------------------------------------------------------
# From set by hand to trained
# --------------------------------------------------------------------------------------------------


@own_defaults()
def near(model, noise, seed):
    """A copy of a model whose every learned number is multiplied by 1 + noise * N(0, 1). Zeros stay
    zero."""
    noise = not_negative("noise", noise)
    copy = model.config.build(0)
    copy.load_state_dict(model.state_dict())
    generator = seeded_generator(seed)
    with torch.no_grad():
        for p in copy.parameters():
            p.mul_(
                1
                + noise * torch.randn(p.shape, generator=generator, dtype=torch.float64).to(p.dtype)
            )
    return copy


@dataclass(frozen=True)
class NearHandSet:
    """A configuration for fleets and sweeps: `build(seed)` is the hand-set model with noise drawn
    from the seed."""

    name: str = "r25"
    noise: float = 0.01

    def __post_init__(self):
        check_settings(self, name=word(*HAND_SET_CONFIGS), noise=not_negative)

    def build(self, seed=0):
        return near(by_hand(self.name), self.noise, seed)

    def exact(self):
        """The hand-set model itself, without noise."""
        return by_hand(self.name)

    @property
    def label(self):
        return f"near-{self.name}"

    @property
    def _config(self):
        return HAND_SET_CONFIGS[self.name]

    @property
    def format(self):
        return self._config.format

    @property
    def n_targets(self):
        return self._config.n_targets

    @property
    def position_only(self):
        return self._config.position_only

    @property
    def d_model(self):
        return self._config.d_model
