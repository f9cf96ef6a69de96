"""Feedback that the served model learns between two trainings."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
from test_http import Client

import bilinear
from bilinear import EASE, GraphFilter, Interactions, Popularity
from bilinear.errors import ParameterValueError
from bilinear.estimators.recommender import Recommender
from bilinear.serving import create_app
from bilinear.serving.feedback.store import Feedback, FeedbackStore, open_store
from bilinear.serving.lifecycle.learning import learn_feedback, updated_at
from bilinear.serving.lifecycle.retrain_process import carry_out
from bilinear.serving.problems import Conflict

FANS = [f"user {n}" for n in range(3, 9)]


@pytest.fixture
def plays(table: Interactions) -> Interactions:
    users, items = table.user_vocabulary.decode(table.users), table.item_vocabulary.decode(table.items)
    return Interactions.from_columns(users, items, counts=np.arange(len(users)) % 4 + 1)


@pytest.fixture
def local(tmp_path: Path) -> Iterator[FeedbackStore]:
    store = open_store(f"sqlite:///{tmp_path / 'feedback.db'}")
    yield store
    store.close()


def held(model: Recommender) -> dict[tuple[str, str], float]:
    users, items, seen = model.user_vocabulary_, model.item_vocabulary_, model.seen_
    rows = np.repeat(np.arange(len(users)), seen.counts)
    return {
        (str(users[u]), str(items[i])): value
        for u, i, value in zip(rows, seen.indices, seen.ratings.tolist(), strict=True)
    }


@pytest.mark.parametrize("kind", ["counts", "ratings", "weights"])
def test_feedback_takes_the_place_of_what_was_trained_and_is_learned_once(
    table: Interactions, plays: Interactions, local: FeedbackStore, kind: str
) -> None:
    """As a fit of the table overlaid with feedback, also of counts: a pair's feedback is no further count."""
    users, items = plays.user_vocabulary.decode(plays.users), plays.item_vocabulary.decode(plays.items)

    def fitted(pairs: dict[tuple[str, str], float]) -> Recommender:
        columns = [user for user, _ in pairs], [item for _, item in pairs]
        made = Interactions.from_columns(*columns, **{kind: list(pairs.values())})
        return EASE(l2=5.0, precision="float64").fit(made)

    pairs = {(str(u), str(i)): float(n) for u, i, n in zip(users, items, plays.ratings, strict=True)}
    model = fitted(pairs)
    (changed, same, gone), new = list(pairs)[:3], ("somebody", "brand new")
    local.write(
        [
            Feedback(*changed, 7.0, 1.0),
            Feedback(*same, pairs[same], 1.0),
            Feedback(*gone, None, 1.0),
            Feedback("nobody", "nothing", None, 1.0),
            Feedback(*new, 2.0, 1.0),
        ]
    )
    assert learn_feedback(model, local) == "pairs learned: 2, taken out: 1"
    expected = pairs | {changed: 7.0, new: 2.0}
    del expected[gone]
    assert held(model) == expected
    again = fitted(expected)
    rows = np.arange(-1, len(again.user_vocabulary_))
    np.testing.assert_allclose(model.score_block(rows), again.score_block(rows), rtol=1e-5, atol=1e-6)
    moment, weights = updated_at(model), model.weights_
    assert learn_feedback(model, local) is None
    assert updated_at(model) == moment is not None
    assert model.weights_ is weights
    local.write([Feedback(*new, None, 2.0), Feedback(*changed, pairs[changed], 2.0)])
    assert learn_feedback(model, local) == "pairs learned: 1, taken out: 1"
    assert held(model) == {pair: n for pair, n in pairs.items() if pair != gone}


def test_ids_that_cannot_be_the_models_wait_for_a_training(local: FeedbackStore) -> None:
    model = Popularity().fit(Interactions.from_columns([1, 1, 2], [1, 2, 1]))
    local.write(
        [Feedback("ann", "1", 1.0, 1.0), Feedback("bob", "1", 1.0, 1.0), Feedback("3", "9", 1.0, 1.0)]
    )
    said = "pairs learned: 1, taken out: 0; 2 with an id that is not a whole number wait for a training"
    assert learn_feedback(model, local) == said
    assert list(model.item_vocabulary_) == [1, 2, 9]
    assert learn_feedback(model, local) is None


Start = Callable[..., Client]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    begun = []

    def make(model: Recommender, **how: object) -> Client:
        model.save(tmp_path / "model")
        begun.append(Client(create_app(tmp_path / "model", store=f"sqlite:///{tmp_path / 'f.db'}", **how)))
        return begun[-1]

    yield make
    for client in begun:
        client.close()


def rate(ask: Client, user: str, item: str, rating: float) -> None:
    pair = httpx.QueryParams({"user": user, "item": item})
    assert ask("PUT", f"/v1/feedback?{pair}", json={"rating": rating}).status_code == 200


def test_a_new_item_is_recommended_to_others_after_an_update(
    start: Start, plays: Interactions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = EASE(l2=5.0).fit(plays)
    ask = start(model)
    updating = ask.app.context.updating
    for fan in FANS:
        rate(ask, fan, "brand new", 3)
    trained = ask("GET", "/v1/model").json()
    assert (trained["updates"], trained["updated_at"]) == ("exact", None)
    other = "/v1/recommendations?user=user+20&n=30"
    assert "brand new" not in ask("GET", other).text

    async def killed() -> None:
        await updating.start()
        while updating._process is None:
            await asyncio.sleep(0)
        updating._process.kill()
        await updating._task

    ask.loop.run_until_complete(killed())
    assert updating.state.state == "failed"
    assert ask("GET", "/v1/model").json() == trained
    ticks: list[tuple[str, str]] = []

    async def sleep(_: float) -> None:
        ticks.append((ask.app.context.service.serving_model.version, updating.state.message))
        if len(ticks) == 3:
            raise asyncio.CancelledError

    monkeypatch.setattr("bilinear.serving.lifecycle.retraining.asyncio.sleep", sleep)
    with pytest.raises(asyncio.CancelledError):
        ask.loop.run_until_complete(updating.every(60.0))
    monkeypatch.undo()
    assert [version for version, _ in ticks] == [trained["model"], *[updating.state.model] * 2]
    assert ticks[1] == ticks[2]  # without new feedback no process is started
    model.update(Interactions.from_columns(FANS, ["brand new"] * 6, counts=[3.0] * 6))
    wanted = model.recommend("user 20", 30)
    listed = ask("GET", other).json()
    assert "brand new" in list(wanted.items)
    assert [place["item"] for place in listed["items"]] == list(wanted.items)
    np.testing.assert_allclose([place["score"] for place in listed["items"]], wanted.scores, rtol=1e-5)
    now = ask("GET", "/v1/model").json()
    assert now["updated_at"] == updated_at(bilinear.load(tmp_path / "model"))
    assert f"bilinear_model_updated_seconds {now['updated_at']:.15g}" in ask("GET", "/metrics").text
    assert ask("GET", "/v1/recommendations?user=user+3").json()["basis"] == "training"

    # A second update takes the first one's place in the history: the trained model stays the way back.
    rate(ask, "user 30", "brand new", 1)
    service, out = ask.app.context.service, tmp_path / "out"
    live = now["model"]
    order = {"model": str(tmp_path / "model"), "store": f"sqlite:///{tmp_path / 'f.db'}", "out": str(out)}
    made = carry_out(order | {"instead_of": live})
    assert made["message"] == "pairs learned: 1, taken out: 0"
    service.adopt(out, made["content"], live)
    assert ask("GET", "/v1/model").json()["n_earlier"] == 1
    assert ask("POST", "/v1/model/rollback", json={}).json()["model"] == trained["model"]


def test_an_update_of_a_model_that_is_no_longer_live_stays_out(
    start: Start, plays: Interactions, tmp_path: Path
) -> None:
    ask = start(Popularity().fit(plays))
    service = ask.app.context.service
    Popularity(confidence="log").fit(plays).save(tmp_path / "model")
    old = service.serving_model.version
    order = {"model": str(tmp_path / "model"), "store": "sqlite:///none.db", "out": "out", "instead_of": old}
    with pytest.raises(Conflict, match="another model than the one that is live; reload it"):
        carry_out(order)
    ask("POST", "/v1/model/reload", json={})
    with pytest.raises(Conflict, match="another model went live"):
        service.adopt(tmp_path / "model", "", old)


def test_a_model_that_cannot_learn_feedback_is_named_at_the_start(
    start: Start, plays: Interactions, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ask = start(GraphFilter().fit(plays), update_every=60)

    async def run() -> None:
        given = iter([{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}])

        async def receive() -> dict[str, str]:
            await asyncio.sleep(0.05)
            return next(given)

        async def send(_: dict[str, str]) -> None:
            pass

        await ask.app({"type": "lifespan"}, receive, send)

    ask.loop.run_until_complete(run())
    assert "a GraphFilter cannot learn further interactions alone; train it on all" in capsys.readouterr().err
    with pytest.raises(ParameterValueError, match="read-only cannot be updated"):
        create_app(tmp_path / "model", read_only_model=True, update_every=60)
