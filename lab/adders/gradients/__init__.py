"""Gradients written by hand, for many models at once: see the README beside this file."""
