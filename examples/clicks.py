"""Interactions without ratings: ranking models compared on held-out interactions, the best one saved."""

from pathlib import Path
from tempfile import TemporaryDirectory

import bilinear

table = bilinear.synthetic_catalogue(5_000, n_users=100, n_items=150, rng=0).interactions
split = bilinear.split_per_user(table, test=0.2, rng=0)
models = {"popular": bilinear.Popularity(), "knn": bilinear.ItemKNN(), "ease": bilinear.EASE(l2=50.0)}
fitted = {name: model.fit(split.train) for name, model in models.items()}

compared = bilinear.compare(fitted, split, baseline="popular")
print(compared.table())

best = max(fitted, key=lambda name: compared.scores[name]["ndcg@20"])
with TemporaryDirectory() as folder:
    fitted[best].retrain(table).save(Path(folder) / "model")
    print((Path(folder) / "model" / "README.md").read_text())
