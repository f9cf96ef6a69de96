"""A fitted model as one page: the verdict first, then what stands behind it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from bilinear.estimators.rating_model import RatingModel
from bilinear.inspection.biases import BiasedItem
from bilinear.inspection.charts import bars
from bilinear.inspection.items import at_least
from bilinear.inspection.map_html import explanation, map_data
from bilinear.inspection.model_charts import score_charts, training_charts
from bilinear.inspection.overview import ModelDescription, describe_model
from bilinear.inspection.page import MAP_PLACE, scrolling, signed, term, text, write_page
from bilinear.inspection.scores import number_in, stored_scores, verdict


def report_html(
    model: RatingModel, path: str | Path, *, n: int = 10, min_ratings: int | None = None, rng: int = 0
) -> None:
    """Writes one page that needs no network, whole or not at all.

    It shows the scores stored in `report_`, the data, training, the search, and what `inspect`
    finds (the arguments are the same), with the map to explore. What the model does not have is
    left out, and the page says so.

    Cost:
        that of `inspect` and of `ItemMap.to_html`.

    Examples:
        >>> from pathlib import Path
        >>> from bilinear import MatrixFactorization, synthetic_ratings
        >>> from bilinear.inspection import report_html
        >>> model = MatrixFactorization(n_factors=4, l2=0.1, l2_biases=1.0, rng=0)
        >>> report_html(model.fit(synthetic_ratings(50, 30, 600, rng=0)), "report.html")
        >>> Path("report.html").read_text(encoding="utf-8")[:15]
        '<!DOCTYPE html>'
    """
    found = describe_model(model, n=n, min_ratings=min_ratings, rng=rng)
    body = "".join(
        [
            _head(model, found),
            _scores(model),
            _data(model.report_.get("data")),
            _training(model),
            _search(model),
            _parts(found),
            _by_bias(found),
            _neighbours(found),
            _map(found),
        ]
    )
    data = None if found.item_map is None else map_data(found.item_map)
    write_page(
        Path(path), f"{found.facts['model']}: {model.source_}", f"<main>{body}</main>", data, "report-page"
    )


def _head(model: RatingModel, found: ModelDescription) -> str:
    facts, said = found.facts, verdict(model)
    kind = {True: "good", False: "bad", None: "open"}[said.better]
    lead = f'<p class="lead">{text(said.measured)}</p>' if said.measured else ""
    detail = f'<p class="faint">{text(said.detail)}</p>' if said.detail else ""
    trained_on = model.report_.get("trained_on")
    note = f" Trained on {text(trained_on)}." if isinstance(trained_on, str) else ""
    return (
        f'<header><p class="over">{text(facts["model"])} · {text(facts["source"])}</p>'
        f'<h1 class="verdict {kind}">{text(said.headline)}</h1>{lead}{detail}'
        f'<p class="faint">{facts["n_factors"]:,} factors for {facts["n_users"]:,} users and '
        f"{facts['n_items']:,} items, from {facts['n_ratings']:,} ratings.{note}</p></header>"
    )


def _scores(model: RatingModel) -> str:
    scores = stored_scores(model.report_)
    if not scores:
        return ""
    name = type(model).__name__
    rows = [
        [
            f"<strong>{text(score.name)}</strong>" if score.name == name else text(score.name),
            f"{score.rmse:.4f}",
            f"{score.low:.4f} to {score.high:.4f}",
            "" if score.mae is None else f"{score.mae:.4f}",
        ]
        for score in scores
    ]
    unknown = [
        f"{share:.1%} of these ratings are {what} without a training rating"
        for share, what in ((scores[0].unknown_users, "by users"), (scores[0].unknown_items, "of items"))
        if share >= 0.0005
    ]
    split = model.report_.get("split")
    notes = [f"split: {split}"] if isinstance(split, str) else []
    notes += ["intervals: 95%, by drawing users again", *unknown]
    return _section(
        "Error on held-out ratings",
        _table(["model", term("RMSE"), term("95% interval"), term("MAE")], rows, "knnn"),
        f'<div class="pair">{"".join(score_charts(model.report_))}</div>',
        f'<p class="faint">{term("held out")}: {text("; ".join(notes))}.</p>',
    )


def _data(stored: Any) -> str:
    """The description of the table, if `report_` holds one that can be read."""
    if not isinstance(stored, Mapping):
        return ""
    tiles = []
    for keys, name, form in (
        (("n_ratings",), "ratings", "{:,.0f}"),
        (("n_users",), "users", "{:,.0f}"),
        (("n_items",), "items", "{:,.0f}"),
        (("density",), "of the table filled", "{:.2%}"),
        (("mean_rating",), "mean rating", "{:.3f}"),
        (
            ("median_ratings_per_user", "median_ratings_per_item"),
            "ratings of a median user, item",
            "{:,g}, {:,g}",
        ),
    ):
        values = [number_in(stored.get(key)) for key in keys]
        if None not in values:
            tiles.append(f"<div><dd>{form.format(*values)}</dd><dt>{name}</dt></div>")
    span = stored.get("time_span")
    dates = ""
    if isinstance(span, Sequence) and _is_pair(span):
        dates = f'<p class="faint">From {text(span[0])} to {text(span[1])} UTC.</p>'
    histogram = stored.get("histogram")
    drawn = ""
    if isinstance(histogram, Sequence) and histogram and all(_is_pair(bar) for bar in histogram):
        labels, counts = [str(bar[0]) for bar in histogram], [number_in(bar[1]) for bar in histogram]
        if None not in counts:
            drawn = bars(
                {label: count or 0.0 for label, count in zip(labels, counts, strict=True)},
                "How often each rating was given",
                "{:,.0f}",
            )
    if not tiles and not drawn:
        return ""
    return _section(
        "Data", f'<div class="pair"><div><dl class="tiles">{"".join(tiles)}</dl>{dates}</div>{drawn}</div>'
    )


def _training(model: RatingModel) -> str:
    history = model.history_
    if not history.epochs:
        return ""
    drawn = "".join(training_charts(history))
    took = sum(epoch.seconds for epoch in history.epochs)
    kept = f"epoch {history.best_epoch} of {len(history.epochs)} was kept (the dot)"
    ending = f"{history.ended}; {kept}; {took:.1f} s."
    return _section("Training", f'<div class="pair">{drawn}</div>', f'<p class="faint">{text(ending)}</p>')


def _search(model: RatingModel) -> str:
    if model.search_ is None:
        return ""
    rows = [
        [
            text(trial.stage),
            f"{trial.n_factors:,}",
            f"{trial.l2:.3g}",
            f"{trial.l2_biases:.3g}",
            f"{trial.validation_rmse:.4f}",
            "kept" if trial.kept else "",
        ]
        for trial in model.search_.trials
    ]
    head = ["stage", term("factors"), term("L2", "l2"), "l2_biases", term("RMSE"), ""]
    found = model.search_
    chosen = f"{found.n_factors:,} factors, l2 {found.l2:.3g}, l2_biases {found.l2_biases:.3g}"
    if model.posterior_ is not None:  # a chain learns its penalties
        chosen = (
            f"{found.n_factors:,} factors a draw, {model.parameters_.n_factors:,} in the mean of the draws"
        )
    return _section(
        "Search",
        f"<details><summary>{len(rows)} trials on an inner validation part; chosen: {chosen}</summary>"
        f"{_table(head, rows, '-nnnn-')}</details>",
    )


def _parts(found: ModelDescription) -> str:
    spreads = found.facts["spreads"]
    names = {"users": "bias of the user", "items": "bias of the item", "taste": "taste (factors)"}
    drawn = bars(
        {names[key]: value for key, value in spreads.items()},
        f"What moves a score: standard deviation over the training ratings, {found.facts['unit']}",
        "{:.2f}",
    )
    if found.spectrum is None:
        return _section("Parts of the score", f'<div class="pair">{drawn}</div>')
    shares = found.spectrum.shares[:12].tolist()
    drawn += bars(
        {str(at): 100 * share for at, share in enumerate(shares, 1)},
        "Directions of taste: share of the taste part that each holds",
        "{:.0f}%",
        "{:.1f}%",
    )
    note = (
        f"The {found.facts['n_factors']:,} factors work like {found.spectrum.effective_rank:.0f} equal "
        f"directions (effective rank); {found.spectrum.directions_for(0.9)} hold 90% of the taste part."
    )
    return _section("Parts of the score", f'<div class="pair">{drawn}</div>', f'<p class="faint">{note}</p>')


def _by_bias(found: ModelDescription) -> str:
    ranked = found.items_by_bias
    if not ranked.top:
        return _section("Items by bias", f'<p class="faint">{text(str(ranked))}.</p>')

    def table(head: str, items: Sequence[BiasedItem]) -> str:
        rows = [[_title(item.title), signed(item.bias), f"{item.n_ratings:,}"] for item in items]
        return _table([head, term("bias"), "ratings"], rows, "-nn")

    return _section(
        "Items by bias",
        f'<div class="pair">{table("Best liked", ranked.top)}{table("Least liked", ranked.bottom)}</div>',
        f'<p class="faint">The bias is what an item adds to any user\'s score, {text(found.facts["unit"])}; '
        f"of {ranked.n_items:,} items with {at_least(ranked.min_ratings)}.</p>",
    )


def _neighbours(found: ModelDescription) -> str:
    if not found.neighbours:
        return ""
    cards = [
        f"<article><h3>{_title(each.title)}</h3><ol>"
        + "".join(
            f'<li>{_title(near.title)} <span class="number">{near.cosine:.2f}</span></li>'
            for near in each.neighbours
        )
        + "</ol></article>"
        for each in found.neighbours
    ]
    return _section(
        "Nearest items",
        f'<div class="cards">{"".join(cards)}</div>',
        '<p class="faint">The most rated items, each with the items whose factors point most nearly the same '
        f"way ({term('similarity', 'cosines')}).</p>",
    )


def _map(found: ModelDescription) -> str:
    if found.item_map is None:
        return _section("Map of the items", f'<p class="faint">{text("; ".join(found.notes))}.</p>')
    said = explanation(found.item_map)
    return _section(
        "Map of the items",
        f'<p class="faint">{said[0].upper()}{said[1:]}</p>',
        MAP_PLACE,
        kind="wide",
    )


def _section(head: str, *parts: str, kind: str = "") -> str:
    return f'<section class="part {kind}"><h2>{head}</h2>{"".join(parts)}</section>'


def _table(head: Sequence[str], rows: Iterable[Sequence[str]], align: str) -> str:
    """A table of trusted HTML, which scrolls where the page is too narrow for it.

    Args:
        align: a letter a column: "n" for numbers, "k" for names to keep on one line.
    """
    classes = [kind.strip("-") for kind in align]

    def row(cells: Sequence[str], tag: str) -> str:
        return "".join(
            f'<{tag} class="{name}">{cell}</{tag}>' for cell, name in zip(cells, classes, strict=True)
        )

    body = "".join(f"<tr>{row(cells, 'td')}</tr>" for cells in rows)
    return scrolling(f"<thead><tr>{row(head, 'th')}</tr></thead><tbody>{body}</tbody>")


def _title(title: str) -> str:
    return f"<bdi>{text(title)}</bdi>"


def _is_pair(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str) and len(value) == 2
