"""The process that makes a new model from all ratings and feedback, run by `python -m`.

It reads one line of JSON from standard input, writes a model folder, and prints what it measured. It
ends when standard input does: the server that started it is gone.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from collections.abc import Mapping
from copy import copy
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from bilinear.data.interactions import Interactions
from bilinear.data.packed_text import PackedText
from bilinear.data.splits import Split, split_random
from bilinear.data.vocabulary import Vocabulary, by_rules, canonical_integer
from bilinear.errors import BilinearError, EmptyDataError
from bilinear.estimators.baselines import BiasModel, GlobalMean
from bilinear.estimators.measurement import Measurement
from bilinear.estimators.popularity import Popularity
from bilinear.estimators.recommender import Recommender
from bilinear.estimators.update import are_pairs
from bilinear.estimators.with_features import Side as FeatureSide
from bilinear.evaluation.compare import Comparison, compare
from bilinear.evaluation.compare_ratings import RatingComparison, compare_ratings
from bilinear.evaluation.ranking_task import RankingProtocol
from bilinear.persistence.artifact import check_artifact
from bilinear.persistence.models import load
from bilinear.serving.feedback.properties import Put, Reader, read_content
from bilinear.serving.feedback.store import FeedbackStore, Side, open_store
from bilinear.serving.lifecycle.learning import learn_feedback, table_of
from bilinear.serving.lifecycle.model_folder import held_out
from bilinear.serving.problems import Conflict

TEST_SHARE = 0.1
_SIDES: tuple[tuple[Side, FeatureSide], ...] = (("item", "items"), ("user", "users"))


@dataclass(frozen=True)
class Verdict:
    """A held-out score and the worst that may go live; RMSE: smaller is better, nDCG: larger."""

    metric: str
    score: float
    bound: float
    against: str

    @property
    def good_enough(self) -> bool:
        return self.score <= self.bound if self.metric == "rmse" else self.score >= self.bound

    @property
    def message(self) -> str:
        word = "is good enough" if self.good_enough else "is NOT good enough, so the old model stays"
        return f"held-out {self.metric} {self.score:.4f} {word}; bound {self.bound:.4f}, {self.against}"


def with_feedback(base: Interactions | None, url: str) -> Interactions:
    """As `table_with_feedback`, of a store by its address."""
    store = open_store(url, create=False)
    try:
        return table_with_feedback(base, store)
    finally:
        store.close()


def table_with_feedback(base: Interactions | None, store: FeedbackStore) -> Interactions:
    """The ratings of `base`, overlaid with all feedback: of a pair the feedback counts.

    A deletion takes the pair out. Feedback is taken as later than the table, so that times are not compared.
    Raises EmptyDataError: there is neither.
    """
    rows = [row for batch in store.everything() for row in batch]
    users, items, ratings, times = [], [], [], []
    for row in rows:
        if row.rating is not None:
            users.append(row.user)
            items.append(row.item)
            ratings.append(row.rating)
            times.append(row.time)
    source = f"feedback {store.address}"
    if base is None:
        if not users:
            raise EmptyDataError(f"{store.address} holds no ratings yet")
        return Interactions.from_columns(users, items, ratings, times, missing="none", source=source)
    said_by = base.user_vocabulary.encode([row.user for row in rows])
    said_of = base.item_vocabulary.encode([row.item for row in rows])
    kept = base.take(~are_pairs(base.users, base.items, said_by, said_of, base.n_items))
    return table_of(
        _joined(base.user_vocabulary, kept.users, users),
        _joined(base.item_vocabulary, kept.items, items),
        np.concatenate([kept.ratings.astype(np.float64), ratings]),
        None if kept.times is None else np.concatenate([kept.times, times]),
        has_ratings=base.has_ratings,
        weighted=base.weighted,
        ids=base.user_vocabulary.rules,
        source=f"{base.source} with {source}",
    )


def with_properties(model: Recommender, url: str) -> Recommender:
    """The model with the features that were put, of a store by its address; as far as it has such features.

    What is trained next, and has ratings by then, goes by these.
    """
    store = open_store(url, create=False)
    try:
        rows = [row for batch in store.properties() for row in batch if row.content is not None]
    finally:
        store.close()
    reader = Reader(model)
    for side, noun in _SIDES:
        puts = {
            row.id: reader.put(side, row.id, read_content(row.content or ""), strict=False)
            for row in rows
            if row.side == side and reader.knows(side)
        }
        if puts:
            records = {id_: reader.of_features(side, put) for id_, put in puts.items()}
            with_features: Any = model
            model = with_features.with_records(noun, records)
            if side == "item":
                model.item_texts_ = _with_put_texts(model, puts, reader)
    return model


def _with_put_texts(model: Recommender, puts: Mapping[str, Put], reader: Reader) -> dict[str, PackedText]:
    by_row = dict(zip(model.item_rows(list(puts)).tolist(), puts.values(), strict=True))
    texts = {}
    for name, old in model.item_texts_.items():
        changed = {
            row: put.title if name == "title" else "|".join(put.categories(name, reader.separator(name)))
            for row, put in by_row.items()
            if (put.title if name == "title" else name in put.features)
        }
        texts[name] = PackedText.of(changed.get(row, text) for row, text in enumerate(old))
    return texts


def trained_on(model: Recommender) -> Interactions:
    """The table that a model keeps of its training."""
    seen = model.seen_
    users = np.repeat(np.arange(len(seen.indptr) - 1, dtype=np.int32), seen.counts)
    vocabularies = model.user_vocabulary_, model.item_vocabulary_
    return Interactions.from_rows(
        users,
        seen.indices,
        seen.ratings,
        model.seen_times_,
        *vocabularies,
        source=model.source_,
        has_ratings=model.has_ratings_,
        weighted=model.weighted_,
        duplicates="last" if model.has_ratings_ else "sum",
    )


def retrained(
    old: Recommender, table: Interactions, *, max_worse: float, bound: float | None, seed: int = 0
) -> tuple[Recommender, Verdict]:
    """The same kind of model with the same settings on a new table, and whether it may go live.

    A tenth is held out, the model is trained on the rest and scored beside the usual baselines; then it
    is trained on everything. The bound is the one given, or what the live model scored when it was
    made, or, where that was not measured, what the best model without factors scores on the same split;
    `max_worse` is the share by which it may be missed.
    """
    split = split_random(table, TEST_SHARE, seed)
    name, metric = type(old).__name__, "rmse" if old.predicts_ratings else "ndcg@10"
    measured = _measured(old, name, split, seed)
    score, against = _value(measured.scores[name], metric), "as asked"
    if bound is None:
        known, against = (held_out(old) or {}).get(metric), "the live model's own"
        if known is None:
            assert measured.baseline is not None
            known = _value(measured.scores[measured.baseline], metric)
            against = f"that of {measured.baseline} on the same split"
        bound = known * (1 + max_worse) if metric == "rmse" else known * (1 - max_worse)
        against += f" with {max_worse:.0%} to spare"
    verdict = Verdict(metric, score, bound, against)
    if not verdict.good_enough:
        return old, verdict
    model = _again(old, table)
    model.report_ = measured.to_dict() | {
        "trained_on": f"all {table.noun}s",
        "data": table.describe().to_dict(),
        "retrained": {"metric": metric, "score": score, "bound": bound},
    }
    return model, verdict


def main() -> None:
    """Reads the order, makes the model, prints the verdict."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # of the terminal: the server decides, and ends this process
    os.nice(10)  # those who wait for an answer go first
    order = json.loads(sys.stdin.buffer.readline())
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        print(json.dumps(carry_out(order)))
    except (BilinearError, OSError) as error:
        sys.exit(str(error))


def _end_with_parent() -> None:
    # Not sys.stdin: its lock, held by this thread, would stop the interpreter from ending.
    while os.read(sys.stdin.fileno(), 4096):
        pass
    os._exit(1)


def carry_out(order: Mapping[str, Any]) -> dict[str, Any]:
    """Makes the model that was ordered, see `Retraining` and `Updating`; `content` is None if none was."""
    return _update(order) if "instead_of" in order else _retrain(order)


def _update(order: Mapping[str, Any]) -> dict[str, Any]:
    folder, live = Path(order["model"]), order["instead_of"]
    model = load(folder)
    if not check_artifact(folder, verify=False).startswith(live):
        raise Conflict(
            f"{folder} holds another model than the one that is live; reload it", code="other_model"
        )
    store = open_store(order["store"], create=False)
    try:
        message = learn_feedback(model, store)
    finally:
        store.close()
    if message is None:
        return {"content": None, "state": "live", "message": "the model has learned all feedback already"}
    model.save(Path(order["out"]))
    return {"content": check_artifact(Path(order["out"])), "message": message}


def _retrain(order: Mapping[str, Any]) -> dict[str, Any]:
    old = with_properties(load(order["model"]), order["store"])
    table = with_feedback(trained_on(old), order["store"])
    model, verdict = retrained(old, table, max_worse=order["max_worse"], bound=order["bound"])
    if verdict.good_enough:
        model.save(Path(order["out"]))
    return {
        "content": check_artifact(Path(order["out"])) if verdict.good_enough else None,
        "good_enough": verdict.good_enough,
        "message": verdict.message,
        "metric": verdict.metric,
        "score": verdict.score,
        "bound": verdict.bound,
    }


def _again(old: Recommender, table: Interactions) -> Recommender:
    """A model of the same settings on another table; numbers that were searched are kept."""
    return copy(old).retrain(table)


def _measured(old: Recommender, name: str, split: Split, seed: int) -> Measurement:
    """The model and the baselines, trained on one part and scored on the other."""
    threshold = getattr(old, "threshold", None)
    if old.predicts_ratings:
        makers: dict[str, Any] = {"GlobalMean": GlobalMean().fit, "BiasModel": BiasModel(rng=seed).fit}
    else:
        makers = {"Popularity": Popularity(threshold=threshold).fit}
    makers[name] = partial(_again, old)
    models: dict[str, Any] = {}
    seconds = {}
    for each, make in makers.items():
        began = perf_counter()
        models[each] = make(split.train)
        seconds[each] = perf_counter() - began
    comparison: Comparison | RatingComparison
    if old.predicts_ratings:
        comparison = compare_ratings(models, split.test, baseline="BiasModel", rng=seed)
    else:
        comparison = compare(
            models, split, RankingProtocol((10,), threshold), baseline="Popularity", n_threads=1
        )
    return Measurement(split.how, split.train.n_ratings, comparison, seconds)


def _value(scores: Any, metric: str) -> float:
    return float(scores.rmse.value if metric == "rmse" else scores[metric])


def _joined(vocabulary: Vocabulary, rows: Any, more: list[str]) -> list[Any]:
    """Ids of rows, then `more`: whole numbers if all are, else text."""
    ids: list[Any] = vocabulary.decode(rows).tolist()
    more = [by_rules(id_, vocabulary.rules) for id_ in more]
    numbers = [canonical_integer(id_) for id_ in more] if vocabulary.kind == "integer" else [None]
    return [*map(str, ids), *more] if None in numbers else [*ids, *numbers]


if __name__ == "__main__":
    main()
