"""A saved model is the model: the same bits come back, and damaged folders are refused."""

from __future__ import annotations

import numpy as np
import pytest
from estimator_cases import (
    FIXED,
    MAKE,
    NO_SUCH_ITEM,
    NO_SUCH_USER,
    SPLIT,
    TRAIN,
    WITH_FACTORS,
    every_model,
    fitted,
)
from problems import planted_table, same_bits

from bilinear.data.interactions import Interactions
from bilinear.data.packed_text import PackedText
from bilinear.errors import ModelFileError, ParameterValueError
from bilinear.estimators.blend import Blend
from bilinear.estimators.matrix_factorization import MatrixFactorization
from bilinear.estimators.popularity import Popularity
from bilinear.persistence.artifact import read_artifact, write_artifact
from bilinear.persistence.models import load
from bilinear.training.schedules import Cosine
from bilinear.training.sgd import SGD


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Every model, saved once."""
    root = tmp_path_factory.mktemp("models")
    for name in MAKE:
        fitted(name).save(root / name)
    return root


# -- round trips ----------------------------------------------------------------------------------


@every_model
def test_everything_learned_comes_back(name, folders):
    model, found = fitted(name), load(folders / name)
    assert type(found) is type(model)
    assert repr(found) == repr(model)
    assert found.get_params() == model.get_params()
    assert same_bits(found.parameters_, model.parameters_)
    for attribute in ("link_", "loss_", "penalty_", "history_", "search_", "seed_", "source_", "report_"):
        assert getattr(found, attribute) == getattr(model, attribute), attribute
    assert found.user_vocabulary_ == model.user_vocabulary_
    assert found.item_vocabulary_ == model.item_vocabulary_
    assert all(same_bits(*pair) for pair in zip(found.seen_, model.seen_, strict=True))
    remembered = {"_item_totals"}  # sums over the ratings, made when they are asked for
    assert vars(found).keys() == vars(model).keys() - remembered


@every_model
def test_every_answer_comes_back_to_the_last_bit(name, folders):
    model, found = fitted(name), load(folders / name)
    pairs = [
        (user, item) for user in [*range(99, 130), NO_SUCH_USER] for item in ["a", "i01", "i22", NO_SUCH_ITEM]
    ]
    first, second = (which.predict(*zip(*pairs, strict=True)) for which in (model, found))
    assert same_bits(first.values, second.values)
    assert same_bits(first.unknown_user, second.unknown_user)
    assert same_bits(first.unknown_item, second.unknown_item)
    for one, other in zip(model.recommend(n=7).lists, found.recommend(n=7).lists, strict=True):
        assert list(one) == list(other)
        assert same_bits(one.scores, other.scores)
        assert same_bits(one.predictions, other.predictions)
    assert found.evaluate(SPLIT.test) == model.evaluate(SPLIT.test)
    one, other = (which.fold_in(["i01", "i05"], [4, 2]).weights for which in (model, found))
    assert (one.bias, one.factors.tolist()) == (other.bias, other.factors.tolist())
    if name in WITH_FACTORS:
        assert list(found.similar("i05")) == list(model.similar("i05"))


@every_model
def test_what_was_opened_can_be_saved_again_and_trained_again(name, folders, tmp_path):
    found = load(folders / name)
    found.save(tmp_path / "copy")
    names = {path.name for path in (folders / name).iterdir() if path.suffix != ".lock"}
    assert {path.name for path in (tmp_path / "copy").iterdir() if path.suffix != ".lock"} == names
    for file in names:
        assert (tmp_path / "copy" / file).read_bytes() == (folders / name / file).read_bytes()
    assert same_bits(found.retrain(TRAIN).parameters_, fitted(name).parameters_)
    assert same_bits(found.fit(TRAIN).parameters_, fitted(name).parameters_)


@every_model
def test_a_new_model_takes_the_place_of_the_old(name, tmp_path):
    fitted("mean").save(tmp_path / "model")
    fitted(name).save(str(tmp_path / "model"))
    assert repr(load(str(tmp_path / "model"))) == repr(fitted(name))


def test_titles_and_report_come_back(tmp_path):
    model = MAKE["biases"]().fit(TRAIN)
    titles = [f"Title of {item} €" if item != "i03" else "" for item in TRAIN.item_vocabulary]
    model.item_texts_ = {"title": PackedText.of(titles), "genres": PackedText.of([""] * TRAIN.n_items)}
    model.report_ = {"scores": {"RMSE": 0.5}, "list": [1, None, "x"]}
    model.save(tmp_path / "model")
    found = load(tmp_path / "model")
    assert found.report_ == model.report_
    assert {name: list(texts) for name, texts in found.item_texts_.items()} == {
        "title": titles,
        "genres": [""] * TRAIN.n_items,
    }
    assert found.title("i01") == "Title of i01 €"
    assert found.title("i03") == "i03"
    assert found.title(NO_SUCH_ITEM) == NO_SUCH_ITEM


def test_arguments_of_numpy_come_back_as_numbers(tmp_path):
    changed = {
        "n_factors": np.int64(3),
        "l2": np.float32(0.5),
        "rating_range": (np.float64(-9), np.int64(12)),
    }
    model = MatrixFactorization(**FIXED | changed).fit(TRAIN)
    model.save(tmp_path / "model")
    found = load(tmp_path / "model")
    assert found.get_params() == model.get_params()
    assert same_bits(found.parameters_, model.parameters_)


def test_a_part_of_somebody_else_cannot_be_saved_and_leaves_nothing(tmp_path):
    model = MatrixFactorization(**FIXED | {"solver": SGD(n_epochs=2, schedule=lambda _: 1.0)}).fit(TRAIN)
    with pytest.raises(
        ParameterValueError, match="cannot be saved; give numbers, text, tuples, or objects of registered"
    ):
        model.save(tmp_path / "model")
    assert list(tmp_path.iterdir()) == []


class MatrixFactorizationOfMine(MatrixFactorization):
    pass


class _Namesake(Cosine):
    pass


_Namesake.__name__ = _Namesake.__qualname__ = "Cosine"


@pytest.mark.parametrize(
    "make",
    [
        lambda: MatrixFactorizationOfMine(**FIXED),
        lambda: type("MatrixFactorization", (MatrixFactorization,), {})(**FIXED),
        lambda: MatrixFactorization(**FIXED | {"solver": SGD(n_epochs=2, schedule=_Namesake())}),
        lambda: Blend((Popularity(), type("Popularity", (Popularity,), {})()), (1.0, 1.0)),
    ],
    ids=["a subclass", "a namesake of a model", "a namesake of a part", "a namesake inside a model"],
)
def test_what_load_could_not_bring_back_is_refused_and_leaves_nothing(make, tmp_path):
    model = make().fit(TRAIN)
    with pytest.raises(ParameterValueError, match=r"cannot be saved, because load\(\) builds"):
        model.save(tmp_path / "model")
    assert list(tmp_path.iterdir()) == []


def test_integer_and_text_ids_of_any_kind_come_back(tmp_path):
    users, items = ["", "007", "7", "ü", "日本"], [-5, 0, 2**62, -(2**63), 9]
    table = Interactions.from_columns(users, items, [1, 2, 3, 4, 5])
    model = MAKE["mean"]().fit(table)
    model.save(tmp_path / "model")
    found = load(tmp_path / "model")
    assert list(found.user_vocabulary_) == sorted(users)
    assert list(found.item_vocabulary_) == sorted(items)
    assert list(found.recommend("007", candidates=items)) == [item for item in sorted(items) if item != 0]


# -- damage ---------------------------------------------------------------------------------------


def put(*path):
    """A change of the manifest: everything but the last is the way, the last the new value."""

    def change(manifest, tensors):
        at = manifest
        for key in path[:-2]:
            at = at[key]
        at[path[-2]] = path[-1]

    return change


def drop(key):
    def change(manifest, tensors):
        del (manifest if key in manifest else tensors)[key]

    return change


def tensor(name, make):
    """A change of one tensor: make(the old one)."""

    def change(manifest, tensors):
        tensors[name] = np.ascontiguousarray(make(tensors[name].copy()))

    return change


def poked(row, value):
    def make(array):
        array[row] = value
        return array

    return make


def swapped(array):
    array[[0, 1]] = array[[1, 0]]
    return array


DAMAGE = {
    "unknown estimator": put("estimator", "Oracle"),
    "estimator of another type": put("estimator", ["MatrixFactorization"]),
    "estimator that is a part": put("estimator", "SGD"),
    "unknown argument": put("arguments", "colour", "red"),
    "arguments that are none": put("arguments", [1, 2]),
    "unknown part": put("arguments", "solver", {"type": "Adamant"}),
    "part without a type": put("arguments", "solver", {"n_epochs": 3}),
    "part with an unknown argument": put("arguments", "solver", {"type": "SGD", "warp": 9}),
    "part that refuses its argument": put("arguments", "solver", {"type": "SGD", "n_epochs": -9}),
    "type that is a list": put("link", {"type": ["Sigmoid"]}),
    "link that is a solver": put("link", {"type": "SGD"}),
    "link that is text": put("link", "Sigmoid"),
    "link without a range": put("link", {"type": "Identity", "low": None, "high": None}),
    "link with half a range": put("link", {"type": "Identity", "low": 1, "high": None}),
    "link upside down": put("link", {"type": "Identity", "low": 5, "high": 1}),
    "link with a range of text": put("link", {"type": "Identity", "low": "1", "high": "5"}),
    "loss that is a link": put("loss", {"type": "Identity"}),
    "loss that does not go with the link": put("loss", {"type": "CrossEntropy"}),
    "penalty that is a loss": put("penalty", {"type": "SquaredError"}),
    "negative penalty": put("penalty", {"type": "L2", "factors": -1}),
    "solver that is a link": put("solver", {"type": "Identity"}),
    "mean that is text": put("global_mean", "3.5"),
    "mean that is true": put("global_mean", True),
    "no mean": put("global_mean", None),
    "more users": put("n_users", 63),
    "fewer items": put("n_items", 41),
    "a negative number of users": put("n_users", -1),
    "half a user": put("n_users", 61.5),
    "more ratings": put("n_ratings", TRAIN.n_ratings + 1),
    "more factors": put("n_factors", 5),
    "no factors": put("n_factors", 0),
    "factors that are true": put("n_factors", True),
    "history that is a list": put("history", []),
    "history without epochs": put("history", {"best_epoch": 0, "ended": "closed form"}),
    "more epochs than there are": put("history", "n_epochs", 999),
    "epochs out of order": tensor("epochs", lambda array: array[::-1]),
    "epochs without their numbers": tensor("epochs", lambda array: array[:, 1:]),
    "a kept epoch that never was": put("history", "best_epoch", 999),
    "a kept epoch before the first": put("history", "best_epoch", -1),
    "search that is text": put("search", "table"),
    "search without trials": put("search", {}),
    "report that is a number": put("report", 5),
    "ratings that are perhaps there": put("has_ratings", "perhaps"),
    "texts that are a number": put("item_texts", 5),
    "texts that are not there": put("item_texts", ["title"]),
    "NaN in factors": tensor("user_factors", poked((3, 1), np.nan)),
    "infinity in biases": tensor("item_biases", poked(3, np.inf)),
    "factors in double precision": tensor("item_factors", lambda array: array.astype(np.float64)),
    "factors turned": tensor("user_factors", lambda array: array.T),
    "flat factors": tensor("user_factors", lambda array: array.ravel()),
    "too few biases": tensor("user_biases", lambda array: array[:-1]),
    "users out of order": tensor("users.integers", swapped),
    "a user twice": tensor("users.integers", poked(1, -1)),
    "users as 32 bits": tensor("users.integers", lambda array: array.astype(np.int32)),
    "items out of order": tensor("items.blob", poked(0, ord("q"))),
    "items that are not text": tensor("items.blob", poked(0, 0xFF)),
    "offsets that run backwards": tensor("items.offsets", poked(2, 90)),
    "offsets beyond the end": tensor("items.offsets", poked(-1, 10**9)),
    "seen items beyond the last": tensor("seen.indices", poked(5, 42)),
    "seen items before the first": tensor("seen.indices", poked(5, -1)),
    "seen indptr beyond the end": tensor("seen.indptr", poked(-1, 10**9)),
    "seen indptr that run backwards": tensor("seen.indptr", poked(7, 10**6)),
    "seen indptr before the first": tensor("seen.indptr", poked(0, -4)),
    "spreads that are negative": tensor("user_spreads", poked(3, -1.0)),
    "ratios that descend": tensor("residual_ratios", lambda array: array[::-1].copy()),
    "more ratios than ratings": put("conformal", {"new": 1.0, "n_ratings": 3}),
    "ratings of another type": tensor("seen.ratings", lambda array: array.astype(np.int64)),
}
REQUIRED = [
    *("arguments", "estimator", "global_mean", "has_ratings", "history", "item_texts", "link", "loss"),
    "n_factors",
    *("n_items", "n_ratings", "n_users", "penalty", "report", "search", "seed", "solver", "source"),
    *("item_biases", "item_factors", "items.blob", "items.offsets", "seen.indices", "seen.ratings"),
    *("epochs", "seen.indptr", "user_biases", "user_factors", "users.integers"),
    *("user_spreads", "residual_ratios"),
]
DAMAGE |= {f"without {key}": drop(key) for key in REQUIRED}


@pytest.mark.parametrize("what", DAMAGE)
def test_what_does_not_fit_together_is_refused_with_its_place(what, folders, tmp_path):
    """Written with right checksums, as a hostile or faulty program would: never a crash, never a model."""
    artifact = read_artifact(folders / "factors, fixed")
    manifest, tensors = dict(artifact.manifest), dict(artifact.tensors)
    DAMAGE[what](manifest, tensors)
    write_artifact(tmp_path / "model", manifest, tensors)
    with pytest.raises(ModelFileError, match=r"do not fit together .*train again or restore") as caught:
        load(tmp_path / "model")
    assert str(tmp_path / "model") in str(caught.value)


def test_nothing_is_required_that_is_not_tested_here(folders):
    artifact = read_artifact(folders / "factors, fixed")
    optional = ["id_rules", "min_support", "conformal", "weighted"]  # older folders lack these
    assert sorted([*artifact.manifest, *artifact.tensors]) == sorted([*REQUIRED, *optional])
    write_artifact(folders / "again", artifact.manifest, artifact.tensors)
    assert repr(load(folders / "again")) == repr(fitted("factors, fixed"))


def test_text_columns_that_cut_a_character_are_refused(tmp_path):
    model = MAKE["mean"]().fit(planted_table(4, 3, density=1))
    model.item_texts_ = {"title": PackedText.of(["ä", "b", "c"])}
    model.save(tmp_path / "model")
    artifact = read_artifact(tmp_path / "model")
    offsets = artifact.tensors["item_texts.title.offsets"].copy()
    offsets[1] = 1
    write_artifact(
        tmp_path / "model", artifact.manifest, artifact.tensors | {"item_texts.title.offsets": offsets}
    )
    with pytest.raises(ModelFileError, match=r"item_texts\.title: its offsets cut a character"):
        load(tmp_path / "model")


def test_a_folder_without_a_model_is_refused(tmp_path):
    for path in (tmp_path, tmp_path / "nothing"):
        with pytest.raises(ModelFileError, match="bilinear train"):
            load(path)
