"""Items and users that the served model knows by their features alone."""

from __future__ import annotations

import numpy as np
from problems import planted_table

from bilinear import Items, MatrixFactorization, Users, Vocabulary
from bilinear.serving.answers.serving_model import ServingModel
from bilinear.training.sgd import SGD


def test_a_user_known_by_features_is_answered_by_their_own_row() -> None:
    table = planted_table()
    users = list(table.user_vocabulary)
    people = Users(Vocabulary.from_ids(users), {"job": ["ab"[n % 2] for n in range(len(users))]})
    films = Items(
        Vocabulary.from_ids(list(table.item_vocabulary)),
        {"kind": ["xy"[n % 2] for n in range(table.n_items)]},
    )
    settings = {"n_factors": 2, "l2": 0.1, "l2_biases": 0.1, "solver": SGD(n_epochs=5), "rng": 0}
    model = MatrixFactorization(**settings, user_features=["job"], item_features=["kind"])  # type: ignore[arg-type]
    model.fit(table, users=people, items=films)
    new = 10**7 if table.user_vocabulary.kind == "integer" else "someone new"
    served = ServingModel(model.new_users(Users(Vocabulary.from_ids([new]), {"job": ["b"]})), "1")
    state = served.user_state(str(new), ())
    assert state.basis == "training"
    row = served.model.user_vocabulary_.row(new)
    listed, scores = served.rank([(state, 5, True, None)])[0]
    expected = served.model.score_block(np.array([row]))[0]
    assert scores.tolist() == expected[listed].tolist()
    assert served.user_state("nobody at all", ()).basis == "non-personal"
