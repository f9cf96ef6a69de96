"""What a stranger adds in one file works from end to end: docs/develop/add-a-model.md, run as it stands."""

from __future__ import annotations

import asyncio
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

import bilinear
from bilinear.cli import main
from bilinear.errors import ModelFileError, ParameterValueError
from bilinear.evaluation.metrics import METRICS
from bilinear.objective.losses import Loss
from bilinear.persistence.codec import decode, encode
from bilinear.registry import CLASSES, PLUGINS
from bilinear.serving import create_app
from bilinear.serving.feedback.store import STORES, open_store

PAGE = Path(__file__).parents[1] / "docs" / "develop" / "add-a-model.md"
DAY = 86_400.0


@contextmanager
def from_page(number: int, name: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A block of the page as a module, in a folder that Python imports from."""
    source = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert len(source) == 3
    (folder / f"{name}.py").write_text(source[number])
    monkeypatch.syspath_prepend(folder)
    yield import_module(name)
    del sys.modules[name]


@pytest.fixture
def plugin_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, which no plugin is named in yet."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(PLUGINS, "")
    return tmp_path


@pytest.fixture
def added(plugin_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The page's model."""
    with from_page(0, "recent_popularity", plugin_folder, monkeypatch) as module:
        yield module
    CLASSES.discard("RecentPopularity")


@pytest.fixture
def own_metric(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The page's metric, in a module of its own."""
    with from_page(2, "own_metric", tmp_path, monkeypatch) as module:
        yield module.reciprocal_rank
    METRICS.discard("reciprocal_rank")


@pytest.fixture
def own_parts(plugin_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The page's loss, link, ranking loss, optimiser and penalty."""
    with from_page(1, "own_parts", plugin_folder, monkeypatch) as module:
        yield module
    for name in ("Huber", "Arctangent", "Hinge", "SignDescent", "Logarithmic"):
        CLASSES.discard(name)


@pytest.fixture
def clicks() -> bilinear.Interactions:
    """Item 0 was liked by all long ago, item 9 by a few lately."""
    chance = np.random.default_rng(0)
    users, items = np.repeat(np.arange(30), 5), np.tile(np.arange(5), 30)
    times = chance.uniform(0, 10 * DAY, len(users))
    late = np.arange(12), np.full(12, 9), np.full(12, 400 * DAY)
    columns = [np.concatenate(pair) for pair in zip((users, items, times), late, strict=True)]
    return bilinear.Interactions.from_columns(columns[0], columns[1], times=columns[2])


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    def call(*arguments: str) -> str:
        monkeypatch.setattr(sys, "argv", ["bilinear", *arguments])
        with pytest.raises(SystemExit) as left:
            main()
        out = capsys.readouterr()
        assert not left.value.code, out.err
        return out.out

    return call


def served(
    model: Path, requests: list[tuple[str, str, Any]], store: str | None = None
) -> list[httpx.Response]:
    """The answers of a server of the model, asked without a network."""

    async def ask() -> list[httpx.Response]:
        app: Any = create_app(model, store=store or f"sqlite:///{model.parent / 'feedback.db'}")
        transport = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            answers = [await client.request(how, path, json=body) for how, path, body in requests]
        await app._end()
        return answers

    return asyncio.run(ask())


def test_a_model_in_one_file_fits_evaluates_recommends_saves_and_loads(
    added: Any, clicks: bilinear.Interactions, tmp_path: Path
) -> None:
    model = added.RecentPopularity(half_life=7).fit(clicks)
    assert list(model.recommend(20, n=1)) == [9]
    expected = np.bincount(
        clicks.items, 0.5 ** ((clicks.times.max() - clicks.times) / DAY / 7), clicks.n_items
    )
    np.testing.assert_allclose(model.score_block(np.array([0]))[0], expected, rtol=1e-6)
    split = bilinear.split_per_user(clicks, test=0.3, rng=0)
    assert 0 < added.RecentPopularity().fit(split.train).evaluate(split)["recall@5"] <= 1
    assert list(model.fold_in([0, 1]).recommend(1)) == [9]
    model.save(tmp_path / "model")
    found = bilinear.load(tmp_path / "model")
    assert type(found) is added.RecentPopularity
    assert found.half_life == 7
    np.testing.assert_array_equal(found.trend_, model.trend_)
    CLASSES.discard("RecentPopularity")
    with pytest.raises(ModelFileError, match=r"import the module that registers it.*@bilinear.register"):
        bilinear.load(tmp_path / "model")


def test_a_model_in_one_file_works_on_the_command_line(
    added: Any, clicks: bilinear.Interactions, tmp_path: Path, run: Callable[..., str]
) -> None:
    rows = zip(clicks.users, clicks.items, clicks.times, strict=True)
    lines = [f"{user},{clicks.item_vocabulary[item]},{time:.0f}" for user, item, time in rows]
    (tmp_path / "clicks.csv").write_text("user,item,timestamp\n" + "\n".join(lines) + "\n")
    plugin = ("--plugin", "recent_popularity")
    trained = run(
        *plugin, "train", "clicks.csv", "--model", "recent-popularity", "--set", "half_life=7", "-q"
    )
    assert "RecentPopularity" in trained
    assert "\n   1" in run(*plugin, "recommend", "model", "--user", "20", "-n", "1")
    assert "half_life" in run(*plugin, "info", "model", "--json")
    with pytest.raises(AssertionError, match="half_lif"):
        run(*plugin, "train", "clicks.csv", "--model", "recent-popularity", "--set", "half_lif=7", "-q")


def test_a_model_in_one_file_is_served(added: Any, clicks: bilinear.Interactions, tmp_path: Path) -> None:
    added.RecentPopularity(half_life=7).fit(clicks).save(tmp_path / "model")
    asked: list[tuple[str, str, Any]] = [
        ("GET", "/v1/recommendations?user=20&n=1", None),
        ("PUT", "/v1/feedback?user=20&item=9", {"rating": 1}),
        ("GET", "/v1/recommendations?user=20&n=1", None),
        ("GET", "/v1/explanations?user=20&item=0", None),
        ("GET", "/v1/similar?item=0", None),
        ("GET", "/v1/model", None),
    ]
    before, put, after, why, similar, info = served(tmp_path / "model", asked)
    assert [place["item"] for place in before.json()["items"]] == ["9"]
    assert put.status_code == 200
    assert after.json()["items"] == []  # of six items 20 has now seen all
    assert {one["contribution"] for one in why.json()["contributions"]} == {0}  # one list for all
    assert (similar.status_code, similar.json()["error"]["code"]) == (409, "not_supported")
    assert (info.json()["estimator"], info.json()["can_similar"]) == ("RecentPopularity", False)


def test_a_metric_in_one_function_chooses_is_saved_and_is_reported(
    own_metric: Any, clicks: bilinear.Interactions, tmp_path: Path
) -> None:
    hits = np.array([[False, True, False], [True, True, False], [False, False, False]])
    np.testing.assert_array_equal(own_metric(None, hits, np.ones(3)), [0.5, 1.0, 0.0])
    split = bilinear.split_per_user(clicks, test=0.3, rng=0)
    members = (bilinear.Popularity(), bilinear.RandomWalk())
    model = bilinear.Blend(members, metric="reciprocal_rank@3", rng=0).fit(split.train)
    model.save(tmp_path / "model")
    assert bilinear.load(tmp_path / "model").metric == "reciprocal_rank@3"
    protocol = bilinear.RankingProtocol((3,), metrics=(own_metric,))
    assert 0 < model.evaluate(split, protocol)["reciprocal_rank@20"] <= 1
    METRICS.discard("reciprocal_rank")
    with pytest.raises(ParameterValueError, match="reciprocal_rank@3"):
        bilinear.RankingFactorization(metric="reciprocal_rank@3").fit(split.train)


def test_a_store_in_one_class_keeps_the_feedback_of_a_server(
    clicks: bilinear.Interactions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    toy = (Path(__file__).parent / "serving" / "memory_store.py").read_text(encoding="utf-8")
    (tmp_path / "own_store.py").write_text(toy.replace('("memory",), "memory:', '("toy",), "toy:'))
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ParameterValueError, match="--store toy"):
        open_store("toy://shelf")
    import_module("own_store")
    try:
        bilinear.Popularity().fit(clicks).save(tmp_path / "model")
        rate: Any = ("PUT", "/v1/feedback?user=new&item=9", {"rating": 1})
        ask: Any = ("GET", "/v1/recommendations?user=new&n=9", None)
        assert served(tmp_path / "model", [rate], "toy://shelf")[0].status_code == 200
        (again,) = served(tmp_path / "model", [ask], "toy://shelf")
        assert "9" not in [place["item"] for place in again.json()["items"]]
        assert open_store("toy://shelf").counts()[:3] == (1, 1, 0)
    finally:
        STORES.discard("toy")
        del sys.modules["own_store"]


FEW: dict[str, Any] = {"n_factors": 3, "l2": 0.5, "l2_biases": 0.5, "rng": 0, "validation_fraction": 0}


def test_a_loss_a_link_and_a_penalty_in_one_class_train_predict_fold_in_save_and_load(
    own_parts: Any, tmp_path: Path
) -> None:
    table = bilinear.synthetic_ratings(60, 40, 900, rng=0)
    parts = {
        "loss": own_parts.Huber(0.5),
        "link": own_parts.Arctangent(),
        "l2_exponent": own_parts.Logarithmic(),
    }
    model = bilinear.MatrixFactorization(**FEW, **parts, solver=bilinear.SGD(n_epochs=30)).fit(table)
    losses = [epoch.loss for epoch in model.history_.epochs]
    assert losses[-1] < 0.8 * losses[0]
    scores = model.parameters_.global_mean + model.parameters_.user_biases[table.users]
    scores += model.parameters_.item_biases[table.items]
    scores += np.einsum(
        "nf,nf->n",
        model.parameters_.user_factors[table.users],
        model.parameters_.item_factors[table.items],
    )
    ids = [table.user_vocabulary[u] for u in table.users], [table.item_vocabulary[i] for i in table.items]
    low, high = model.link_.bounds
    expected = low + (high - low) * (0.5 + np.arctan(scores) / np.pi)
    np.testing.assert_allclose(model.predict(*ids), expected, rtol=1e-5)
    residual = np.abs(expected - table.ratings)
    huber = np.where(residual <= 0.5, 0.5 * residual**2, 0.5 * (residual - 0.25))
    np.testing.assert_allclose(model.loss_.value(scores, table.ratings, model.link_), huber, rtol=1e-4)
    assert len(list(model.fold_in([1, 2, 3], [5, 5, 1]).recommend(4))) == 4
    model.save(tmp_path / "model")
    found = bilinear.load(tmp_path / "model")
    assert (found.loss, found.link, found.l2_exponent) == tuple(parts.values())
    np.testing.assert_array_equal(found.parameters_.user_factors, model.parameters_.user_factors)
    weights = found.penalty_.row_weights(np.array([1, 2, 8]))
    np.testing.assert_allclose(weights, [1, 2, 4])


def test_a_loss_in_one_class_works_on_the_command_line(own_parts: Any, run: Callable[..., str]) -> None:
    table = bilinear.synthetic_ratings(60, 40, 900, rng=0)
    rows = zip(table.users, table.items, table.ratings, strict=True)
    Path("ratings.csv").write_text("user,item,rating\n" + "".join(f"{u},{i},{r:.1f}\n" for u, i, r in rows))
    settings = [f"{name}={value}" for name, value in (FEW | {"solver": "SGD(n_epochs=3)"}).items()]
    settings += ["loss=Huber(delta=0.5)", "l2_exponent=Logarithmic"]
    given = [word for setting in settings if "rng" not in setting for word in ("--set", setting)]
    plugin = ("--plugin", "own_parts")
    run(*plugin, "train", "ratings.csv", "--model", "mf", *given, "--out", "fitted", "-q")
    assert "Huber" in run(*plugin, "info", "fitted", "--json")
    assert "\n   1" in run(*plugin, "recommend", "fitted", "--user", "3", "-n", "1")
    with pytest.raises(AssertionError, match="delt"):
        run(*plugin, "train", "ratings.csv", "--set", "loss=Huber(delt=1)", "-q")


def test_a_formula_of_the_squared_error_gives_the_bits_of_the_squared_error() -> None:
    @dataclass(frozen=True)
    class Twin(Loss):
        def formula(self) -> Any:
            return lambda prediction, rating: (0.5 * (prediction - rating) ** 2, prediction - rating, 1.0)

    table = bilinear.synthetic_ratings(60, 40, 900, rng=0)
    solver = bilinear.SGD(n_epochs=3)
    own, built_in = (
        bilinear.MatrixFactorization(**FEW, loss=loss, solver=solver).fit(table).parameters_
        for loss in (Twin(), bilinear.SquaredError())
    )
    np.testing.assert_array_equal(own.item_factors, built_in.item_factors)
    np.testing.assert_array_equal(own.user_biases, built_in.user_biases)


def test_a_ranking_loss_in_one_class_has_its_derivatives_and_trains(own_parts: Any, tmp_path: Path) -> None:
    loss = own_parts.Hinge(2.0)
    positive, negative = np.array([1.0, 4.0], np.float32), np.array([0.0, -3.0], np.float32)
    value, up, down = loss.value_and_gradients(positive, negative)
    assert value == pytest.approx(0.5)
    np.testing.assert_array_equal(up, [-0.5, 0])
    np.testing.assert_array_equal(down, [0.5, 0])
    chance = np.random.default_rng(0)
    users, halves = np.repeat(np.arange(40), 6), np.repeat(np.arange(40) % 2, 6)
    table = bilinear.Interactions.from_columns(users, 10 * halves + chance.integers(0, 10, len(users)))
    solver = bilinear.MiniBatch(n_epochs=15, batch_size=20, learning_rate=0.1)
    plain = {"n_factors": 3, "cosine": False, "validation_fraction": 0, "rng": 0, "n_negatives": 8}
    model = bilinear.RankingFactorization(loss=loss, solver=solver, **plain).fit(table)
    assert model.history_.epochs[-1].loss < 0.5 * model.history_.epochs[0].loss
    model.save(tmp_path / "model")
    assert bilinear.load(tmp_path / "model").loss == loss


def test_an_optimiser_in_one_class_takes_its_steps(own_parts: Any, tmp_path: Path) -> None:
    table = bilinear.synthetic_ratings(60, 40, 900, rng=0)
    solver = bilinear.MiniBatch(
        own_parts.SignDescent(0.0), n_epochs=1, batch_size="all", learning_rate=0.01,
        schedule=bilinear.Constant(),
    )  # fmt: skip
    start = bilinear.NormalStart(0.1)
    model = bilinear.MatrixFactorization(**FEW, solver=solver, start=start).fit(table)
    still = bilinear.MatrixFactorization(
        **FEW, solver=bilinear.MiniBatch(n_epochs=1, learning_rate=1e-30), start=start
    ).fit(table)
    for name, before in still.parameters_.arrays().items():
        moves = np.abs(model.parameters_.arrays()[name] - before)
        np.testing.assert_allclose(moves[moves > 0], 0.01, rtol=1e-3)
        assert (moves > 0).mean() > 0.9
    model.save(tmp_path / "model")
    assert bilinear.load(tmp_path / "model").solver.optimizer == own_parts.SignDescent(0.0)


@pytest.mark.parametrize(
    ("formula", "message"),
    [
        (lambda: 3, "expected a function, got 3"),
        (lambda: lambda prediction, rating: sorted({}, key=rating), "a function that Numba compiles"),
        (lambda: lambda prediction, rating: (0.0, 1.0), r"\(value, derivative, curvature\)"),
        (lambda: lambda prediction, rating: (0.0, 1.0, 0.0), "the curvature positive"),
    ],
    ids=["no function", "not compiled", "too few", "flat"],
)
def test_a_formula_that_cannot_be_used_is_refused_before_training(formula: Any, message: str) -> None:
    wrong = type("Wrong", (Loss,), {"formula": lambda self: formula()})
    model = bilinear.MatrixFactorization(**FEW, loss=wrong())
    with pytest.raises(ParameterValueError, match=rf"Wrong\.formula\(\): .*{message}"):
        model.fit(bilinear.synthetic_ratings(60, 40, 900, rng=0))


def test_weights_of_rows_that_are_not_weights_are_refused() -> None:
    model = bilinear.MatrixFactorization(**FEW, l2_exponent=lambda counts: np.ones(3))
    with pytest.raises(ParameterValueError, match=r"a number from zero for each of .* counts of ratings"):
        model.fit(bilinear.synthetic_ratings(60, 40, 900, rng=0))


def test_a_schedule_of_my_own_is_saved_named_and_loaded(tmp_path: Path) -> None:
    @bilinear.register
    @dataclass(frozen=True)
    class Sawtooth:
        """Falls to zero and starts again, a number of times."""

        teeth: int = 3

        def __call__(self, progress: float) -> float:
            return 1 - (self.teeth * progress) % 1

    try:
        chance = np.random.default_rng(0)
        table = bilinear.Interactions.from_columns(
            chance.integers(0, 40, 600), chance.integers(0, 30, 600), chance.integers(1, 6, 600)
        )
        solver = bilinear.SGD(n_epochs=4, schedule=Sawtooth(2))
        model = bilinear.MatrixFactorization(4, 0.1, 0.1, solver=solver, rng=0).fit(table)
        model.save(tmp_path / "model")
        assert bilinear.load(tmp_path / "model").solver.schedule == Sawtooth(2)
        assert decode(encode(Sawtooth(5))) == Sawtooth(5)
        from bilinear.cli.models import parsed_settings

        assert parsed_settings(["solver=SGD(schedule=Sawtooth(teeth=4))"])["solver"] == bilinear.SGD(
            schedule=Sawtooth(4)
        )
    finally:
        CLASSES.discard("Sawtooth")


def test_a_name_that_is_taken_and_a_class_that_is_not_registered_are_refused() -> None:
    with pytest.raises(ParameterValueError, match="has it; choose another name"):
        bilinear.register(type("EASE", (), {}))

    @dataclass(frozen=True)
    class Unknown:
        parts: tuple[int, ...] = field(default=(1,))

    with pytest.raises(ParameterValueError, match=r"decorate the class with @bilinear.register"):
        encode(Unknown())
    with pytest.raises(ParameterValueError, match="did you mean 'Cosine'"):
        CLASSES.get("Cosin")
