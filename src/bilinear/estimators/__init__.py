"""Models with `fit`, `recommend` and `save`: rating models, ranking models, blends, automatic choice."""
