"""Chapters 9 to 11: ten-digit sums, the models that add them, how they are trained and what was
studied."""
