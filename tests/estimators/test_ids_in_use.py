"""Ids in use are understood as in the table: whatever read as an id finds its row again."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np
import pandas as pd
import polars as pl
import pytest

from bilinear.data.interactions import Interactions
from bilinear.data.reading.readers import read_pairs, read_ratings
from bilinear.data.vocabulary import plain_id
from bilinear.errors import IdValueError, UnknownIdError
from bilinear.estimators.baselines import BiasModel
from bilinear.estimators.ease import EASE

SPELLINGS: dict[str, Any] = {
    "int": 3,
    "float": 3.0,
    "numpy float": np.float64(3),
    "numpy float32": np.float32(3),
    "numpy int": np.int8(3),
    "numpy unsigned": np.uint64(3),
    "decimal": Decimal(3),
    "decimal with zeros": Decimal("3.00"),
    "text": "3",
    "numpy text": np.str_("3"),
}
NOT_IDS: dict[str, Any] = {
    "not whole": 3.5,
    "nan": float("nan"),
    "infinite": float("inf"),
    "none": None,
    "pandas NA": pd.NA,
    "pandas NaT": pd.NaT,
    "true": True,
    "bytes": b"3",
    "too large": 2.0**60,
    "padded": "3 ",
}


def rows() -> pd.DataFrame:
    pairs = [(user, item) for user in range(8) for item in range(6) if (user + item) % 3]
    frame = pd.DataFrame(pairs, columns=["user", "item"])
    frame["rating"] = 1.0 + (frame.user * frame.item) % 5
    return frame


@pytest.fixture(scope="module", params=["integers", "text"])
def model(request: pytest.FixtureRequest) -> BiasModel:
    frame = rows()
    if request.param == "text":
        frame[["user", "item"]] = frame[["user", "item"]].astype(str)
    return BiasModel().fit(read_ratings(frame))


@pytest.mark.parametrize("what", SPELLINGS)
def test_every_spelling_of_an_id_finds_its_row(model: BiasModel, what: str) -> None:
    id_ = SPELLINGS[what]
    expected = model.recommend("3", 4, exclude_seen=False)
    assert model.recommend(id_, 4, exclude_seen=False).items.tolist() == expected.items.tolist()
    assert model.recommend([id_], 4, exclude_seen=False).lists[0].items.tolist() == expected.items.tolist()
    predicted = model.predict([id_], [id_])
    assert not predicted.unknown_user.any()
    assert not predicted.unknown_item.any()
    assert model.predict([id_] * 300, [id_] * 300).values.tolist() == [float(predicted.values[0])] * 300
    assert len(model.recommend("0", candidates=[id_], exclude_seen=False)) == 1
    assert model.fold_in([id_], [5.0]).rated.tolist() == [3]
    assert model.title(id_) == str(id_)
    assert str(plain_id(id_)) == "3"


@pytest.mark.parametrize("what", NOT_IDS)
def test_what_is_no_id_is_unknown(model: BiasModel, what: str) -> None:
    for n in (1, 300):
        assert model.predict([NOT_IDS[what]] * n, ["3"] * n).unknown_user.all()
    with pytest.raises(UnknownIdError, match="no such user"):
        model.recommend(NOT_IDS[what] if NOT_IDS[what] is not None else [None])


FRAMES = {
    "pandas float": lambda frame: frame.astype({"user": float, "item": float}),
    "pandas nullable": lambda frame: frame.astype({"user": "Int64", "item": "Float64"}),
    "pandas category": lambda frame: frame.astype({"user": "category"}),
    "pandas decimals": lambda frame: frame.assign(user=[Decimal(int(user)) for user in frame.user]),
    "pandas UUIDs": lambda frame: frame.assign(user=[UUID(int=int(user)) for user in frame.user]),
    "polars float": lambda frame: pl.DataFrame(frame.to_dict("list")).cast({"user": pl.Float64}),
    "polars small": lambda frame: pl.DataFrame(frame.to_dict("list")).cast({"user": pl.UInt8}),
}


@pytest.mark.parametrize("what", FRAMES)
def test_the_columns_of_training_are_known_in_use(what: str, tmp_path: Path) -> None:
    frame = FRAMES[what](rows())
    model = BiasModel().fit(read_ratings(frame))
    for users, items in (
        (frame["user"], frame["item"]),
        (list(frame["user"]), list(frame["item"])),
        (np.asarray(frame["user"]), np.asarray(frame["item"])),
    ):
        predicted = model.predict(users, items)
        assert not predicted.unknown_user.any()
        assert not predicted.unknown_item.any()
    pairs = read_pairs(frame)
    assert not model.predict(pairs.users, pairs.items).unknown_user.any()
    assert len(model.recommend(list(frame["user"])[:5]).lists) == 5
    assert model.count_trained_pairs(read_ratings(frame)) == len(frame)


def test_missing_values_in_a_float_column_are_unknown_and_the_rest_is_not() -> None:
    model = BiasModel().fit(read_ratings(rows()))
    users = np.array([0.0, np.nan, 3.0, 2.5, 1e300, -0.0])
    assert model.predict(users, np.zeros(6)).unknown_user.tolist() == [False, True, False, True, True, False]


def test_a_text_file_of_floats_keeps_its_spelling_and_is_found_by_numbers(tmp_path: Path) -> None:
    rows().astype({"user": float, "item": float}).to_csv(tmp_path / "r.csv", index=False)
    model = BiasModel().fit(read_ratings(tmp_path / "r.csv"))
    assert "3.0" in list(model.user_vocabulary_)
    assert not model.predict([3.0, np.float64(3)], [2.0, 2.0]).unknown_user.any()


def test_similar_takes_numbers_of_any_kind() -> None:
    model = EASE().fit(read_ratings(rows()))
    expected = model.similar(2, 3).items.tolist()
    assert model.similar(np.float64(2), 3).items.tolist() == expected
    assert (
        model.similar(Decimal(2), 3, candidates=[float(item) for item in range(6)]).items.tolist() == expected
    )


def test_arrays_are_read_by_the_same_rules_as_frames() -> None:
    frame = rows()
    users = [Decimal(int(user)) for user in frame.user]
    found = Interactions.from_columns(users, frame.item.astype(float), frame.rating)
    assert found.user_vocabulary == read_ratings(frame).user_vocabulary
    assert found.item_vocabulary == read_ratings(frame).item_vocabulary
    with pytest.raises(IdValueError, match=r"row 2: user 2.5 is not a whole number"):
        Interactions.from_columns([1.0, 2.5], [1, 2])
