"""Fleets: many seeds of one configuration trained together, each as if it were alone.

Every learned tensor, moment and random stream has a leading axis of seeds: one operation does a
step's work for all of them. A seed fixes its initial weights and its stream of examples. The same
call on the same machine with the same threads gives the same bits. On the CPU seed s of a fleet is
the seed s trained alone but for rounding, since more seeds at once may be added up in another
order: over the 60 to 120 steps of the tests losses agree to 1e-4 and the median weight to 1e-5,
with the same digits right. Over tens of thousands of steps rounding can grow; what became of each
seed is what is stored. A seed whose loss is no longer finite is recorded and leaves the fleet; so
does one whose evaluations have been perfect for long enough. Sweeps over many seeds and their
storage: lab/adders/training/sweeps.py.
"""

import json
import math
import time
from dataclasses import asdict, replace
from pathlib import Path

import pandas as pd
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from tqdm.auto import tqdm

from _checks import check_gradients, whole_number
from _common import own_defaults, seeded_generator
from lab.adders.formats import DIGITS, FORMATS
from lab.adders.ten_digits import (
    LCM,
    TEST_SEEDS,
    VALIDATION_SEEDS,
    board_pairs,
    mixed_pairs,
    stratified_pairs,
    uniform_pairs,
    with_nines,
)
from lab.adders.training.recipes import DATA_SEED_OFFSET, tensor_sizes
from lab.adders.training.stacked import StackedModels, right_answers, score
from lab.checks import seed_numbers

CHUNK = 50  # steps whose examples are drawn together


class Examples:
    """The stream of training examples of one seed: `draw(step, n)` gives the next n steps, (n, T +
    1, B) uint8."""

    def __init__(self, config, seed, device):
        self.recipe, self.format = config.recipe, FORMATS[config.model.format]
        self.generator = torch.Generator(device=device)
        offset = DATA_SEED_OFFSET * (
            1 if config.start_from is None else 2
        )  # a second pass sees other examples
        self.generator.manual_seed(
            offset + (seed if config.data_seed is None else config.data_seed)
        )

    @own_defaults()
    def draw(self, step, n):
        recipe, device = self.recipe, self.generator.device

        def per_example(values):
            return torch.tensor(values).repeat_interleave(recipe.batch_size)

        steps = range(step, step + n)
        digits = per_example([recipe.digits_at(s) for s in steps]).to(device)
        if recipe.digit_counts == "shared":
            digits = (
                1
                + torch.randint(0, LCM, digits.shape, generator=self.generator, device=device)
                % digits
            )
        share = per_example([recipe.carry_share_at(s) for s in steps])
        a, b = mixed_pairs(n * recipe.batch_size, self.generator, digits, share)
        if recipe.nines_share:
            a, b = with_nines(a, b, self.generator, digits, recipe.nines_share, recipe.nines_chance)
        return self.format.columns(a, b).view(-1, n, recipe.batch_size).transpose(0, 1)


@own_defaults()
def chosen_starts(config, seeds, device="cpu"):
    """The random starts that seeds take where their recipe says `tries`: (seeds, P).

    Each of a seed's starts (its own first) is trained for `try_steps` on the seed's examples, by
    the same recipe. The one whose training loss was lowest, over the last `evaluate_every` of these
    steps, is taken as it was at first.
    """
    chosen = []
    for seed in seeds:
        starts = StackedModels.untrained(
            config.model, [seed + i * DATA_SEED_OFFSET for i in range(config.recipe.tries)], device
        )
        trial = replace(
            config,
            recipe=replace(config.recipe, tries=1),
            data_seed=seed if config.data_seed is None else config.data_seed,
        )
        fleet = Fleet(trial, range(config.recipe.tries), device)
        fleet.models.bind(starts.flat.clone())
        fleet.run(progress=False, stop_at=config.recipe.try_steps)
        last = [
            row for row in fleet.history if row["step"] == fleet.step
        ]  # those that diverged are not in it
        chosen.append(starts.flat[min(last, key=lambda row: row["loss"])["seed"] if last else 0])
    return torch.stack(chosen)


class Fleet:
    """Seeds of one configuration in training. `run()` trains to the end; see `save` and `load` for
    interruptions."""

    @own_defaults()
    def __init__(self, config, seeds, device="cpu", start=None):
        """`start`: the weights that seeds with `config.start_from` or several tries start from,
        (seeds, P)."""
        self.config, self.recipe, self.device = config, config.recipe, torch.device(device)
        self.seeds = seed_numbers(seeds, DATA_SEED_OFFSET - 1)
        check_gradients()
        started, tries = time.perf_counter(), config.recipe.tries > 1
        if tries and config.start_from is not None:
            raise ValueError(f"tries are random starts, but start_from is {config.start_from!r}")
        if start is None and tries:
            start = chosen_starts(config, self.seeds, self.device)
        if (start is None) != (config.start_from is None and not tries):
            raise ValueError(
                f"start_from is {config.start_from!r}, but the weights to start from are "
                f"{'missing' if start is None else 'given'}"
            )
        self.models = (
            StackedModels.untrained(config.model, config.weights_seeds(self.seeds), self.device)
            if start is None
            else StackedModels(config.model, start.detach().clone().to(self.device), self.device)
        )
        self.moment, self.square = (
            torch.zeros_like(self.models.flat),
            torch.zeros_like(self.models.flat),
        )
        self.examples = [Examples(config, seed, self.device) for seed in self.seeds]
        self.active = list(
            range(len(self.seeds))
        )  # rows of the tensors above -> index in self.seeds
        self.step, self.seconds = 0, time.perf_counter() - started if tries else 0.0
        self.decay = torch.full((len(self.seeds), 1), self.recipe.weight_decay, device=self.device)
        self.perfect_since = {}  # seed -> step of the first evaluation of a perfect row
        self.ended = {}  # seed -> how, at which step
        self.final = torch.zeros_like(self.models.flat)  # the weights of seeds that have ended
        self.history = []  # one dictionary per seed and evaluation
        self.loss_sum = torch.zeros(
            len(self.seeds), dtype=torch.float64
        )  # on the CPU: MPS has no float64
        factors = dict(self.recipe.lr_factors)
        if self.recipe.lr_relative_to:
            if not hasattr(config.model, "exact"):
                raise ValueError(
                    "lr_relative_to needs a model with an exact circuit to start near, and"
                    f" {config.model.label} has none"
                )
            factors = tensor_sizes(config.model.exact(), self.recipe.lr_relative_to)
        if not set(factors) <= set(self.models.shapes):
            raise ValueError(
                f"lr_factors names {sorted(set(factors) - set(self.models.shapes))}: "
                f"the tensors are {', '.join(self.models.shapes)}"
            )
        self.lr_factor = (
            torch.cat(
                [
                    torch.full((shape.numel(),), float(factors.get(name, 1)), device=self.device)
                    for name, shape in self.models.shapes.items()
                ]
            )
            if factors
            else None
        )
        self.validation = _validation(FORMATS[config.model.format], self.device)

    # -- training

    @own_defaults()
    def run(self, checkpoint=None, progress=True, stop_at=None):
        """Train every seed to its end; returns self. `checkpoint`: a path, written after each
        evaluation. `stop_at`: leave off after this step (a later `run` goes on)."""
        stop_at = self.recipe.steps if stop_at is None else whole_number("stop_at", stop_at, 0)
        check_gradients()
        bar = tqdm(
            total=self.recipe.steps,
            initial=self.step,
            unit="step",
            disable=not progress,
            leave=False,
            desc=f"{self.config.model.label}, seeds {self.seeds[0]}-{self.seeds[-1]}",
        )
        flush = self.device.type == "cpu" and torch.set_flush_denormal(
            True
        )  # denormal numbers cost a hundredfold
        try:
            while self.active and self.step < stop_at:
                started, before = time.perf_counter(), self.step
                self._train_to(self.step + self.recipe.evaluate_every)
                self._evaluate()
                self.seconds += time.perf_counter() - started
                if checkpoint is not None:
                    self.save(checkpoint)
                bar.update(self.step - before)
                bar.set_postfix(self.summary())
        finally:
            bar.close()
            if flush:
                torch.set_flush_denormal(False)
        return self

    def summary(self):
        """How the fleet stands: seeds that are perfect on the validation stream, in training,
        diverged."""
        ended = [how for how, _ in self.ended.values()]
        return {
            "perfect": len(self.perfect_since),
            "training": len(self.active),
            "diverged": ended.count("diverged"),
        }

    def _train_to(self, end):
        while self.step < end and self.active:
            n = min(CHUNK, end - self.step)
            chunk = torch.stack(
                [self.examples[i].draw(self.step, n) for i in self.active]
            )  # (S, n, T + 1, B)
            losses = torch.empty(n, len(self.active), device=self.device)
            for i in range(n):
                losses[i] = self._train_step(chunk[:, i].long())
            self.loss_sum += losses.cpu().double().sum(0)
            sound = (losses.isfinite().all(0) & self.models.flat.isfinite().all(1)).cpu()
            if not sound.all():  # looked at once a chunk: a look waits for a GPU
                for row in (~sound).nonzero()[:, 0].tolist():
                    bad = (~losses[:, row].isfinite()).nonzero()
                    at = self.step - n + (int(bad[0]) + 1 if len(bad) else n)
                    self._end(row, "diverged", at)
                self._keep(sound)

    def _train_step(self, sequences):
        recipe, flat = self.recipe, self.models.flat
        loss, g = self.models.gradients(sequences, recipe.loss_on)
        lr = recipe.lr_at(self.step)
        self.step += 1
        if recipe.clip is not None:
            g.mul_((recipe.clip / (g.square().sum(1, keepdim=True).sqrt_() + 1e-6)).clamp_(max=1.0))
        flat.mul_(
            1 - self.decay * lr * self.lr_factor
            if self.lr_factor is not None
            else 1 - self.decay * lr
        )
        self.moment.lerp_(g, 0.1)
        self.square.mul_(0.999).addcmul_(g, g, value=0.001)
        spread = self.square.sqrt().div_(math.sqrt(1 - 0.999**self.step)).add_(1e-8)
        size = lr / (1 - 0.9**self.step)
        flat.addcdiv_(
            self.moment if self.lr_factor is None else self.moment * self.lr_factor,
            spread,
            value=-size,
        )
        return loss

    def _evaluate(self):
        if not self.active:
            return
        scores = score(self.models, *self.validation)
        loss = (self.loss_sum / self.recipe.evaluate_every).tolist()
        self.loss_sum.zero_()
        going_on = torch.ones(len(self.active), dtype=torch.bool)
        for row, i in enumerate(self.active):
            seed, exact, tokens, ripple = self.seeds[i], *(values[row] for values in scores)
            self.history.append(
                {
                    "seed": seed,
                    "step": self.step,
                    "loss": loss[row],
                    "exact": exact,
                    "tokens": tokens,
                    "ripple_exact": ripple,
                }
            )
            if min(exact, ripple) < 1:
                self.perfect_since.pop(seed, None)
            since = (
                self.perfect_since.setdefault(seed, self.step) if min(exact, ripple) == 1 else None
            )
            if self.recipe.adaptive_decay:
                factor = 1.0 if exact < 0.02 or tokens < 0.7 else 0.1 if exact < 0.2 else 0.01
                self.decay[row] = self.recipe.weight_decay * factor
            patience = self.recipe.stop_after_perfect
            if self.step >= self.recipe.steps:
                self._end(row, "finished", self.step)
                going_on[row] = False
            elif since is not None and patience is not None and self.step - since >= patience:
                self._end(row, "perfect", self.step)
                going_on[row] = False
        self._keep(going_on)

    def _end(self, row, how, step):
        self.ended[self.seeds[self.active[row]]] = [how, step]
        self.final[self.active[row]] = self.models.flat[row]

    def _keep(self, rows):
        if rows.all():
            return
        self.active = [i for i, kept in zip(self.active, rows.tolist()) if kept]
        self.loss_sum, rows = self.loss_sum[rows], rows.to(self.device)
        self.models.bind(self.models.flat[rows].contiguous())
        self.moment, self.square, self.decay = (
            x[rows].contiguous() for x in (self.moment, self.square, self.decay)
        )

    # -- results

    def weights(self):
        """Every seed's final weights: {tensor name: (seeds, ...)}, on the CPU. Raises ValueError
        before the end."""
        if self.active:
            raise ValueError(f"{len(self.active)} seeds are still in training at step {self.step}")
        return {
            name: value.cpu().contiguous()
            for name, value in (
                StackedModels(self.config.model, self.final, self.device).named().items()
            )
        }

    @own_defaults()
    def outcomes(self):
        """One row per seed: how and when it ended, and its scores on the test sets, taken once, at
        its final step."""
        if self.active:
            raise ValueError(f"{len(self.active)} seeds are still in training at step {self.step}")
        models = StackedModels(self.config.model, self.final, self.device)
        format = FORMATS[self.config.model.format]
        a, b = board_pairs()
        board = right_answers(models, format.columns(a, b).to(self.device)).sum(1).tolist()
        a, b, ripple = stratified_pairs(1000, TEST_SEEDS["ripple"])
        wrong = ~right_answers(models, format.columns(a, b).to(self.device)).cpu()  # (S, 20,000)
        table = pd.DataFrame(
            {
                "seed": self.seeds,
                "ended": [self.ended[s][0] for s in self.seeds],
                "steps": [self.ended[s][1] for s in self.seeds],
                "board_right": board,
                "ripple_wrong": wrong.sum(1).tolist(),
            }
        )
        for length in range(DIGITS):
            table[f"wrong_{length}"] = wrong[:, ripple == length].sum(1).tolist()
        return table

    # -- interruption

    def save(self, path):
        """Write the whole state to one file, atomically: a fleet loaded from it goes on to the same
        bits."""
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        state = {
            "flat": self.models.flat,
            "moment": self.moment,
            "square": self.square,
            "decay": self.decay,
            "loss_sum": self.loss_sum,
            "final": self.final,
            **{f"generator.{i}": self.examples[i].generator.get_state() for i in self.active},
        }
        about = {
            "seeds": self.seeds,
            "active": self.active,
            "step": self.step,
            "seconds": self.seconds,
            "perfect_since": self.perfect_since,
            "ended": self.ended,
            "history": self.history,
            "config": asdict(self.config),
        }
        part = path.with_name(path.name + ".part")
        save_file(
            {name: value.cpu().contiguous() for name, value in state.items()},
            part,
            {"about": json.dumps(about)},
        )
        part.replace(path)

    @classmethod
    def load(cls, path, config, seeds, device="cpu"):
        """The fleet that `save` wrote. Raises ValueError where it is of another configuration or
        other seeds."""
        with safe_open(path, framework="pt") as file:
            about = json.loads(file.metadata()["about"])
            state = {name: file.get_tensor(name) for name in file.keys()}
        random = config.start_from is None and config.recipe.tries == 1
        fleet = cls(config, seeds, device, None if random else state["final"])
        if (
            about["config"] != json.loads(json.dumps(asdict(config)))
            or about["seeds"] != fleet.seeds
        ):
            raise ValueError(
                f"{path} is of another configuration or other seeds ({about['seeds']})"
            )
        fleet.models.bind(state["flat"].to(fleet.device))
        fleet.moment, fleet.square, fleet.decay, fleet.final = (
            state[name].to(fleet.device) for name in ("moment", "square", "decay", "final")
        )
        fleet.loss_sum = state["loss_sum"]
        fleet.active, fleet.step, fleet.seconds, fleet.history = (
            about[name] for name in ("active", "step", "seconds", "history")
        )
        fleet.perfect_since, fleet.ended = (
            {int(seed): value for seed, value in about[name].items()}
            for name in ("perfect_since", "ended")
        )
        for i in fleet.active:
            fleet.examples[i].generator.set_state(state[f"generator.{i}"])
        return fleet


@own_defaults()
def _validation(format, device, n_uniform=3_000, per_ripple=100):
    """The validation stream, the same for all fleets: columns of uniform pairs and of stratified
    ones."""
    a, b = uniform_pairs(n_uniform, seeded_generator(VALIDATION_SEEDS["uniform"]))
    c, d, _ = stratified_pairs(per_ripple, VALIDATION_SEEDS["ripple"])
    return format.columns(a, b).to(device), format.columns(c, d).to(device)
