"""All that knows of a page: claims, printed numbers, exported figures, lists of runs."""
