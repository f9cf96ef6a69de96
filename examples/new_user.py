"""A list for a user who came a minute ago, from three ratings, without training again."""

import bilinear

table = bilinear.synthetic_catalogue(5_000, n_users=100, n_items=150, rng=0).interactions
model = bilinear.MatrixFactorization(n_factors=8, l2=4.0, l2_biases=2.0, rng=0).fit(table)

items = table.item_vocabulary.decode(range(3))
newcomer = model.fold_in(items.tolist(), [5, 4, 1])
print(newcomer.recommend(5))
