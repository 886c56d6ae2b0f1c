"""The workshop: what builds, checks and retrains the book. Run each as `python -m tools.<name>`."""
