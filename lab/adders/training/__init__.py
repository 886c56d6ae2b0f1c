"""Fleets of seeds that are trained together, and the sweeps that are stored."""
