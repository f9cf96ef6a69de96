"""bilinear train: from a table of ratings or clicks to a measured model."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from bilinear.cli import holding_out, options
from bilinear.cli.cautions import doubt, odd_ratings, without_factors, without_outlier_warnings
from bilinear.cli.measured import say_measurement
from bilinear.cli.output import say, say_json, tell
from bilinear.errors import ParameterValueError

NAME = "train"
HELP = "Train a model, measure it on a part it has not seen, and save it."
EXAMPLES = """Examples:

bilinear train ratings.csv --items movies.csv --out model

bilinear train clicks.csv

bilinear train ratings.csv --task ranking --threshold 4 --model implicit-als --set n_factors=256

bilinear train ratings.csv --split temporal --also cross-entropy

bilinear train sqlite:///shop.db --query 'SELECT user_id, item_id, stars FROM reviews'
"""


def command(
    ratings: options.Ratings = "",
    out: Annotated[Path, typer.Option(help="The folder to write; an older model there is replaced.")] = Path(
        "model"
    ),
    items: Annotated[
        Path | None, typer.Option(help="A file with an id, a title and other columns for each item.")
    ] = None,
    items_quote: options.ItemsQuote = "auto",
    items_id: options.ItemsId = None,
    items_title: options.ItemsTitle = None,
    task: options.Task = None,
    model: Annotated[
        str,
        typer.Option(
            help="auto, mf, biases or mean of ratings; auto, random-walk, graph-filter, implicit-als, ease, "
            "sparse-ease, item-knn, popularity and others of rankings."
        ),
    ] = "auto",
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", help="NAME=VALUE, any argument of the model. May be given more than once."),
    ] = None,
    user: options.User = None,
    item: options.Item = None,
    rating: options.Rating = None,
    time: options.Time = None,
    count: options.Count = None,
    layout: options.Layout = "auto",
    query: options.Query = None,
    store: Annotated[
        str | None,
        typer.Option(
            help="Feedback of `bilinear serve`, which counts before RATINGS (a file or a model folder)."
        ),
    ] = None,
    duplicates: options.Duplicates = None,
    encoding: options.Encoding = "utf-8",
    quote: options.Quote = "auto",
    time_format: options.TimeFormat = None,
    skip_bad_rows: options.SkipBadRows = None,
    memory_limit: options.MemoryLimit = None,
    missing: options.Missing = None,
    ids: options.Ids = None,
    split: holding_out.Split = "random",
    test: holding_out.Test = None,
    refits: holding_out.Refits = 0,
    threshold: options.Threshold = None,
    confidence: options.Confidence = None,
    relevant_from: options.RelevantFrom = None,
    cutoffs: options.Cutoffs = None,
    time_budget: Annotated[
        float | None, typer.Option(help="Ranking, model auto: seconds to try models in.")
    ] = None,
    n_factors: Annotated[str | None, typer.Option(help="mf: length of the factors, or auto.")] = None,
    l2: Annotated[str | None, typer.Option(help="mf: penalty of the factors, or auto.")] = None,
    l2_biases: Annotated[str | None, typer.Option(help="mf: penalty of the biases, or auto.")] = None,
    link: Annotated[str | None, typer.Option(help="mf: identity, or sigmoid into the rating range.")] = None,
    loss: Annotated[
        str | None, typer.Option(help="mf: squared, or cross-entropy (with the sigmoid; convex).")
    ] = None,
    rating_range: Annotated[
        tuple[float, float] | None,
        typer.Option(help="Ratings: lowest and highest prediction; else the data's own."),
    ] = None,
    solver: Annotated[
        str | None, typer.Option(help="mf: sgd, or als (exact alternating least squares).")
    ] = None,
    n_epochs: Annotated[str | None, typer.Option(help="mf: passes over the ratings, or auto.")] = None,
    learning_rate: Annotated[
        float | None, typer.Option(help="mf, sgd: largest step, for ratings of deviation one; else 0.06.")
    ] = None,
    momentum: Annotated[float | None, typer.Option(help="mf, sgd: heavy-ball momentum, below 1.")] = None,
    schedule: Annotated[str | None, typer.Option(help="mf, sgd: one-cycle or constant.")] = None,
    also: Annotated[
        list[str] | None,
        typer.Option(help="mf: measure beside: sigmoid, cross-entropy. May be given more than once."),
    ] = None,
    refit: Annotated[
        bool,
        typer.Option(
            "--refit/--no-refit", help="Save a model trained on all rows, or the one that was measured."
        ),
    ] = True,
    checkpoint: Annotated[
        Path | None,
        typer.Option(
            help="mf: a folder for the state of training, so that it survives a kill; gone at the end."
        ),
    ] = None,
    checkpoint_every: Annotated[float, typer.Option(help="Minutes between two checkpoints.", min=0)] = 5.0,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the training in --checkpoint; else begin.")
    ] = False,
    threads: options.Threads = None,
    seed: options.Seed = 0,
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    from contextlib import nullcontext

    from bilinear.cli.plans import implied_task, plan_of
    from bilinear.estimators.measurement import measure
    from bilinear.training.checkpoint import Checkpoint, keeping
    from bilinear.training.progress import Bar, Quiet

    check_out(out)
    if resume and checkpoint is None:
        raise ParameterValueError("--resume: name the folder of the unfinished training with --checkpoint")
    saving = None if checkpoint is None else Checkpoint(checkpoint, checkpoint_every, resume)
    if saving is not None:
        saving.check()
    given: dict[str, Any] = {
        "n_factors": n_factors, "l2": l2, "l2_biases": l2_biases, "link": link, "loss": loss,
        "solver": solver, "n_epochs": n_epochs, "learning_rate": learning_rate, "momentum": momentum,
        "schedule": schedule, "also": also or None, "rating_range": rating_range, "threshold": threshold,
        "confidence": confidence, "relevant_from": relevant_from, "cutoffs": cutoffs,
        "time_budget": time_budget,
    }  # fmt: skip
    reading = options.reading(locals())
    planned = partial(plan_of, model=model, settings=set_, given=given, seed=seed)
    chosen: Any = implied_task(task, model, given)
    read = partial(_read, ratings, store, query=query, **reading)
    if chosen is None:
        table, chosen, why = with_task(read())
        if not quiet:
            tell(why)
        plan = planned(chosen, threads=threads)
    else:  # what can be refused before the table is read
        plan = planned(chosen, threads=threads)
        has_ratings = True if chosen == "ratings" else None
        table = read(has_ratings=has_ratings)
    table.check_trainable()
    texts = item_texts(items, table.item_vocabulary, items_id, items_title, items_quote) if items else {}
    further = holding_out.further(table, split, test, seed, reading, refits)
    parts = holding_out.held_out(table, split, test, seed, reading)
    if not quiet:
        options.tell_table(table)
    main = plan.models[plan.name]
    if saving is not None and not main.can_checkpoint:
        raise ParameterValueError(f"--checkpoint is for --model mf, not for a {type(main).__name__}")
    with without_outlier_warnings(), keeping(saving, partial(_identity, plan, parts, table, refit, refits)):
        with nullcontext(Quiet()) if quiet else Bar() as progress:
            measured = measure(
                plan.models,
                parts,
                task=chosen,
                protocol=plan.protocol,
                reference=plan.reference,
                rng=seed,
                progress=progress,
                n_threads=threads,
                refits=further,
            )
            stopped = was_stopped(main)
            again = refit and not stopped and split != "file"
            if again:
                main.retrain(table, progress=progress)
                stopped = was_stopped(main)
        if stopped:
            tell("stopped by you: the best weights so far are measured and saved")
            if checkpoint is not None:
                tell(f"to go on instead: the same command with --resume, as long as {checkpoint} is there")
        rows = f"all {table.noun}s"
        trained_on = rows if again and not stopped else "the training part"
        main.item_texts_ = texts
        main.report_ = measured.to_dict() | {
            "trained_on": trained_on,
            "items_file": items.name if items else None,
            "data": table.describe().to_dict(),
        }
        main.save(out)
    trials = getattr(main, "search_", None)
    odd = odd_ratings(table, rating_range) if chosen == "ratings" else []
    cautions = [*odd, *filter(None, [doubt(measured, plan.name)])]
    if json:
        say_json(
            {"model": str(out), "cautions": cautions} | main.report_ | {"search": trials and trials.to_dict()}
        )
        return
    if trials is not None:
        say("Search on an inner validation part:")
        say(str(trials) + "\n")
    say_measurement(measured)
    for caution in cautions:
        say(f"Careful: {caution}")
    factors = f", {main.parameters_.n_factors} factors" if hasattr(main, "parameters_") else ""
    factors = f" ({alone})" if (alone := without_factors(main)) else factors
    inside = f" ({main.model_!r})" if hasattr(main, "model_") else ""
    say(f"\nSaved to {out}: {type(main).__name__}{inside} trained on {trained_on}{factors}. Next:")
    say(f"  bilinear recommend {out} --user {table.user_vocabulary[0]}")


def _identity(plan: Any, parts: Any, table: Any, refit: bool, refits: int) -> dict[str, Any]:
    """What a checkpoint knows this command by: models and the data of both trainings."""
    from bilinear.persistence.codec import encode, without_threads
    from bilinear.training.identity import table_identity

    models = {
        name: {"type": type(model).__name__}
        | {key: without_threads(encode(value)) for key, value in model.get_params(deep=False).items()}
        for name, model in plan.models.items()
    }
    data = {"train": table_identity(parts.train), "test": table_identity(parts.test)}
    return {"command": NAME, "models": models, "data": data | {"all": table_identity(table)}} | {
        "refit": refit,
        "refits": refits,
    }


def _read(ratings: str, store: str | None, **reading: Any) -> Any:
    """The table of a file, overlaid with the feedback of a store where one is given."""
    if store is None and not ratings:
        raise ParameterValueError("say what to train on: RATINGS, --store URL, or both")
    if store is None:
        return options.read_table(ratings, **reading)
    from bilinear.persistence.models import load
    from bilinear.serving.lifecycle.retrain_process import trained_on, with_feedback

    is_model = bool(ratings) and (Path(ratings) / "model.json").is_file()
    base = (
        trained_on(load(ratings)) if is_model else options.read_table(ratings, **reading) if ratings else None
    )
    return with_feedback(base, store)


def with_task(table: Any) -> tuple[Any, Any, str]:
    """The table, the task that it is for, and why; ratings that are all alike are taken as clicks."""
    from dataclasses import replace

    import numpy as np

    if not table.has_ratings:
        return table, "ranking", "No rating column: this ranks what a user may take up next (--task ranking)"
    if table.n_ratings and table.ratings.min() == table.ratings.max():
        alike = (
            f"Every rating is {table.ratings[0]:g}, which tells nothing apart: read as clicks, for a ranking"
        )
        return replace(table, ratings=np.ones_like(table.ratings), has_ratings=False), "ranking", alike
    return (
        table,
        "ratings",
        "With a rating column: this predicts ratings (--task ratings; what to show next: --task ranking)",
    )


def check_out(out: Path) -> None:
    """Refuses a place for the model before the work is done for it."""
    if out.exists() and not out.is_dir():
        raise ParameterValueError(f"{out} is a file; --out names a folder")
    if out.is_dir() and any(out.iterdir()) and not (out / "model.json").is_file():
        raise ParameterValueError(f"{out} holds other files and no model; choose another --out")
    if not out.resolve().parent.is_dir():
        raise ParameterValueError(f"{out}: there is no folder {out.resolve().parent}; make it first")
    folder = out if out.is_dir() else out.resolve().parent
    if not os.access(folder, os.W_OK | os.X_OK):
        raise ParameterValueError(f"{out}: you may not write into {folder}; choose another --out")


def item_texts(
    path: Path, vocabulary: Any, id_: str | None = None, title: str | None = None, quote: str = "auto"
) -> Any:
    """Titles and genres in the order of the model's items, as the model keeps them."""
    from bilinear.data.items import read_items
    from bilinear.data.packed_text import PackedText

    table = read_items(path, item=id_, title=title, match=vocabulary, quote=quote)
    missing = sum(item not in table for item in vocabulary)
    columns = ", ".join(map(repr, table.columns))
    if missing == len(vocabulary):
        raise ParameterValueError(
            f"{path} has none of the rated items' ids; its ids are such as {table.vocabulary[0]!r}, those of "
            f"the rated items such as {vocabulary[0]!r}. Of its columns {columns} name that of the ids: "
            "--items-id NAME"
        )
    if table.remark:
        tell(table.remark)
    if table.title_column is None and title != "":
        tell(f"{path.name}: no title column among {columns}; name it with --items-title NAME")
    if missing:
        tell(f"{path.name} lacks {missing:,} of {len(vocabulary):,} rated items; they are shown by their ids")
    texts = {"title": PackedText.of(table.titles(vocabulary))}
    if table.genre_column is not None:
        texts["genres"] = PackedText.of("|".join(table.genres(item)) for item in vocabulary)
    return texts


def was_stopped(model: Any) -> bool:
    """Whether Ctrl-C ended the model's training, which then kept the best weights so far."""
    return getattr(getattr(model, "history_", None), "ended", None) == "interrupted"
