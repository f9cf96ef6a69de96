"""Ids that look alike are told, and are one where the rules say so; in files, frames and saved models."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from bilinear.data.interactions import Interactions
from bilinear.data.reading.readers import read_any, read_interactions, read_ratings
from bilinear.data.vocabulary import Vocabulary, checked_rules
from bilinear.errors import IdValueError, ParameterValueError
from bilinear.estimators.baselines import BiasModel
from bilinear.persistence.models import load

NFC, NFD = "Am\u00e9lie", "Ame\u0301lie"


def table(users: list[str], items: list[str] | None = None, **given: object) -> Interactions:
    items = items or [f"i{n}" for n in range(len(users))]
    return Interactions.from_columns(users, items, [float(1 + n % 5) for n in range(len(users))], **given)  # type: ignore[arg-type]


def remarks(found: Interactions) -> str:
    return "\n".join(found.notes.remarks)


def test_padded_ids_are_counted_with_those_they_equal() -> None:
    found = table(["u1", "u1 ", "u2", "\tu2", "u3\u00a0", "u4"])
    assert "3 of 6 user ids have blanks around them" in remarks(found)
    assert "2 of them differ from another id by that alone; --ids strip" in remarks(found)
    assert found.n_users == 6


def test_composed_and_decomposed_letters_are_counted() -> None:
    found = table(["x", "y", "z"], [NFC, NFD, "Amelie"])
    assert "1 of 3 item ids have accents in parts" in remarks(found)
    assert "1 of them differ from another id by that alone; --ids nfc" in remarks(found)


@pytest.mark.parametrize("ids", [["u1", "U1", "ü", "日本"], ["a b", "a  b", "a-b"], ["1", "01", "1.0"]])
def test_other_ids_are_not_remarked_upon(ids: list[str]) -> None:
    assert remarks(table(ids)) == ""
    assert table(ids, ids="strip,nfc").user_vocabulary == table(ids).user_vocabulary  # case is never merged


def test_rules_make_them_one() -> None:
    users = ["u1", "u1 ", f" {NFD}", NFC, "u2"]
    found = table(users, ids=["nfc", "strip"])
    assert list(found.user_vocabulary) == sorted(["u1", NFC, "u2"])
    assert remarks(found) == ""
    assert found.user_vocabulary.encode(users).tolist() == [1, 1, 0, 0, 2]
    only = table(users, ids="strip")
    assert only.n_users == 4
    assert "--ids nfc" in remarks(only)


def test_pairs_that_become_equal_are_merged() -> None:
    found = table(["u1", "u1 ", "u2"], ["a", "a", "b"], ids="strip")
    assert found.n_ratings == 2
    assert found.n_duplicates == 1
    assert found.ratings.tolist() == [2.0, 3.0]


def test_a_stripped_file_is_read_as_a_clean_one(tmp_path: Path) -> None:
    (tmp_path / "padded.csv").write_text("user,item,rating\n1 ,a,3\n 2,b ,4\n10,a,5\n")
    (tmp_path / "clean.csv").write_text("user,item,rating\n1,a,3\n2,b,4\n10,a,5\n")
    padded, clean = read_ratings(tmp_path / "padded.csv", ids="strip"), read_ratings(tmp_path / "clean.csv")
    assert padded.user_vocabulary == clean.user_vocabulary
    assert padded.user_vocabulary.kind == "integer"
    assert padded.item_vocabulary == clean.item_vocabulary
    assert padded.users.tolist() == clean.users.tolist()
    assert "blanks around them" in str(read_ratings(tmp_path / "padded.csv").describe())


def test_frames_clicks_and_item_lists_follow_the_rules(tmp_path: Path) -> None:
    frame = pd.DataFrame({"user": ["u ", "u", "v"], "item": ["a", "b", "b"]})
    assert read_interactions(frame, ids="strip").n_users == 2
    (tmp_path / "clicks.csv").write_text("user,item\nu ,a\nu,b\nv,b\n")
    assert read_any(tmp_path / "clicks.csv", ids="strip").n_users == 2


def test_an_id_of_blanks_alone_is_missing(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text('user,item,rating\nu,a,1\n"  ",b,2\n')
    assert read_ratings(tmp_path / "t.csv").n_users == 2
    with pytest.raises(IdValueError, match=r"row 2: the user is missing"):
        read_ratings(tmp_path / "t.csv", ids="strip")


def test_a_saved_model_knows_its_rules(tmp_path: Path) -> None:
    users = ["u1", "u1 ", "u2", "u2"]
    model = BiasModel().fit(table(users, ["a", "b ", "a", "b"], ids="strip"))
    model.save(tmp_path / "model")
    again = load(tmp_path / "model")
    for one in (model, again):
        assert one.user_vocabulary_.rules == ("strip",)
        predicted = one.predict([" u1", "u1"], ["b", "b\t"])
        assert not predicted.unknown_user.any()
        assert predicted.values[0] == predicted.values[1]
        assert len(one.recommend("u2 ", candidates=[" a"], exclude_seen=False)) == 1
    apart = BiasModel().fit(table(users, ["a", "b ", "a", "b"]))
    assert apart.predict([" u1"], ["a"]).unknown_user.all()


def test_rules_as_they_may_be_given() -> None:
    assert checked_rules(None) == checked_rules(()) == ()
    assert checked_rules("NFC, strip") == checked_rules(["strip", "nfc"]) == ("strip", "nfc")
    for wrong in ("lower", "strip,", 7, ["strip", None]):
        with pytest.raises(ParameterValueError, match="'strip,nfc'"):
            checked_rules(wrong)


def test_integers_need_no_rules_and_keep_them() -> None:
    found = Vocabulary.from_tensors(Vocabulary.from_ids([1, 2]).tensors(), ("strip",))
    assert found.encode([" 1", "2 ", "3"]).tolist() == [0, 1, -1]


def test_every_blank_that_is_stripped_is_looked_for() -> None:
    blanks = [chr(code) for code in range(0x110000) if chr(code).isspace()]
    for blank in blanks:
        assert "1 of 2 user ids have blanks around them" in remarks(table([f"日本{blank}", "日本"])), ascii(
            blank
        )
