"""Intervene in the models that chapter 6 shows and keep the effects in data/interventions: `python
-m tools.interventions [--all]`.

Without --all only those that are missing or were made with other weights. About half a minute each
on one thread.
"""

import argparse

import torch

from lab.addition.interventions import BOOK_INTERVENTIONS, store_interventions, stored_interventions
from lab.experiments import runs_of


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--all", action="store_true", help="intervene anew in every model")
    every = parser.parse_args().all
    torch.set_num_threads(1)
    for run in runs_of("reference"):
        if every or stored_interventions(run, BOOK_INTERVENTIONS) is None:
            print(store_interventions(run, BOOK_INTERVENTIONS).name, flush=True)


if __name__ == "__main__":
    main()
