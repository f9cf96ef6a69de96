"""Ranking models and their arguments chosen by trials: the space, the search, the model of the choice."""
