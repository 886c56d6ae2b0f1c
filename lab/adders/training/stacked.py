"""Many models of one configuration as one: their learned numbers as one tensor with a leading axis
of seeds, their gradients, and which sums they get right.
"""

import torch
import torch.nn.functional as F
from torch.func import functional_call

from _common import own_defaults
from lab.adders.formats import DIGITS, FORMATS
from lab.adders.gradients import small_transformer_step
from lab.adders.gradients.position_only import loss_and_gradients, predicted_digits
from lab.adders.models.small_transformer import SmallTransformerConfig

__all__ = "StackedModels right_answers score".split()

SEEDS_AT_ONCE = 8  # on the CPU, so that a step's tensors stay in the cache
SMALL_TRANSFORMERS_AT_ONCE = 1  # theirs are larger


class StackedModels:
    """The learned numbers of S models of one configuration, as one (S, P) tensor with named
    (S, ...) views."""

    @own_defaults()
    def __init__(self, config, flat, device):
        self.config, self.model = config, config.build(0).to(device)
        self.shapes = {name: p.shape for name, p in self.model.named_parameters()}
        self.alone = config.build(0).to(device)  # one model, for what is done seed by seed
        self.bind(flat)

    @classmethod
    def untrained(cls, config, seeds, device):
        flat = [
            torch.cat([p.detach().flatten() for p in config.build(seed).parameters()])
            for seed in seeds
        ]
        return cls(config, torch.stack(flat).to(device), device)

    def bind(self, flat):
        """Make `flat` (S, P) the learned numbers; the model's parameters are views of it."""
        self.flat, start = flat, 0
        for name, p in self.model.named_parameters():
            size = self.shapes[name].numel()
            p.data = flat[:, start : start + size].view(len(flat), *self.shapes[name])
            p.grad = None
            start += size

    def named(self):
        return {name: p.detach() for name, p in self.model.named_parameters()}

    def _groups(self):
        on_cpu = SMALL_TRANSFORMERS_AT_ONCE if self._is_small_transformer() else SEEDS_AT_ONCE
        at_once = on_cpu if self.flat.device.type == "cpu" else len(self.flat)
        return [slice(start, start + at_once) for start in range(0, len(self.flat), at_once)]

    def _is_small_transformer(self):
        return isinstance(self.config, SmallTransformerConfig)

    def rows(self, loss_on="answers"):
        """The rows whose next token is asked for, as a slice of 0..33."""
        first = FORMATS[self.config.format].prompt - 1
        return slice(0 if loss_on == "all" else first, first + self.config.n_targets)

    def gradients(self, sequences, loss_on="answers"):
        """Mean cross-entropy of each seed on its own examples, (S, T + 1, B) int64: (loss (S,),
        gradient (S, P))."""
        if self.config.position_only and loss_on == "answers":
            return self._position_only(sequences)
        if self._is_small_transformer():
            loss, gradient = small_transformer_step.loss_and_gradients(
                self.named(), self.config, sequences, self.rows(loss_on), self._groups()
            )
            return loss, torch.cat([gradient[name].flatten(1) for name in self.shapes], dim=1)
        return self._one_by_one(sequences, self.rows(loss_on))

    def _position_only(self, sequences):
        parts = self.model.position_only_parts()
        loss, grads = loss_and_gradients(parts, sequences, self._groups(), self._activation())
        learned = [(part, g) for part, g in zip(parts, grads) if part.requires_grad]
        gradient = torch.autograd.grad(
            [part for part, _ in learned],
            list(self.model.parameters()),
            [g for _, g in learned],
            allow_unused=True,
        )
        return loss, _flatten(gradient, self.model.parameters())

    def _activation(self):
        return getattr(self.config, "activation", "gelu")

    def _one_by_one(self, sequences, rows):
        losses, gradients = [], []
        for s in range(len(self.flat)):
            weights = {name: value[s].requires_grad_() for name, value in self.named().items()}
            tokens = sequences[s].T
            logits = functional_call(self.alone, weights, (tokens[:, :-1],))[:, rows]
            loss = F.cross_entropy(
                logits.transpose(1, 2), tokens[:, rows.start + 1 : rows.stop + 1]
            )
            gradient = torch.autograd.grad(loss, list(weights.values()), allow_unused=True)
            losses.append(loss.detach())
            gradients.append(
                torch.cat(
                    [
                        torch.zeros_like(w).flatten() if g is None else g.flatten()
                        for g, w in zip(gradient, weights.values())
                    ]
                )
            )
        return torch.stack(losses), torch.stack(gradients)

    @torch.no_grad()
    def digits(self, sequences, batch_size=1024):
        """The digit each seed finds most probable for each target, with the right digits before it.

        sequences: (T + 1, N) int64, the same examples for all seeds -> (S, n_targets, N) int64. A
        whole answer is right here exactly if greedy decoding writes it: the two part only after a
        first wrong digit.
        """
        rows, out = self.rows(), []
        parts = self.model.position_only_parts() if self.config.position_only else None
        for part in sequences.split(batch_size, dim=1):
            if parts is not None:
                everyone = part.expand(len(self.flat), *part.shape)
                out.append(
                    torch.cat(
                        [
                            predicted_digits(parts, everyone[group], group, self._activation())
                            for group in self._groups()
                        ]
                    )
                )
            elif self._is_small_transformer():
                everyone = part.expand(len(self.flat), *part.shape)
                out.append(
                    small_transformer_step.predicted_tokens(
                        self.named(), self.config, everyone, rows, self._groups()
                    )
                )
            else:
                out.append(
                    torch.stack(
                        [
                            functional_call(
                                self.alone,
                                {name: value[s] for name, value in self.named().items()},
                                (part.T[:, :-1],),
                            )[:, rows]
                            .argmax(-1)
                            .T
                            for s in range(len(self.flat))
                        ]
                    )
                )
        return torch.cat(out, dim=2)


def _flatten(gradient, parameters):
    return torch.cat(
        [
            (torch.zeros_like(p) if g is None else g).flatten(1)
            for g, p in zip(gradient, parameters)
        ],
        dim=1,
    )


def right_answers(models, columns):
    """Which whole sums (their 11 digits, <EOS> aside) each seed gets right: (T + 1, N) uint8 ->
    (S, N) booleans."""
    first = FORMATS[models.config.format].prompt
    sequences = columns.long()
    return (models.digits(sequences)[:, : DIGITS + 1] == sequences[first : first + DIGITS + 1]).all(
        1
    )


def score(models, uniform, stratified):
    """Each seed's scores on a uniform and a stratified set of columns (T + 1, N): three lists of S
    shares, exact (all targets right) and tokens (of all targets) on the uniform set, exact on the
    stratified one."""
    first = FORMATS[models.config.format].prompt
    right = [
        models.digits(c.long()) == c.long()[first : first + models.config.n_targets]
        for c in (uniform, stratified)
    ]
    exact, ripple = (r.all(1).cpu().double().mean(1).tolist() for r in right)
    return exact, right[0].cpu().double().mean((1, 2)).tolist(), ripple
