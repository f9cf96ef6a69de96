"""Derivatives of the training objective, descent on it, and spectra, in float64."""
