"""The guide's table of what models do with weights is that of the classes."""

from __future__ import annotations

import re
from pathlib import Path

from bilinear.estimators.recommender import Recommender
from bilinear.registry import CLASSES

GUIDE = Path(__file__).parents[2] / "docs/guide/clicks.md"


def test_the_table_of_the_guide_names_every_model_that_uses_weights():
    text = GUIDE.read_text().partition("| `Model.uses_weights`")[2].partition("\n\n")[0]
    rows = [line.split("|") for line in text.splitlines() if line.startswith('| "')]
    told = {row[1].strip(' "'): set(re.findall("`([A-Z][A-Za-z]+)`", row[2])) for row in rows}
    known: dict[str, set[str]] = {}
    for name, kind in CLASSES.subclasses(Recommender).items():
        known.setdefault(kind.uses_weights, set()).add(name)
    del known["no"], told["no"]
    assert told == known
