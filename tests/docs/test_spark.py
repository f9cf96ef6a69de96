"""The recipe for Spark on the page about clusters, run as it stands where PySpark and Java are."""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

import bilinear
from bilinear.recommend.parquet import write_everyone

PAGE = Path(__file__).parents[2] / "docs" / "guide" / "cluster.md"


@pytest.mark.filterwarnings("ignore")  # of PySpark's own
def test_lists_of_the_recipe_are_those_of_the_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pyspark")
    if shutil.which("java") is None:
        pytest.skip("no Java")
    import duckdb

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SPARK_LOCAL_IP", "127.0.0.1")
    monkeypatch.setenv("PYSPARK_PYTHON", sys.executable)
    monkeypatch.setenv("PYSPARK_SUBMIT_ARGS", "--master local[2] --conf spark.ui.enabled=false pyspark-shell")
    rng = np.random.default_rng(0)
    rows = [(f"user {u}", f"item {i}") for u in range(30) for i in rng.permutation(40)[:8]]
    lines = ["user_id,item_id", *(f"{user},{item}" for user, item in rows)]
    Path("clicks.csv").write_text("\n".join([*lines, ""]))
    model = bilinear.EASE(l2=5.0).fit(bilinear.read_interactions("clicks.csv"))
    model.save("clicks_model")
    recipe = re.search(r"## Spark.*?```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert recipe is not None
    names: dict[str, object] = {"__name__": "__main__"}
    exec(compile(recipe[1], PAGE, "exec"), names)
    names["spark"].stop()  # type: ignore[attr-defined]
    write_everyone(model, "lists.parquet")
    columns = 'SELECT "user", rank, item, score FROM read_parquet'
    found = duckdb.sql(f"{columns}('spark_lists/*.parquet') ORDER BY 1, 2").fetchall()
    assert found == duckdb.sql(f"{columns}('lists.parquet') ORDER BY 1, 2").fetchall()
    assert len(found) == 300
