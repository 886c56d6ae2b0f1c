"""The workshop: what builds, checks and retrains the book. Run each as `python -m tools.<name>`."""

import warnings

warnings.simplefilter(
    "default"
)  # a shell that makes warnings errors (PYTHONWARNINGS) stops no build
