"""An instrument is one class in one file: a toy of a temporary module is in every form of the report."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
from problems import planted_table

import bilinear
from bilinear import lab
from bilinear.cli import main
from bilinear.data.interactions import Interactions
from bilinear.errors import ParameterValueError
from bilinear.inspection.charts import bars
from bilinear.lab.reporting.instrument import REGISTRY
from bilinear.registry import PLUGINS

TOY = '''
from bilinear import lab
from bilinear.inspection.charts import bars


@lab.register
class MeanResidual(lab.Instrument):
    """The mean of prediction minus rating on the training ratings."""

    name = "mean-residual"
    question = "Are its predictions too high?"

    def measure(self, context):
        table = context.train
        residual = float((context.model.predict_rows(table.users, table.items) - table.ratings).mean())
        return self.section(
            f"On average by {residual:.6f}.",
            "nothing",
            {"mean_residual": residual},
            [("mean residual", f"{residual:.6f}")],
            picture=bars({"residual": residual}, "Mean residual <toy>", "{:.6f}"),
            measured=residual,
        )
'''


@pytest.fixture(scope="module")
def table() -> Interactions:
    return planted_table(20, 15, seed=5)


@pytest.fixture(scope="module")
def model(table: Interactions) -> bilinear.BiasModel:
    return bilinear.BiasModel(l2_biases=0.5).fit(table)


@pytest.fixture
def toy_folder(tmp_path: Path) -> Iterator[Path]:
    """A folder with the module `toy_lab`, which is not imported yet."""
    (tmp_path / "toy_lab.py").write_text(TOY)
    yield tmp_path
    REGISTRY.discard("mean-residual")
    sys.modules.pop("toy_lab", None)


@pytest.fixture
def toy(toy_folder: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(toy_folder)
    return __import__("toy_lab")


def residual_of(model: bilinear.BiasModel, table: Interactions) -> float:
    return float((model.predict_rows(table.users, table.items) - table.ratings).mean())


def test_a_toy_instrument_is_in_the_list_text_json_and_page(
    toy: ModuleType, model: bilinear.BiasModel, table: Interactions, tmp_path: Path
) -> None:
    assert lab.instruments()[-1] == "mean-residual"
    found = lab.report(model, table)
    assert [section.name for section in found.sections] == list(lab.instruments())
    expected = residual_of(model, table)
    assert found["mean-residual"].measured == expected
    assert f"Are its predictions too high?\n  On average by {expected:.6f}." in str(found)
    stored = json.loads(json.dumps(found.to_dict()))["sections"][-1]
    assert stored["name"] == "mean-residual"
    assert stored["evidence"] == {"mean_residual": expected}
    found.to_html(tmp_path / "lab.html")
    page = (tmp_path / "lab.html").read_text(encoding="utf-8")
    assert "Are its predictions too high?" in page
    assert "Mean residual &lt;toy&gt;" in page


def test_a_report_of_one_instrument_begins_with_it(
    toy: ModuleType, model: bilinear.BiasModel, table: Interactions
) -> None:
    said: list[str] = []
    found = lab.report(model, table, only=["mean-residual"], on_progress=said.append)
    assert len(found.sections) == 1
    assert found.headline == f"On average by {residual_of(model, table):.6f}."
    assert found.verdict is None
    assert said == ["mean-residual: Are its predictions too high?"]


def test_the_command_imports_a_module_and_runs_its_instrument_alone(
    toy_folder: Path,
    model: bilinear.BiasModel,
    table: Interactions,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(toy_folder)
    model.save("model")
    rows = zip(table.users.tolist(), table.items.tolist(), table.ratings.tolist(), strict=True)
    users, items = list(table.user_vocabulary), list(table.item_vocabulary)
    lines = [f"{users[user]},{items[item]},{rating!r}" for user, item, rating in rows]
    Path("ratings.csv").write_text("user,item,rating\n" + "\n".join(lines) + "\n")
    monkeypatch.setenv(PLUGINS, "")  # which the command adds to
    asked = [
        "--plugin",
        "toy_lab",
        "lab",
        "model",
        "ratings.csv",
        "--only",
        "mean-residual",
        "--json",
        "--quiet",
    ]
    monkeypatch.setattr(sys, "argv", ["bilinear", *asked])
    with pytest.raises(SystemExit) as left:
        main()
    out = capsys.readouterr()
    assert not left.value.code, out.err
    sections = json.loads(out.out)["sections"]
    assert [section["name"] for section in sections] == ["mean-residual"]
    assert sections[0]["evidence"]["mean_residual"] == pytest.approx(residual_of(model, table), abs=1e-6)


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        (["lab", "report", "--help"], lab.instruments()),
        (["lab", "race", "--help"], ["row-adagrad", "warm-restarts", "running-mean"]),
    ],
)
def test_help_lists_what_is_registered(
    asked: list[str], words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["bilinear", *asked])
    with pytest.raises(SystemExit):
        main()
    shown = "".join(capsys.readouterr().out.split())  # lines may break at hyphens
    for word in words:
        assert word in shown
    assert "<" not in shown.replace("<path>", "").partition("Names:")[2].partition("[")[0].split(".")[0]


def test_unknown_instruments_and_modules_are_refused(
    model: bilinear.BiasModel,
    table: Interactions,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(ParameterValueError, match="unknown instrument 'linarity'; did you mean 'linearity'"):
        lab.report(model, table, only=["linarity"])
    with pytest.raises(ParameterValueError, match="only: expected at least one instrument"):
        lab.report(model, table, only=[])
    for asked, words in (
        (["lab", "model", "ratings.csv", "--only", "linarity"], "did you mean 'linearity'"),
        (["--plugin", "no_such_module", "lab", "model", "ratings.csv"], "plugin 'no_such_module'"),
    ):
        monkeypatch.setattr(sys, "argv", ["bilinear", *asked])
        with pytest.raises(SystemExit) as left:
            main()
        assert left.value.code == 2
        assert words in capsys.readouterr().err


def test_an_instrument_without_a_question_is_refused() -> None:
    class Silent(lab.Instrument):
        name = "silent"

        def measure(self, context: lab.Context) -> lab.Section:
            raise NotImplementedError

    with pytest.raises(ParameterValueError, match="instrument Silent: expected a class attribute question"):
        lab.register(Silent)
    assert "silent" not in lab.instruments()


def test_every_file_of_the_top_room_is_one_instrument() -> None:
    """A file that is added to the lab registers itself: no list names it."""
    files = {path.stem for path in Path(lab.__file__).parent.glob("*.py")} - {"__init__"}
    homes = [REGISTRY.get(name).__module__ for name in lab.instruments()]
    assert sorted(homes) == sorted(f"bilinear.lab.{stem}" for stem in files)
    orders = [REGISTRY.get(name).order for name in lab.instruments()]
    assert orders == sorted(set(orders))


def test_rooms_import_no_instrument() -> None:
    """Instruments stand on the rooms: a report, a proof or a race needs none by name."""
    top = Path(lab.__file__).parent
    names = "|".join(path.stem for path in top.glob("*.py") if path.stem != "__init__")
    for file in top.glob("*/*.py"):
        found = re.findall(rf"bilinear\.lab\.(?:{names})\b import", file.read_text(encoding="utf-8"))
        assert not found, f"{file}: {found}"


def test_the_models_own_report_is_in_the_first_verdict(table: Interactions) -> None:
    """A default model stops before the minimum of its loss: the headline gives its error, not a failure."""
    model = bilinear.MatrixFactorization(n_factors=3, l2=0.5, l2_biases=0.5, rng=0).fit(table)
    alone = lab.report(model, table, max_products=5)
    assert alone.verdict == "not converged"
    assert alone.headline.startswith(
        f"Validation RMSE {model.history_.best_validation_rmse:.4f} at the epoch"
    )
    score = {"value": 0.8765, "low": 0.8, "high": 0.9, "n": 40}
    model.report_ = {"scores": {"MatrixFactorization": {"rmse": score, "mae": score, "n_ratings": 40}}}
    found = lab.report(model, table, max_products=5)
    assert found.headline.startswith("Held-out RMSE 0.8765 in the model's own report; training stopped")
    assert ("held-out RMSE in the model's own report", "0.8765 [0.8000, 0.9000]") in found["endpoint"].facts
    assert "missed held-out ratings by 0.8765, as its own report states" in found["generalisation"].answer
    assert found["generalisation"].evidence["reported_rmse"] == 0.8765
    assert found["endpoint"].tone == "open"


def test_bars_say_their_numbers() -> None:
    drawn = bars({"a": 1.0, "b": 2.5}, "what", "{:.0f}", "{:.1f}")
    assert 'aria-label="a: 1.0; b: 2.5"' in drawn
