"""Solvers, optimisers, schedules, starts, the search for hyper-parameters, checkpoints."""
