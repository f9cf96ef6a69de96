"""Items and users put by their features: placed as by `new_items` and `new_users`, kept, live at once."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from test_http import Client

import bilinear
import bilinear.serving.messages as m
from bilinear import Items, Vocabulary
from bilinear.data.interactions import Interactions
from bilinear.serving import create_app
from bilinear.serving.answers.service import Service
from bilinear.serving.answers.serving_model import ServingModel
from bilinear.serving.feedback.store import (
    Feedback,
    FeedbackStore,
    Mark,
    Properties,
    StampedProperties,
    open_store,
)
from bilinear.serving.lifecycle.model_folder import ModelFolder
from bilinear.serving.lifecycle.retrain_process import carry_out
from bilinear.serving.problems import Conflict, Refused


@pytest.fixture
def model(featured_model: bilinear.MatrixFactorization) -> bilinear.MatrixFactorization:
    return featured_model


@pytest.fixture
def folder(model: bilinear.MatrixFactorization, tmp_path: Path) -> Path:
    model.save(tmp_path / "model")
    return tmp_path / "model"


@pytest.fixture
def service(folder: Path, tmp_path: Path) -> Iterator[Service]:
    made = Service(ModelFolder(folder), open_store(f"sqlite:///{tmp_path / 'f.db'}"))
    yield made
    made.store.close()
    made.models.close()


@pytest.fixture
def ask(folder: Path, tmp_path: Path) -> Iterator[Client]:
    client = Client(create_app(folder, store=f"sqlite:///{tmp_path / 'f.db'}"))
    yield client
    client.close()


def put(
    service: Service, side: Any, id_: str, title: str | None = None, **features: Any
) -> m.PropertiesRecord:
    row = service.properties_row(side, id_, m.Content(title, features))
    (moment,) = service.store.write_properties([row])
    assert moment is not None
    row = row._replace(time=moment)
    service.apply([row])
    return service.properties_record(row, stored=True)


NEW = {"new/1": ("War", 1999), "new 2": ("Drama", 1985), "nü 3": ("Comedy|War", 2007)}


def wider(model: Any) -> Any:
    columns = {
        "title": list(NEW),
        "genres": [genres for genres, _ in NEW.values()],
        "year": [year for _, year in NEW.values()],
    }
    order = np.argsort(list(NEW))
    return model.new_items(
        Items(
            Vocabulary.from_ids(list(NEW)),
            {name: [values[at] for at in order] for name, values in columns.items()},
            title_column="title",
            genre_column="genres",
        )
    )


def put_all(service: Service) -> None:
    for id_, (genres, year) in NEW.items():
        put(service, "item", id_, genres=genres, year=year)


def assert_same(ours: dict[str, float], theirs: Any) -> None:
    """The same items with the same scores, best first, but for the order of equal ones."""
    expected = dict(zip(theirs.items, theirs.scores.tolist(), strict=True))
    assert ours.keys() == expected.keys()
    np.testing.assert_allclose(list(ours.values()), list(expected.values()), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose([ours[one] for one in expected], list(expected.values()), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", ["MatrixFactorization", "ImplicitALS", "BiasModel"])
def test_items_that_were_put_are_placed_as_by_new_items(
    kind: str, model: Any, table: Interactions, films: Items, tmp_path: Path
) -> None:
    if kind == "ImplicitALS":
        model = bilinear.ImplicitALS(n_factors=3, n_epochs=3, rng=0, item_features=["genres", "year"])
        model.fit(table, items=films)
    if kind == "BiasModel":
        model = bilinear.BiasModel(item_features=["genres", "year"], rng=0).fit(table, items=films)
    model.save(tmp_path / "m")
    service = Service(ModelFolder(tmp_path / "m"), open_store(f"sqlite:///{tmp_path / 'g.db'}"))
    put_all(service)
    expected = wider(model)
    for user in ("user 0", "user 7", "nobody"):
        for new in ("mixed", "only", "none"):
            ours = service.recommend(m.RecommendBody(user, n=50, new=new))
            theirs = expected.recommend([user], 50, unknown="non-personal", new=new).lists[0]
            assert_same({one.item: one.score for one in ours.items}, theirs)
            assert {one.item for one in ours.items if one.new} == ({*NEW} if new != "none" else set())
    if kind != "BiasModel":
        for item in ("new/1", "item/3 ü"):
            ours_similar = service.similar(m.SimilarQuery(item, n=40))
            assert_same({one.item: one.similarity for one in ours_similar.items}, expected.similar(item, 40))
    service.store.write([service.feedback_row("me", "item/3 ü", 5.0, None)])
    why = service.explain(m.ExplainQuery("me", "nü 3", n=9))
    (scored,) = service.predict(m.PredictBody([m.Pair("me", "nü 3")])).predictions
    parts = sum(one.contribution for one in why.contributions) + why.others + why.rest
    assert why.score == pytest.approx(why.global_mean + why.item_bias + parts, abs=1e-9)
    assert why.score == pytest.approx(scored.score)
    assert abs(why.rest) < 1e-5
    assert scored.known_item
    service.store.close()
    service.models.close()


@pytest.mark.parametrize("min_support", [0, 1, 12, 10_000])
def test_items_that_were_put_are_behind_those_with_enough_support(
    min_support: int, service: Service, model: Any
) -> None:
    model.min_support_ = min_support
    service.serving_model = ServingModel(model, "some")
    put_all(service)
    expected = wider(model)
    assert expected.min_support_ == min_support
    enough = {
        item
        for item, is_there in zip(expected.item_vocabulary_, expected.supported(), strict=True)
        if is_there
    }
    for n in (5, 30, 50):
        ours = service.recommend(m.RecommendBody("nobody", n=n))
        theirs = expected.recommend(["nobody"], n, unknown="non-personal").lists[0]
        assert_same({one.item: one.score for one in ours.items}, theirs)
        support = [one.item in enough for one in ours.items]
        assert support == sorted(support, reverse=True)
    assert {*NEW} <= {one.item for one in ours.items}
    service.apply([service.properties_row("item", id_, None) for id_ in NEW])
    assert not {*NEW} & {one.item for one in service.recommend(m.RecommendBody("nobody", n=50)).items}


def test_json_of_a_list_with_what_was_put_is_that_of_its_message(service: Service) -> None:
    def check() -> set[str]:
        for user in ("user 7", "nobody"):
            plan = service.plan(m.RecommendBody(user, n=50, exclude_seen=False), [])
            (ranked,) = plan.serving_model.rank([plan.query])
            message = service.recommended(plan, ranked)
            assert service.recommended_json(plan, ranked) == msgspec.json.encode(message)
        return {one.title for one in message.items}

    before = check()
    put(service, "item", "item/3 ü", '"score":0.0,"prediction":null', genres="War")
    put_all(service)
    assert check() >= {'"score":0.0,"prediction":null', *NEW}
    service.apply([service.properties_row("item", id_, None) for id_ in ("item/3 ü", *NEW)])
    assert check() == before


def test_users_that_were_put_are_answered_from_their_features(service: Service, model: Any) -> None:
    put(service, "user", "fresh", job="a")
    before = service.recommend(m.RecommendBody("fresh", n=9))
    expected = model.fold_in([], [], features={"job": "a"}).recommend(9)
    assert (before.basis, before.personal) == ("features", True)
    assert [one.item for one in before.items] == list(expected.items)
    service.store.write([service.feedback_row("fresh", "item/3 ü", 5.0, None)])
    after = service.recommend(m.RecommendBody("fresh", n=9))
    expected = model.fold_in(["item/3 ü"], [5.0], features={"job": "a"}).recommend(9)
    assert after.basis == "feedback"
    assert [one.item for one in after.items] == list(expected.items)
    assert service.user(m.UserQuery("fresh")).features == {"job": "a"}
    put(service, "user", "fresh", job="b")  # a fold-in that was kept is not kept against this
    expected = model.fold_in(["item/3 ü"], [5.0], features={"job": "b"}).recommend(9)
    scores = [one.score for one in service.recommend(m.RecommendBody("fresh", n=9)).items]
    np.testing.assert_allclose(scores, expected.scores, rtol=1e-5)


def test_a_trained_item_keeps_its_row_and_takes_title_and_columns(service: Service) -> None:
    before = service.recommend(m.RecommendBody("nobody", n=30))
    answer = put(service, "item", "item/3 ü", "Another name", genres="Western")
    assert (answer.trained, answer.missing, answer.ignored) == (True, ["year"], {"genres": ["Western"]})
    after = service.recommend(m.RecommendBody("nobody", n=30))
    assert [(one.item, one.score) for one in before.items] == [(one.item, one.score) for one in after.items]
    record = service.item(m.ItemQuery("item/3 ü"))
    assert (record.title, record.categories, record.new) == ("Another name", ["Western"], False)
    assert record.n_ratings > 0
    assert [one.item for one in service.search(m.SearchQuery("another")).items] == ["item/3 ü"]
    assert "item/3 ü" not in [one.item for one in service.search(m.SearchQuery("film", n=40)).items]
    listed = service.recommend(m.RecommendBody("nobody", filters={"genres": ["Western"]}))
    assert [one.item for one in listed.items] == ["item/3 ü"]
    counts = {one.category: one.n_items for one in service.categories(m.Nothing()).categories}
    for name, n_items in counts.items():
        listed = service.recommend(m.RecommendBody("nobody", n=60, categories=[name]))
        assert n_items == len(listed.items) == sum(name in one.categories for one in after_all(service))
    assert counts["Western"] == 1


def after_all(service: Service) -> list[m.RankedItem]:
    return service.recommend(m.RecommendBody("nobody", n=60)).items


def test_an_item_of_the_model_without_ratings_is_listed_once_by_what_was_put(
    model: Any, tmp_path: Path
) -> None:
    wider(model).save(tmp_path / "w")
    service = Service(ModelFolder(tmp_path / "w"), open_store(f"sqlite:///{tmp_path / 'h.db'}"))
    put(service, "item", "new/1", "Put", genres="Comedy", year=1990)
    items = service.recommend(m.RecommendBody("nobody", n=60)).items
    assert len({one.item for one in items}) == len(items) == 33
    (score,) = [one.score for one in items if one.item == "new/1"]
    weights = model.features_.items.rows_of([{"genres": "Comedy", "year": 1990}])[0][0]
    assert score == pytest.approx(model.parameters_.global_mean + weights[0], abs=1e-5)
    assert [one.item for one in service.search(m.SearchQuery("put")).items] == ["new/1"]
    row = service.properties_row("item", "new/1", None)
    service.apply([row])
    assert len(service.recommend(m.RecommendBody("nobody", n=60)).items) == 33
    service.store.close()
    service.models.close()


def test_filters_are_those_of_a_scan(service: Service, films: Items) -> None:
    put_all(service)
    known = {str(item): films.row(item) for item in films.vocabulary}
    known |= {id_: {"genres": genres, "year": year} for id_, (genres, year) in NEW.items()}
    for filters, keep in [
        ({"genres": ["War"]}, lambda row: "War" in row["genres"]),
        ({"genres": ["War", "Short"]}, lambda row: "War" in row["genres"] or "Short" in row["genres"]),
        ({"year": ["1990..1999"]}, lambda row: 1990 <= row["year"] <= 1999),
        ({"year": ["..1985", "2007"]}, lambda row: row["year"] <= 1985 or row["year"] == 2007),
        (
            {"year": ["1985"], "genres": ["Drama"]},
            lambda row: row["year"] == 1985 and "Drama" in row["genres"],
        ),
        ({"year": ["2050.."]}, lambda row: False),
    ]:
        answer = service.recommend(m.RecommendBody("nobody", n=60, filters=filters))
        assert {one.item for one in answer.items} == {id_ for id_, row in known.items() if keep(row)}, filters
    with pytest.raises(Refused, match="columns: 'title', 'genres', 'year'"):
        service.recommend(m.RecommendBody("nobody", filters={"gernes": ["War"]}))
    with pytest.raises(Refused, match="no item has 'Wr'"):
        service.recommend(m.RecommendBody("nobody", filters={"genres": ["Wr"]}))


def test_over_http_it_is_live_at_once_and_can_be_taken_back(ask: Client) -> None:
    body = {"title": "Brand new", "features": {"genres": ["War", "Unheard"], "year": None}}
    for _ in range(2):
        answer = ask("PUT", "/v1/item?item=new%2F1", json=body)
        assert answer.status_code == 200, answer.text
    said = answer.json()
    assert (said["missing"], said["ignored"], said["trained"]) == (["year"], {"genres": ["Unheard"]}, False)
    found = ask("GET", "/v1/recommendations?user=me&n=50&genres=War&new=only").json()["items"]
    assert [(one["item"], one["title"], one["new"]) for one in found] == [("new/1", "Brand new", True)]
    assert ask("GET", "/v1/search?q=brand").json()["items"][0]["item"] == "new/1"
    record = ask("GET", "/v1/item?item=new%2F1").json()
    assert (record["new"], record["n_ratings"], record["features"]["genres"]) == (True, 0, ["War", "Unheard"])
    drawn = ask("GET", "/v1/map").json()
    assert (drawn["n_new"], drawn["items"][-1], drawn["n_ratings"][-1]) == (1, "new/1", 0)
    assert ask("GET", "/v1/model").json()["n_new_items"] == 1
    columns = ask("GET", "/v1/columns").json()
    assert [(one["column"], one["kind"]) for one in columns["items"]] == [
        ("genres", "categories"),
        ("year", "number"),
    ]
    assert columns["users"][0]["column"] == "job"
    ask("PUT", "/v1/feedback?user=me&item=new%2F1", json={"rating": 5})  # seen: not listed again
    assert ask("GET", "/v1/recommendations?user=me&new=only").json()["items"] == []
    for _ in range(2):
        assert ask("DELETE", "/v1/item?item=new%2F1").json()["features"] is None
    assert ask("GET", "/v1/item?item=new%2F1").status_code == 404
    assert ask("GET", "/v1/recommendations?user=me&new=only").json()["items"] == []


@pytest.mark.parametrize(
    ("path", "body", "status", "says"),
    [
        ("item?item=x", {"features": {"gernes": "War"}}, 422, "'genres', 'year'. Did you mean 'genres'?"),
        ("item?item=x", {"features": {"genres": "x" * 10_001}}, 400, "length <= 10000"),
        ("item?item=x", {"features": {"genres": ["x" * 9000] * 8}}, 413, "characters of properties"),
        ("item?item=x", {"features": {f"c{n}": 1 for n in range(101)}}, 400, "length <= 100"),
        ("item?item=x", {"features": {"genres": {"a": 1}}}, 400, "features"),
        ("item?item=x", {"name": "x"}, 400, "unknown field"),
        ("item?item=", {}, 400, "length >= 1"),
        ("user?user=x", {"features": {"genres": "War"}}, 422, "the model knows 'job'"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(
    ask: Client, path: str, body: Any, status: int, says: str
) -> None:
    answer = ask("PUT", f"/v1/{path}", json=body)
    assert answer.status_code == status, answer.text
    assert says in answer.json()["error"]["message"]
    assert ask("GET", "/v1/properties/export").text == ""


def test_a_model_without_features_refuses(model_folder: Path, tmp_path: Path) -> None:
    service = Service(ModelFolder(model_folder), open_store(f"sqlite:///{tmp_path / 'f.db'}"))
    with pytest.raises(Conflict, match="--items and --item-features"):
        service.properties_row("item", "x", m.Content())
    service.store.write_properties([Properties("item", "x", '{"features":{"genres":"War"}}', 1.0)])
    service.refresh()  # stored under another model: it waits there
    assert not service.serving_model.additions.fresh
    service.store.close()
    service.models.close()


def test_it_is_kept_over_restarts_swaps_and_servers(folder: Path, service: Service, tmp_path: Path) -> None:
    put_all(service)
    other = Service(ModelFolder(folder, read_only=True), open_store(f"sqlite:///{tmp_path / 'f.db'}"))
    only = m.RecommendBody("nobody", new="only")
    expected = service.recommend(only)
    assert {one.item for one in expected.items} == {*NEW}
    assert other.recommend(only) == expected
    put(service, "item", "later", genres="War")
    other.refresh()
    assert len(other.recommend(only).items) == 4
    service.reload(m.Nothing())
    assert len(service.recommend(only).items) == 4
    other.store.close()


def test_what_is_put_during_a_swap_is_live_after_it(service: Service) -> None:
    made = service._beside(*service.models.load())
    put(service, "item", "meanwhile", genres="War")
    service._go_live(made)
    assert [one.item for one in service.recommend(m.RecommendBody("me", new="only")).items] == ["meanwhile"]


def test_retraining_learns_from_them_once_they_have_ratings(
    service: Service, folder: Path, tmp_path: Path
) -> None:
    put_all(service)
    put(service, "item", "item/3 ü", "Retitled", genres="Comedy", year=1950)
    put(service, "user", "user 1", job="b")
    service.store.write(
        [Feedback(f"user {n}", "new/1", 5.0, float(n)) for n in range(20)]
        + [Feedback("user 1", "item/3 ü", 5.0, 1.0)]
    )
    order = {"model": str(folder), "store": service.store.address, "out": str(tmp_path / "out")}
    made = carry_out({**order, "max_worse": 1.0, "bound": 9.0})
    assert made["good_enough"], made
    trained = bilinear.load(tmp_path / "out")
    blocks = trained.features_.items
    row = trained.item_vocabulary_.row("new/1")
    expected = blocks.encoder.encode_records([{"genres": "War", "year": 1999}]).blocks
    for block, one in zip(blocks.blocks, expected, strict=True):
        np.testing.assert_array_equal(block.matrix()[[row]].toarray(), one.matrix().toarray())
    assert trained.item_has_ratings(np.array([row]))[0]
    assert trained.title("item/3 ü") == "Retitled"
    assert trained.item_texts_["year"][trained.item_vocabulary_.row("item/3 ü")] == "1950"
    service.adopt(tmp_path / "out")
    assert {one.item for one in service.recommend(m.RecommendBody("me", new="only")).items} == {
        "new 2",
        "nü 3",
    }
    assert service.item(m.ItemQuery("new/1")).n_ratings == 20


def test_stores_keep_properties_by_the_rules_of_feedback(store: FeedbackStore, store_url: str) -> None:
    assert store.properties_mark() == Mark(0, 0.0)
    first = Properties("item", "a/b ü", "{}", 10.0)
    assert store.write_properties([first, Properties("user", "a/b ü", "{}", 5.0)]) == [10.0, 5.0]
    mark = store.properties_mark()
    assert store.write_properties([first._replace(content='{"title":"late"}', time=9.0)]) == [None]
    assert store.properties_mark() == mark
    (moment,) = store.write_properties([StampedProperties("item", "a/b ü", None, 1.0)])
    assert moment is not None
    assert moment > 10.0
    assert store.properties_mark() != mark
    other = open_store(store_url)
    rows = [row for batch in other.properties() for row in batch]
    assert rows == [Properties("item", "a/b ü", None, moment), Properties("user", "a/b ü", "{}", 5.0)]
    assert not list(other.everything()) or [row for batch in other.everything() for row in batch] == []
    other.close()


def test_an_export_can_be_imported(ask: Client, folder: Path, tmp_path: Path) -> None:
    lines = [
        {
            "side": "item",
            "id": "new/1",
            "title": "T",
            "features": {"genres": ["War"], "year": 1999},
            "time": 5.0,
        },
        {"side": "user", "id": "u", "features": {"job": "a"}},
        {"side": "item", "id": "gone", "features": None},
    ]
    text = "\n".join(map(json.dumps, lines))
    kind = {"content-type": "application/x-ndjson"}
    answer = ask("POST", "/v1/properties/import", content=text, headers=kind)
    assert answer.json() == {"n_rows": 3}
    assert len(ask("GET", "/v1/recommendations?user=u&new=only").json()["items"]) == 1
    exported = ask("GET", "/v1/properties/export").text
    assert [json.loads(line)["id"] for line in exported.splitlines()] == ["new/1", "u"]
    assert len(ask("GET", "/v1/properties/export?deleted=true").text.splitlines()) == 3
    wrong = text + '\n{"side": "item", "id": "z", "features": {"colour": "red"}}'
    refused = ask("POST", "/v1/properties/import", content=wrong, headers=kind)
    assert refused.status_code == 422
    assert "line 4: item 'z': unknown feature 'colour'" in refused.json()["error"]["message"]
    other = Client(create_app(folder, store=f"sqlite:///{tmp_path / 'o.db'}", read_only_model=True))
    assert other("POST", "/v1/properties/import", content=exported, headers=kind).json() == {"n_rows": 2}
    assert other("GET", "/v1/properties/export").text == exported
    other.close()
