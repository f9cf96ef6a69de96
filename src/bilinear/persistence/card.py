"""Model cards: data, held-out scores and intended use of a saved model, as a README in its folder."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

MARK = "<!-- bilinear model card: written with every save; a README.md without this line is kept -->"
_INTENDED = (
    "Ranking items, and predicting ratings where it was trained on ratings, for users like those it was "
    "trained on. The scores hold for a held-out part of that table, not for what users do with lists of this "
    "model; it favours items with many interactions. Not for decisions about people."
)


def model_card(manifest: Mapping[str, Any]) -> str:
    """The card of a model as Markdown, from what its `model.json` says.

    Args:
        manifest: as `bilinear.persistence.models.save` makes it.

    Examples:
        >>> from bilinear.persistence.card import model_card
        >>> told = {"estimator": "EASE", "n_users": 40, "n_items": 60, "n_ratings": 1000, "source": "a.csv"}
        >>> print(model_card(told).splitlines()[2])
        # EASE
    """
    report = manifest.get("report") or {}
    trained_on = _plain(report.get("trained_on", "all given"))
    rows = "ratings" if manifest.get("has_ratings") else "interactions"
    lines = [MARK, "", f"# {manifest['estimator']}", "", "## Data", ""]
    lines += [
        f"{manifest['n_ratings']:,} {rows} of {manifest['n_users']:,} users and {manifest['n_items']:,} "
        f"items from {_code(manifest['source'])}; trained on {trained_on}.",
        "",
        "## Held-out scores",
        "",
    ]
    scores = report.get("scores")
    if isinstance(scores, Mapping) and scores:
        lines += [f"{_plain(report.get('split', ''))}; 95 % bootstrap intervals over users.".capitalize(), ""]
        lines += markdown_table(score_cells(scores))
    else:
        lines += ["Not measured. `bilinear train` measures before it saves, `bilinear evaluate` later."]
    lines += ["", "## Intended use", "", _INTENDED, "", "## Made by", ""]
    lines += [f"Seed {manifest.get('seed')}. Arguments:", ""]
    lines += [f"- `{name}`: {_code(value)}" for name, value in dict(manifest.get("arguments", {})).items()]
    lines += ["", "```python", "import bilinear", "", 'model = bilinear.load("this folder")', "```", ""]
    return "\n".join(lines)


def markdown_table(rows: list[list[str]]) -> list[str]:
    """Lines of a table; the first row is its head, all columns but the first are aligned to the right."""
    head, *body = [[cell.replace("|", "\\|") for cell in row] for row in rows]
    rule = ["---", *["---:"] * (len(head) - 1)]
    return ["| " + " | ".join(row) + " |" for row in (head, rule, *body)]


def score_cells(scores: Mapping[str, Any]) -> list[list[str]]:
    """The head, and a row for each model: every number with an interval of a comparison's `to_dict`."""
    found = {name: dict(intervals(of_model)) for name, of_model in scores.items()}
    metrics = list(dict.fromkeys(metric for of_model in found.values() for metric in of_model))
    rows = [["model", *metrics]]
    for name, of_model in found.items():
        shown = ["{:.4f} [{:.4f}, {:.4f}]".format(*of_model[m]) if m in of_model else "" for m in metrics]
        rows.append([_plain(name), *shown])
    return rows


def intervals(scores: Any) -> Iterator[tuple[str, tuple[float, float, float]]]:
    """(metric, (value, low, high)) of every number with an interval, of errors or of rankings."""
    if not isinstance(scores, Mapping):
        return
    for name, value in (scores.get("means") or scores).items():
        if isinstance(value, Mapping) and {"value", "low", "high"} <= value.keys():
            yield str(name), (value["value"], value["low"], value["high"])
        elif isinstance(value, list) and len(value) == 3 and all(isinstance(n, (int, float)) for n in value):
            yield str(name), (value[0], value[1], value[2])


def _plain(text: Any) -> str:
    return " ".join(str(text).split())


def _code(value: Any) -> str:
    """As a code span, which no name can end."""
    return f"`{_plain(value).replace('`', chr(39))}`"
