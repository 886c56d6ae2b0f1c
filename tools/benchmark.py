"""What a training step costs: `python -m tools.benchmark [--model 57] [--seeds 16]`, or `--model
modular`.

A fleet, a fleet of one seed, and plain training of one seed: all by the full recipe from its middle
on (examples, loss, gradient, clipping, AdamW), in the same number of processes of one thread each,
in turns. A seed-step is one step of one seed; its cost is wall-clock time divided by all seed-steps
of all processes, or their CPU time: the former depends on what else the machine does.

Modular addition: the reference run's full-batch step (loss, gradient, AdamW) in one process of
--threads threads, three ways in turns: plainly over all three tokens; without the two rows that
nobody reads; and the short way of lab/modular/model.py. On a machine that is busy with other things
set OMP_WAIT_POLICY=passive, or threads that wait for each other burn what they wait for.
"""

import argparse
import math
import statistics
import time

import joblib
import torch
import torch.nn.functional as F

from lab.adders.formats import FORMATS
from lab.adders.training.fleets import CHUNK, Examples, Fleet
from lab.adders.training.sweeps import preset
from lab.modular.model import (
    ModularConfig,
    all_pairs,
    loss_in_float64,
    make_optimizer,
    modular_split,
    new_model,
)
from lab.store import device_name


def fleet_steps(config, seeds, steps):
    """Seconds for `steps` steps of a fleet from the middle of its recipe: by the clock, of CPU."""
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    fleet = Fleet(config, seeds)
    fleet.step = config.recipe.steps // 2
    fleet._train_to(fleet.step + CHUNK)  # warm
    started, cpu = time.perf_counter(), time.process_time()
    fleet._train_to(fleet.step + steps)
    return time.perf_counter() - started, time.process_time() - cpu


def plain_steps(config, seed, steps):
    """The same of one seed: the module's own forward on all rows, autograd, torch's clipping and
    AdamW."""
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    recipe, model, step = config.recipe, config.model.build(seed), config.recipe.steps // 2
    examples = Examples(config, seed, torch.device("cpu"))
    optimizer = torch.optim.AdamW(model.parameters(), weight_decay=recipe.weight_decay)
    first = FORMATS[config.model.format].prompt - 1
    rows = slice(first, first + config.model.n_targets)

    def train(n):
        for i in range(n):
            tokens = examples.draw(step + i, 1)[0].T.long()
            for group in optimizer.param_groups:
                group["lr"] = recipe.lr_at(step + i)
            loss = F.cross_entropy(
                model(tokens[:, :-1])[:, rows].transpose(1, 2), tokens[:, 1:][:, rows]
            )
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), recipe.clip)
            optimizer.step()

    train(5)
    started, cpu = time.perf_counter(), time.process_time()
    train(steps)
    return time.perf_counter() - started, time.process_time() - cpu


WAYS = ("fleet", "fleet of one", "plain")


def measure(model, seeds, steps, jobs, repeats):
    """Milliseconds per seed-step by the clock and of CPU, one pair per repeat: {way: list}. The
    ways take turns."""
    config, measured = preset(model), {way: [] for way in WAYS}
    with joblib.Parallel(n_jobs=jobs) as parallel:
        for _ in range(repeats):
            for way in WAYS:
                size, n = (
                    (seeds if way == "fleet" else 1),
                    (max(10, steps // 5) if way == "plain" else steps),
                )
                calls = (
                    (
                        (plain_steps, j)
                        if way == "plain"
                        else (fleet_steps, range(size * j, size * (j + 1)))
                    )
                    for j in range(jobs)
                )
                clock, cpu = zip(
                    *parallel(joblib.delayed(work)(config, which, n) for work, which in calls)
                )
                measured[way].append(
                    (1e3 * max(clock) / (n * size * jobs), 1e3 * sum(cpu) / (n * size * jobs))
                )
    return measured


def report_fleets(model, seeds, steps, jobs, repeats):
    """Measure a fleet's step and print it."""
    measured = measure(model, seeds, steps, jobs, repeats)
    print(
        f"{device_name(torch.device('cpu'))}, {jobs} processes of one thread, torch"
        f" {torch.__version__}; per seed-step, medians of {repeats} rounds (by the clock: lowest to"
        " highest)"
    )
    for way, values in measured.items():
        clock, cpu = zip(*values)
        ratios = [
            statistics.median(plain[i] / own[i] for plain, own in zip(measured["plain"], values))
            for i in range(2)
        ]
        against = (
            ""
            if way == "plain"
            else f"; plain is {ratios[0]:.1f} times that by the clock, {ratios[1]:.1f} times of CPU"
        )
        print(
            f"{f'fleet of {seeds}' if way == 'fleet' else way:14s} {statistics.median(clock):7.3f}"
            f" ms ({min(clock):.3f} to {max(clock):.3f}), {statistics.median(cpu):.3f} ms of"
            f" CPU{against}"
        )


def last_row_logits(model, tokens):
    """The plain forward of a ModularTransformer without the rows of a and b: (N, 3) -> (N, p)."""
    x = model.embed(tokens)  # (N, 3, D)
    last = x[:, -1]  # (N, D)
    q = torch.einsum("nd,hde->nhe", last, model.W_Q)
    k, v = (torch.einsum("ntd,hde->nhte", x, W) for W in (model.W_K, model.W_V))
    pattern = (torch.einsum("nhe,nhte->nht", q, k) / math.sqrt(q.shape[-1])).softmax(-1)
    x = last + torch.einsum("nht,nhte,hed->nd", pattern, v, model.W_O)
    x = x + (x @ model.W_in).relu() @ model.W_out
    return x @ model.W_U


def modular_steps(steps, repeats):
    """Milliseconds per full-batch step of the reference setting, one pair (by the clock, of CPU)
    per repeat: {way: list}.

    The ways take turns.
    """
    config = ModularConfig()
    a, b = (x[modular_split(config)[0]] for x in all_pairs(config.p))
    ways = {
        "three tokens, plainly": lambda model: model(model.tokens(a, b))[:, -1],
        "last row only": lambda model: last_row_logits(model, model.tokens(a, b)),
        "the short way": lambda model: model.pair_logits(a, b),
    }
    models = {way: new_model(config) for way in ways}
    optimizers = {way: make_optimizer(model, config) for way, model in models.items()}

    def milliseconds(way, n):
        clock, cpu = time.perf_counter(), time.process_time()
        for _ in range(n):
            loss = loss_in_float64(ways[way](models[way]), (a + b) % config.p)
            optimizers[way].zero_grad()
            loss.backward()
            optimizers[way].step()
        return 1e3 * (time.perf_counter() - clock) / n, 1e3 * (time.process_time() - cpu) / n

    for way in ways:
        milliseconds(way, 2)  # warm
    rounds = [{way: milliseconds(way, steps) for way in ways} for _ in range(repeats)]
    return {way: [r[way] for r in rounds] for way in ways}


def report_modular(threads, steps, repeats):
    """Measure the modular step and print it."""
    torch.set_num_threads(threads)
    measured = modular_steps(steps, repeats)
    print(f"{device_name(torch.device('cpu'))}, {threads} threads, torch {torch.__version__}")
    for way, values in measured.items():
        clock, cpu = zip(*values)
        ratios = [
            [v[i] / short[i] for v, short in zip(values, measured["the short way"])]
            for i in range(2)
        ]
        print(
            f"{way:22s} {statistics.median(clock):7.1f} ms per step (median of {repeats} rounds;"
            f" {min(clock):.1f} to {max(clock):.1f}), {statistics.median(cpu):.1f} ms of CPU; ratio"
            f" to the short way {statistics.median(ratios[0]):.2f} by the clock"
            f" ({min(ratios[0]):.2f} to {max(ratios[0]):.2f}), {statistics.median(ratios[1]):.2f}"
            " of CPU"
        )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="57", help="57, 763, ..., or modular")
    parser.add_argument("--seeds", type=int, default=16, help="seeds per fleet (default 16)")
    parser.add_argument("--steps", type=int, help="steps per measurement (default 200; modular: 3)")
    parser.add_argument(
        "--jobs", type=int, default=2, help="processes of one thread each (default 2)"
    )
    parser.add_argument(
        "--threads", type=int, default=2, help="threads of the modular step (default 2)"
    )
    parser.add_argument("--repeats", type=int, help="rounds (default 3; modular: 15)")
    options = parser.parse_args()
    if options.model == "modular":
        return report_modular(options.threads, options.steps or 3, options.repeats or 15)
    report_fleets(
        options.model, options.seeds, options.steps or 200, options.jobs, options.repeats or 3
    )


if __name__ == "__main__":
    main()
