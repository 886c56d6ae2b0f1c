"""The figures: the common style, and one file for each chapter's. Every function returns its
figure."""
