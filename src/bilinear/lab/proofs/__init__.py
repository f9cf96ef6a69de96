"""Lower bounds of the training objective, certified optima, and proof files that others can check."""
