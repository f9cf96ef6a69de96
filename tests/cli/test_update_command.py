"""bilinear update: a saved model learns further rows, and is replaced or written elsewhere."""

from __future__ import annotations

import json
from pathlib import Path

from command_line import Run

import bilinear
from bilinear import BiasModel, GraphFilter, Popularity, read_interactions, read_ratings
from bilinear.serving import ModelFolder
from bilinear.serving.answers.serving_model import ServingModel


def table(path: Path, rows: str, header: str = "user,item,rating") -> Path:
    path.write_text("\n".join([header, *rows.split()]) + "\n")
    return path


RATINGS = "1,1,5 1,2,3 2,1,4 2,3,2 3,2,1 3,3,5"
FURTHER = "4,9,5 4,1,4 1,2,1"


def saved(tmp_path: Path) -> Path:
    BiasModel(l2_biases=0.5).fit(read_ratings(table(tmp_path / "r.csv", RATINGS))).save(tmp_path / "model")
    return tmp_path / "model"


def test_the_model_is_replaced_by_one_that_has_learned(run: Run, tmp_path: Path) -> None:
    model = saved(tmp_path)
    ran = run("update", model, table(tmp_path / "new.csv", FURTHER), "--json")
    assert ran.code == 0
    found = json.loads(ran.out)
    assert (found["n_interactions"], found["n_new_users"], found["n_new_items"]) == (3, 1, 1)
    whole = BiasModel(l2_biases=0.5).fit(read_ratings(table(tmp_path / "all.csv", f"{RATINGS} {FURTHER}")))
    updated = bilinear.load(model)
    assert updated.predict([1, 4], [2, 3]).values.tolist() == whole.predict([1, 4], [2, 3]).values.tolist()


def test_out_leaves_the_model_as_it_was(run: Run, tmp_path: Path) -> None:
    model = saved(tmp_path)
    ran = run("update", model, table(tmp_path / "new.csv", FURTHER), "--out", tmp_path / "other")
    assert "has learned 3 further ratings: 1 new users, 1 new items" in ran.out
    assert 9 not in bilinear.load(model).item_vocabulary_
    assert 9 in bilinear.load(tmp_path / "other").item_vocabulary_


def test_clicks_are_read_as_the_model_was_trained(run: Run, tmp_path: Path) -> None:
    clicks = table(tmp_path / "c.csv", "1,1 1,2 2,1 3,2", "user,item")
    Popularity().fit(read_interactions(clicks)).save(tmp_path / "model")
    assert run("update", tmp_path / "model", table(tmp_path / "new.csv", "2,7", "user,item")).code == 0
    assert 7 in bilinear.load(tmp_path / "model").item_vocabulary_


def test_what_cannot_be_learned_leaves_the_folder_as_it_was(run: Run, tmp_path: Path) -> None:
    model = saved(tmp_path)
    before = (model / "model.json").read_bytes()
    for rows, message in (("1,2,99", "outside the model's range"), ("ann,2,3", "is not an integer")):
        ran = run("update", model, table(tmp_path / "bad.csv", rows))
        assert ran.code == 2
        assert message in ran.err
    assert run("update", model, tmp_path / "nothing.csv").code == 2
    assert (model / "model.json").read_bytes() == before
    clicks = table(tmp_path / "c.csv", "1,1 1,2 2,1 3,2", "user,item")
    GraphFilter().fit(read_interactions(clicks)).save(tmp_path / "graph")
    ran = run("update", tmp_path / "graph", clicks)
    assert ran.code == 2
    assert "a GraphFilter cannot learn further interactions alone" in ran.err


def test_a_server_has_the_new_item_after_a_reload(run: Run, tmp_path: Path) -> None:
    model = saved(tmp_path)
    folder = ModelFolder(model)
    folder.lock()
    try:
        before, first = folder.load()
        assert run("update", model, table(tmp_path / "new.csv", FURTHER)).code == 0
        assert folder.condition(first) == "replaced"
        after, second = folder.load()
    finally:
        folder.close()
    assert first != second
    assert 9 not in before.item_vocabulary_
    served = ServingModel(after, second)
    rows, _ = served.rank([(served.session([("1", 5.0)])[0], 10, True, None)])[0]
    assert after.item_rows([9])[0] in rows
