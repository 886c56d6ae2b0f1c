"""Chapters 1 to 7: three-digit sums, and what a model of them can be asked."""
