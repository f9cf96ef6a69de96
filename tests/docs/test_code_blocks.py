"""The code blocks of README.md and the guides run as pasted, page by page, on small tables made here.

Python blocks of a page share their names, and begin with those of `names`: what a page takes for given. Lines
`bilinear ...` of shell blocks run too. A block under `<!-- not run: why -->` is left out.
"""

from __future__ import annotations

import re
import shlex
import shutil
import sqlite3
import sys
from collections.abc import Iterator
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pytest
from typer.main import get_command

import bilinear
from bilinear.cli import main
from bilinear.cli.app import app
from bilinear.lab.reporting.instrument import REGISTRY
from bilinear.registry import CLASSES
from bilinear.training import choice
from bilinear.training.gibbs import Gibbs
from bilinear.training.solver import Solver

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "docs" / "index.md", *sorted((ROOT / "docs" / "guide").glob("*.md"))]

SHORTER = {
    "AutoRanker(rng=0)": "AutoRanker(work_budget=1, rng=0)",
    "n_trials=200": "n_trials=4",
    "bilinear train ratings.csv --out next ": "bilinear train ratings.csv --model biases --out next ",
    "bilinear train ratings.csv --out model  ": "bilinear train ratings.csv --model biases --out model  ",
    "bilinear train clicks.csv": "bilinear train clicks.csv --set work_budget=1",
}
"""What pages show with the minute that it deserves."""

EPOCHS = 12
"""What "auto" is on pages: that training finds what it should is shown by the tests of training."""

PARSED_ONLY = {"serve"}
"""Commands that do not end by themselves: their arguments are parsed."""


class Block(NamedTuple):
    language: str
    line: int
    text: str


def blocks(page: Path) -> Iterator[Block]:
    text = page.read_text(encoding="utf-8")
    pattern = re.compile(r"(<!-- not run: [^\n]+ -->\n+)?^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
    for found in pattern.finditer(text):
        code = found[3]
        for long, short in SHORTER.items():
            code = code.replace(long, short)
        if not found[1]:
            yield Block(found[2], text.count("\n", 0, found.start(3)), code)


def commands(block: Block) -> list[list[str]]:
    """Arguments of the lines of a shell block that call `bilinear`."""
    lines = [line.removeprefix("$ ") for line in block.text.splitlines()]
    return [shlex.split(line, comments=True)[1:] for line in lines if line.startswith("bilinear ")]


def table(user_ids: list[object], item_ids: list[object], seed: int) -> pd.DataFrame:
    """Planted tastes of two factors; every user rated half of the items."""
    rng = np.random.default_rng(seed)
    taste, kind = rng.normal(size=(len(user_ids), 2)), rng.normal(size=(len(item_ids), 2))
    liked = 3.2 + rng.normal(scale=0.5, size=len(item_ids))
    rows = [
        (
            user_ids[u],
            item_ids[i],
            np.clip(round(2 * (liked[i] + taste[u] @ kind[i])) / 2, 0.5, 5),
            10**9 + u + i,
        )
        for u in range(len(user_ids))
        for i in rng.permutation(len(item_ids))[: len(item_ids) // 2]
    ]
    return pd.DataFrame(rows, columns=["user_id", "item_id", "rating", "timestamp"])


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files that the pages name."""
    folder = tmp_path_factory.mktemp("pages")
    films: list[object] = [*range(1, 37), 260, 1196, 318, 858]
    ratings = table([*range(1, 61)], films, seed=0)
    ratings.to_csv(folder / "ratings.csv", index=False)
    (folder / "parts").mkdir()
    for n in range(2):
        ratings[n::2].to_parquet(folder / "parts" / f"{n}.parquet")
    titles = ["Toy Story (1995)", *(f"Film <{item}>, The (1970)" for item in films[1:])]
    genres = ["Comedy" if n % 2 else "Drama|War" for n in range(len(films))]
    known = pd.DataFrame({"item_id": films, "title": titles, "genres": genres})
    known["year"] = [1960 + n for n in range(len(films))]
    known.to_csv(folder / "movies.csv", index=False)
    known[:5].assign(item_id=range(9001, 9006)).to_csv(folder / "new.csv", index=False)
    people = {
        "user_id": range(1, 61),
        "age": [20 + n for n in range(60)],
        "job": ["artist", "cook", "vet"] * 20,
    }
    pd.DataFrame(people).to_csv(folder / "users.csv", index=False)

    users: list[object] = ["ann", "someone", *range(40, 98)]
    items: list[object] = [
        *films[:32],
        260,
        *(f"song {n}" for n in (1, 2)),
        *(f"item {n}" for n in range(1, 8)),
    ]
    clicks = table(users, items, seed=1)[["user_id", "item_id", "timestamp"]]
    later = np.random.default_rng(2).random(len(clicks)) < 0.1
    clicks[~later].to_csv(folder / "clicks.csv", index=False)
    clicks[later].to_csv(folder / "later_clicks.csv", index=False)
    named = pd.DataFrame({"item_id": items, "title": ["Toy Story (1995)", *map(str, items[1:])]})
    named.to_csv(folder / "titles.csv", index=False)

    model = bilinear.MatrixFactorization(n_factors=4, l2=0.5, l2_biases=0.8, rng=0)
    model.fit(bilinear.read_ratings(folder / "ratings.csv")).save(folder / "model")
    return folder


def names(page: Path, folder: Path) -> dict[str, Any]:
    """What the blocks of a page take for given."""
    given: dict[str, Any] = {"bilinear": bilinear}
    if page.stem in {"lab", "long_training", "features", "uncertainty"}:
        given["ratings"] = bilinear.read_ratings(folder / "ratings.csv")
        given["model"] = bilinear.load(folder / "model")
    if page.stem == "metrics":
        given["clicks"] = bilinear.read_interactions(folder / "clicks.csv")
    if page.stem == "ratings":
        given["frame"] = pd.read_csv(folder / "ratings.csv")
        given |= {"matrix": np.array([[5.0, np.nan], [3.0, 4.0]]), "users": ["ann", "bob"], "items": [1, 2]}
        given["connection"] = sqlite3.connect(folder / "reviews.db")
        columns = {"rating": "stars", "timestamp": "at"}
        given["frame"].rename(columns=columns).to_sql("reviews", given["connection"], if_exists="replace")
    return given


class ExactIndex:
    """All inner products, with NumPy, under the names of faiss.IndexFlatIP and hnswlib.Index."""

    def __init__(self, d: int = 0, *, space: str = "ip", dim: int = 0) -> None:
        assert space == "ip"
        self.items = np.empty((0, d or dim), np.float32)

    def init_index(self, *, max_elements: int, ef_construction: int, M: int) -> None:
        pass

    def set_ef(self, ef: int) -> None:
        pass

    def add(self, items: Any) -> None:
        self.items = np.vstack([self.items, items])

    add_items = add

    def search(self, users: Any, k: int) -> tuple[Any, Any]:
        products = users @ self.items.T
        rows = np.argsort(-products, axis=1, kind="stable")[:, :k]
        return np.take_along_axis(products, rows, axis=1), rows

    def knn_query(self, users: Any, k: int) -> tuple[Any, Any]:
        products, rows = self.search(users, k)
        return rows, 1 - products


def stand_ins() -> dict[str, Any]:
    """Packages of other people that pages show and the tests do without."""
    return {
        "faiss": SimpleNamespace(IndexFlatIP=ExactIndex),
        "hnswlib": SimpleNamespace(Index=ExactIndex),
    }


@pytest.fixture
def short_training(monkeypatch: pytest.MonkeyPatch) -> None:
    for solver in (Solver, Gibbs):
        resolved = solver.resolved

        def of_few_epochs(self: Any, n_ratings: int, resolved: Any = resolved) -> Any:
            return resolved(replace(self, n_epochs=EPOCHS) if self.n_epochs == "auto" else self, n_ratings)

        monkeypatch.setattr(solver, "resolved", of_few_epochs)
    monkeypatch.setattr(choice, "TRIAL_SWEEPS", EPOCHS)
    monkeypatch.setattr(choice, "FINAL_SWEEPS", EPOCHS)


@pytest.mark.usefixtures("short_training")
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_code_blocks_run(
    page: Path,
    files: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = shutil.copytree(files, tmp_path / "here")
    for name, module in stand_ins().items():
        if find_spec(name) is None:
            monkeypatch.setitem(sys.modules, name, module)
    if find_spec("ray") is None:
        monkeypatch.setattr(bilinear.Ray, "map", bilinear.Local.map)
    monkeypatch.chdir(folder)
    given = names(page, folder)
    registered = {registry: set(registry) for registry in (CLASSES, REGISTRY)}
    try:
        for block in blocks(page):
            if block.language == "python":
                exec(compile("\n" * block.line + block.text, page, "exec"), given)
            elif block.language in {"", "sh", "console"}:
                for arguments in commands(block):
                    run(arguments, monkeypatch, capsys)
    finally:
        if "connection" in given:
            given["connection"].close()
        for registry, before in registered.items():
            for name in set(registry) - before:
                registry.discard(name)


def run(arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    if arguments[0] in PARSED_ONLY:
        command = get_command(app).commands[arguments[0]]  # type: ignore[attr-defined]
        command.make_context(arguments[0], arguments[1:])
        return
    monkeypatch.setattr(sys, "argv", ["bilinear", *arguments])
    capsys.readouterr()
    code: object = 0
    try:
        main()
    except SystemExit as stop:
        code = stop.code or 0
    assert code == 0, f"bilinear {shlex.join(arguments)}\n{capsys.readouterr().err}"


def test_every_page_has_blocks_that_run() -> None:
    """The pattern finds what pages have: nothing passes because it was overlooked."""
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        assert sum(block.language == "python" for block in blocks(page)) >= 1, page
        said = len(re.findall(r"^(?:\$ )?bilinear \w", text, re.MULTILINE))
        assert sum(len(commands(block)) for block in blocks(page)) == said, page


def test_blocks_that_are_not_run_are_these_for_these_reasons() -> None:
    """A block is left out by its mark alone, and this list says which."""
    mark = re.compile(r"<!-- not run: ([^\n]+) -->\n+```")
    found = [(page.stem, why) for page in PAGES for why in mark.findall(page.read_text(encoding="utf-8"))]
    assert found == [
        (
            "cluster",
            "PySpark is not among what the tests install; tests/docs/test_spark.py runs it where it is",
        ),
        ("handing_over", "the tests have a PostgreSQL without the extension pgvector"),
        ("long_training", "MLflow is not among what the tests install"),
    ]
