"""Synthetic ratings and items with planted truth: for demonstrations, tests and benchmarks."""
