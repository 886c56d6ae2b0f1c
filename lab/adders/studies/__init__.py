"""The experiments of chapters 9 to 11: which sweeps, and what is read off them."""
