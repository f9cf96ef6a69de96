"""Ratings from a pandas data frame to a measured model and a list with titles."""

import pandas as pd

import bilinear

catalogue = bilinear.synthetic_catalogue(5_000, n_users=100, n_items=150, rng=0)
table = catalogue.interactions
frame = pd.DataFrame(
    {
        "user": table.user_vocabulary.decode(table.users),
        "item": table.item_vocabulary.decode(table.items),
        "rating": table.ratings,
    }
)

split = bilinear.split_random(bilinear.read_ratings(frame), test=0.2, rng=0)
models = {
    "mean": bilinear.GlobalMean(),
    "biases": bilinear.BiasModel(),
    "factors": bilinear.MatrixFactorization(n_factors=8, l2=4.0, l2_biases=2.0, rng=0),
}
print(bilinear.format_table(bilinear.measure(models, split, baseline="mean"), "markdown"))

model = models["factors"].fit(split.train)
print(model.recommend(int(frame["user"][0]), n=5))
