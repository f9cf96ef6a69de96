"""Notebooks: what a cell shows, where progress goes; four users on the way from their objects to a result."""

from __future__ import annotations

import inspect
import subprocess
import sys
from importlib import import_module
from pkgutil import walk_packages
from types import ModuleType, SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from scipy.sparse import csr_array
from sklearn.model_selection import GridSearchCV

import bilinear
from bilinear import compiling
from bilinear.training.history import Epoch
from bilinear.training.progress import Bar, NotebookLines, progress_bar

CATALOGUE = bilinear.synthetic_ratings(60, 40, 1500, rng=0)
MODEL = bilinear.MatrixFactorization(n_factors=2, l2=0.1, l2_biases=1.0, rng=0).fit(CATALOGUE)
PNG = b"\x89PNG"


def results() -> list[type]:
    """Classes that print in a way of their own."""
    elsewhere = ("bilinear.serving", "bilinear.cli", "bilinear.kernels")
    names = [module.name for module in walk_packages(bilinear.__path__, "bilinear.")]
    return [
        cls
        for name in names
        if not name.startswith(elsewhere)
        for cls in vars(import_module(name)).values()
        if inspect.isclass(cls) and cls.__module__ == name and "__str__" in vars(cls)
    ]


def test_every_class_of_results_that_prints_shows_itself_in_a_notebook():
    silent = {
        "UnknownIdError",
        "Interval",
        "Metric",
        "Place",
        "Listed",
    }  # an error, cells and a row of tables
    lacking = {cls.__name__ for cls in results() if not hasattr(cls, "_repr_html_")}
    assert lacking <= silent


def test_a_model_shows_its_arguments_and_what_it_was_trained_on():
    shown = MODEL._repr_html_()
    assert "n_factors=2" in shown
    assert "1500" in shown
    assert bilinear.EASE()._repr_html_() == "<pre>EASE()</pre>"


def test_figures_are_their_own_pictures():
    pytest.importorskip("matplotlib")
    assert MODEL.history_.plot()._repr_png_().startswith(PNG)
    shown = bilinear.item_map(MODEL)
    assert shown.figure()._repr_png_().startswith(PNG)
    assert 'src="data:image/png;base64,' in shown._repr_html_()


class Display(ModuleType):
    """The calls of `IPython.display` that are used: what is on the page, by identity."""

    def __init__(self) -> None:
        super().__init__("IPython.display")
        self.page: dict[str, str] = {}
        self.n_updates = 0

    def display(self, value, display_id):
        self.page[display_id] = repr(value)

    def update_display(self, value, display_id):
        assert display_id in self.page
        self.n_updates += 1
        self.page[display_id] = repr(value)


def test_progress_in_a_notebook_is_one_output_that_ends_as_a_report():
    display = Display()
    epoch = Epoch(1, 0.5, 0.9, 0.1, 0.0, 1.0, 100.0)
    with NotebookLines(display) as progress:
        progress.stage("search l2, 32 factors", 100)
        progress.advance(100, 0.7)
        progress.stage("training", 200)
        for _ in range(2000):
            progress.advance(0, 0.6)
        progress.advance(100, 0.5)
        progress.epoch(epoch)
        progress.note("a note")
        (under_way,) = display.page.values()
        assert under_way.splitlines() == [
            "a note",
            "training  [##########..........]  50%  loss 0.5000  validation 0.9000",
        ]
    (shown,) = display.page.values()
    assert shown.splitlines()[0] == "a note"
    assert shown.splitlines()[1].startswith("training  loss 0.5000  validation 0.9000  ")
    assert display.n_updates < 100  # not one a call


@pytest.mark.parametrize(("kernel", "kind"), [(True, NotebookLines), (False, Bar)])
def test_the_reporter_is_that_of_the_place(monkeypatch, kernel, kind):
    shell = SimpleNamespace(kernel=None) if kernel else SimpleNamespace()
    ipython = ModuleType("IPython")
    ipython.get_ipython = lambda: shell
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    monkeypatch.setitem(sys.modules, "IPython.display", Display())
    assert isinstance(progress_bar(), kind)


def test_training_in_a_notebook_reports_there(monkeypatch, capsys):
    display, ipython = Display(), ModuleType("IPython")
    ipython.get_ipython = lambda: SimpleNamespace(kernel=None)
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    monkeypatch.setitem(sys.modules, "IPython.display", display)
    bilinear.MatrixFactorization(n_factors=2, l2=0.1, l2_biases=1.0, rng=0).fit(CATALOGUE, progress=True)
    (shown,) = display.page.values()
    assert "loss" in shown
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("seen", [True, False])
def test_compiling_is_announced_where_a_person_sees_it(monkeypatch, capsys, seen):
    if seen:
        monkeypatch.setattr(sys, "ps1", "In : ", raising=False)  # as at a prompt and in a notebook
    else:
        monkeypatch.delattr(sys, "ps1", raising=False)
    compiling.say_in_sight(compiling.NOTICE)
    assert (compiling.NOTICE in capsys.readouterr().err) == seen


def test_it_is_announced_there_unless_a_command_does_it():
    code = (
        "from bilinear import compiling; raise SystemExit(compiling.announce is not compiling.say_in_sight)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# Four users. Each block is what one of them writes, six lines at the most.

FRAME = CATALOGUE.to_pandas()
FILMS = pd.DataFrame({"item": range(1, 41), "title": [f"Film {n}" for n in range(1, 41)]})


def test_a_pandas_user():
    held_out = FRAME.sample(frac=0.2, random_state=0)
    model = bilinear.MatrixFactorization(n_factors=2, l2=0.1, l2_biases=1.0, rng=0)
    model.fit(FRAME.drop(held_out.index), items=FILMS)
    scores = model.evaluate(held_out).to_pandas()
    ranked = model.recommend(7, n=5).to_pandas()
    figure = model.history_.plot()

    assert scores.set_index("metric").value["rmse"] < 1.2
    assert ranked.title.str.startswith("Film ").all()
    assert figure._repr_png_().startswith(PNG)


def test_a_scipy_user():
    matrix = csr_array((FRAME.rating >= 4, (FRAME.user, FRAME.item)), shape=(70, 41)).astype(float)
    matrix.eliminate_zeros()

    clicks = bilinear.Interactions.from_matrix(matrix, has_ratings=False)
    split = bilinear.split_random(clicks, rng=0)
    model = bilinear.ImplicitALS(n_factors=4, rng=0).fit(split.train, items=FILMS)
    scores = model.evaluate(split.test)
    ranked = model.recommend(7, n=5)
    figure = model.history_.plot()

    assert len(model.user_vocabulary_) == 70  # users without clicks are kept
    assert scores["ndcg@10"] > 0
    assert all(title.startswith("Film ") for title in ranked.titles)
    assert figure._repr_png_().startswith(PNG)


def test_a_scikit_learn_user():
    model = bilinear.MatrixFactorization(n_factors=2, l2_biases=1.0, rng=0)
    X, y = FRAME[["user", "item"]], FRAME.rating
    search = GridSearchCV(model, {"l2": [0.1, 1.0]}, cv=bilinear.KFold(2)).fit(X, y, items=FILMS)
    scores = bilinear.cross_validate(search.best_estimator_, FRAME, folds=2)
    ranked = search.best_estimator_.recommend(7, n=5)
    figure = search.best_estimator_.history_.plot()

    assert set(scores["metric"]) == {"rmse", "mae"}
    assert ranked[0].title.startswith("Film ")
    assert figure._repr_png_().startswith(PNG)


def test_a_fast_ai_user():
    merged = FRAME.merge(FILMS)  # as the course does, so that items are titles

    ratings = bilinear.read_ratings(merged, user="user", item="title")
    split = bilinear.split_random(ratings, rng=42)
    model = bilinear.fastai_recipe(n_factors=4, n_epochs=3, rng=0).fit(split.train, progress=False)
    scores = model.evaluate(split.test)
    ranked = model.recommend(7, n=5)
    figure = model.history_.plot()

    assert np.isfinite(scores.rmse.value)
    assert all(str(place).startswith("Film ") for place in ranked)
    assert figure._repr_png_().startswith(PNG)
