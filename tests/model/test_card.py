"""The model card: in every saved folder, true to the model, and in nobody's way."""

from __future__ import annotations

from pathlib import Path

import pytest

import bilinear
from bilinear.persistence.artifact import CARD_FILE, copy_artifact
from bilinear.persistence.card import MARK, markdown_table, model_card

TABLE = bilinear.synthetic_ratings(40, 30, 500, rng=0)


def card(folder: Path) -> str:
    return (folder / CARD_FILE).read_text(encoding="utf-8")


@pytest.fixture
def measured(tmp_path: Path) -> Path:
    """A folder with a model and its scores."""
    split = bilinear.split_random(TABLE, rng=0)
    found = bilinear.measure({"biases": bilinear.BiasModel(l2_biases=1.0)}, split)
    model = bilinear.BiasModel(l2_biases=1.0).fit(TABLE)
    model.report_ = found.to_dict()
    model.save(tmp_path / "model")
    return tmp_path / "model"


def test_a_card_has_data_scores_with_intervals_and_intended_use(measured: Path) -> None:
    text = card(measured)
    rmse = bilinear.load(measured).report_["scores"]["biases"]["rmse"]
    assert "# BiasModel" in text
    assert "500 ratings of 40 users and 30 items" in text
    assert f"| {rmse['value']:.4f} [{rmse['low']:.4f}, {rmse['high']:.4f}] |" in text
    assert "## Intended use" in text


def test_metrics_of_rankings_are_shown_too(tmp_path: Path) -> None:
    split = bilinear.split_random(TABLE, rng=0)
    model = bilinear.Popularity().fit(split.train)
    found = bilinear.measure({"popular": bilinear.Popularity()}, split, task="ranking")
    model.report_ = found.to_dict()
    model.save(tmp_path / "model")
    assert str(found.scores["popular"].means["recall@10"]) in card(tmp_path / "model")


def test_loading_does_not_look_at_the_card_and_the_model_has_the_same_bits(measured: Path) -> None:
    before = (measured / "model.json").read_bytes()
    (measured / CARD_FILE).write_bytes(MARK.encode() + b"\xff not text")
    bilinear.load(measured)
    (measured / CARD_FILE).unlink()
    bilinear.load(measured).save(measured)
    assert (measured / "model.json").read_bytes() == before
    assert card(measured).startswith(MARK)


def test_a_readme_of_ones_own_is_kept(measured: Path) -> None:
    (measured / CARD_FILE).write_text("mine")
    bilinear.Popularity().fit(TABLE).save(measured)
    assert card(measured) == "mine"
    assert type(bilinear.load(measured)).__name__ == "Popularity"


def test_a_card_goes_with_its_model(measured: Path, tmp_path: Path) -> None:
    bilinear.Popularity().fit(TABLE).save(tmp_path / "other")
    copy_artifact(measured, tmp_path / "other")
    assert card(tmp_path / "other") == card(measured)
    (measured / CARD_FILE).unlink()
    copy_artifact(measured, tmp_path / "other")
    assert not (tmp_path / "other" / CARD_FILE).exists()


def test_names_cannot_break_out_of_the_card() -> None:
    told = {"estimator": "EASE", "n_users": 1, "n_items": 1, "n_ratings": 1, "source": "a`\n# b"}
    assert "`a' # b`" in model_card(told)
    assert markdown_table([["a|b", "c"], ["d", "e"]]) == ["| a\\|b | c |", "| --- | ---: |", "| d | e |"]
