"""What a training step costs, fleet against one seed at a time: `python -m tools.benchmark [--model 57] [--seeds 16]`.

Both train by the full recipe from its middle on (examples, loss, gradient, clipping, AdamW), in the same number of
processes of one thread each, in turns. A seed-step is one step of one seed; its cost is wall-clock time divided by all
seed-steps of all processes.
"""
import argparse
import statistics
import time

import joblib
import torch
import torch.nn.functional as F

from lab.fleets import CHUNK, Examples, Fleet
from lab.store import device_name
from lab.sweeps import preset
from lab.ten_digits import FORMATS


def fleet_steps(config, seeds, steps):
    """Seconds for `steps` steps of a fleet from the middle of its recipe."""
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    fleet = Fleet(config, seeds)
    fleet.step = config.recipe.steps // 2
    fleet._train_to(fleet.step + CHUNK)                        # warm
    started = time.perf_counter()
    fleet._train_to(fleet.step + steps)
    return time.perf_counter() - started


def plain_steps(config, seed, steps):
    """Seconds for `steps` steps of one seed: the module's own forward, autograd, torch's clipping and AdamW."""
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
            loss = F.cross_entropy(model(tokens[:, :-1])[:, rows].transpose(1, 2), tokens[:, 1:][:, rows])
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), recipe.clip)
            optimizer.step()

    train(5)
    started = time.perf_counter()
    train(steps)
    return time.perf_counter() - started


def measure(model, seeds, steps, jobs, repeats):
    """Milliseconds per seed-step, one value per repeat: (fleet, plain)."""
    config, fleet, plain = preset(model), [], []
    plain_n = max(10, steps // 5)
    with joblib.Parallel(n_jobs=jobs) as parallel:
        for _ in range(repeats):
            seconds = parallel(joblib.delayed(fleet_steps)(config, range(seeds * j, seeds * (j + 1)), steps) for j in range(jobs))
            fleet.append(1e3 * max(seconds) / (steps * seeds * jobs))
            seconds = parallel(joblib.delayed(plain_steps)(config, j, plain_n) for j in range(jobs))
            plain.append(1e3 * max(seconds) / (plain_n * jobs))
    return fleet, plain


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="57")
    parser.add_argument("--seeds", type=int, default=16, help="seeds per fleet (default 16)")
    parser.add_argument("--steps", type=int, default=200, help="steps per measurement (default 200)")
    parser.add_argument("--jobs", type=int, default=2, help="processes of one thread each (default 2)")
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    fleet, plain = measure(options.model, options.seeds, options.steps, options.jobs, options.repeats)
    print(f"{device_name(torch.device('cpu'))}, {options.jobs} processes of one thread, torch {torch.__version__}")
    for name, values in (("fleet", fleet), ("one seed at a time", plain)):
        print(f"{name:20s} {statistics.median(values):7.3f} ms per seed-step (median; {min(values):.3f} to {max(values):.3f})")
    print(f"ratio                {statistics.median(p / f for f, p in zip(fleet, plain)):7.1f}")


if __name__ == "__main__":
    main()
