"""Compiled loops over arrays: gradients, linear systems, scores, top-k."""
