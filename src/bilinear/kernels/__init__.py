"""Compiled loops over arrays: gradients, linear systems, scores, top-k.

A loop that adds up numbers in vector lanes stores nothing. Where a loop does both, the compiler asks at
run time whether the arrays are so close in memory that a vector might overlap, and then adds up one by one:
the rounding would depend on where arrays happen to lie. So such loops come in two, one after the other.
"""
