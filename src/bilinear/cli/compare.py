"""bilinear compare: any models on the same held-out part, in one table."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from bilinear.cli import options, split_options
from bilinear.cli.measurement_tables import say_comparison, say_measurement
from bilinear.cli.output import print_json, print_note
from bilinear.cli.result_warnings import odd_ratings, own_warnings
from bilinear.errors import ParameterValueError

NAME = "compare"
HELP = "Measure several models on the same held-out part: scores with intervals, and paired differences."
EXAMPLES = """Examples:

bilinear compare clicks.csv

bilinear compare clicks.csv --model popularity --model ease:l2=200 --model implicit-als:n_factors=256

bilinear compare ratings.csv --task ranking --model mf --model random-walk --relevant-from 4

bilinear compare test.csv --model folder_of_a_model --model folder_of_another
"""
_USUAL = {
    "ratings": ("mean", "biases", "mf"),
    "ranking": ("popularity", "item-knn", "random-walk", "graph-filter"),
}


def command(
    ratings: options.Ratings,
    model: Annotated[
        list[str] | None,
        typer.Option(
            help="NAME or NAME:ARGUMENT=VALUE,... as of `bilinear train`; or folders of saved models, for "
            "which the file is the test part. Give it once for each; else the usual ones."
        ),
    ] = None,
    baseline: Annotated[
        str | None, typer.Option(help="The model that differences are taken to, as given; else the first.")
    ] = None,
    task: options.Task = None,
    split: split_options.Split = "random",
    test: split_options.Test = None,
    refits: split_options.Refits = 0,
    threshold: options.Threshold = None,
    confidence: options.Confidence = None,
    relevant_from: options.RelevantFrom = None,
    cutoffs: options.Cutoffs = None,
    user: options.User = None,
    item: options.Item = None,
    rating: options.Rating = None,
    time: options.Time = None,
    count: options.Count = None,
    layout: options.Layout = "auto",
    query: options.Query = None,
    duplicates: options.Duplicates = None,
    encoding: options.Encoding = "utf-8",
    quote: options.Quote = "auto",
    time_format: options.TimeFormat = None,
    skip_bad_rows: options.SkipBadRows = None,
    memory_limit: options.MemoryLimit = None,
    missing: options.Missing = None,
    ids: options.Ids = None,
    threads: options.Threads = None,
    seed: options.Seed = 0,
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    task = options.task_of(task)
    if model and len(set(model)) < len(model):
        raise ParameterValueError("--model: one is given twice")
    folders = [spec for spec in model or () if (Path(spec) / "model.json").is_file()]
    if folders and len(folders) < len(model or ()):
        raise ParameterValueError(
            f"--model {folders[0]} is a saved model and others are not: what it was trained on is not known "
            "to be the same; give saved models only, or names only"
        )
    reading = options.reading(locals())
    weighing = {
        name: value
        for name, value in (("threshold", threshold), ("confidence", confidence))
        if value is not None
    }
    chosen = None if folders else _models(model, weighing, seed, threads, task)
    if task is None and (folders or chosen):
        task = _task_of(folders, chosen)
    if task == "ratings" and (weighing or relevant_from is not None or cutoffs):
        raise ParameterValueError(
            "--threshold, --confidence, --relevant-from and --cutoffs are for rankings: add --task ranking"
        )
    table = options.read_table(
        ratings, query=query, has_ratings=True if task == "ratings" else None, **reading
    )
    if task is None:
        task = "ratings" if table.has_ratings else "ranking"
    protocol = None
    if task == "ranking":
        relevant = threshold if relevant_from is None else relevant_from
        protocol = options.ranking_protocol(cutoffs, relevant, seed)
    if not quiet:
        options.tell_table(table)
    if folders:
        if test is not None or split != "random" or weighing or refits:
            raise ParameterValueError(
                "saved models are measured on the whole file: no --split, --test, --refits, --threshold or "
                "--confidence"
            )
        _saved(folders, table, task, protocol, baseline, seed, threads, json)
        return
    models = chosen or _models(_USUAL[task], weighing, seed, threads, task)
    table.check_trainable()
    again = split_options.further(table, split, test, seed, reading, refits)
    parts = split_options.held_out(table, split, test, seed, reading)
    if task == "ratings" and not quiet:
        for line in odd_ratings(table):
            print_note(line)
    baseline = baseline or next(iter(models))
    _measured(models, parts, again, task, protocol, baseline, seed, threads, json, quiet)


def _models(
    specs: Any, weighing: dict[str, Any], seed: int, threads: int | None, task: str | None
) -> dict[str, Any]:
    from bilinear.cli.models import build_model, is_rating_model, model_class, parsed_spec

    models = {}
    for spec in specs or ():
        name, settings = parsed_spec(spec)
        kind = model_class(name, "ratings" if task == "ratings" else None)
        extra = {} if is_rating_model(kind) else weighing
        models[spec] = build_model(kind, settings, seed=seed, threads=threads, **extra)
    return models


def _task_of(folders: list[str], chosen: dict[str, Any] | None) -> str | None:
    """Ranking if any model only ranks; else what the table allows."""
    from bilinear.persistence.models import load

    models = [load(folder) for folder in folders] or list((chosen or {}).values())
    return None if all(model.predicts_ratings for model in models) else "ranking"


def _measured(
    models: dict[str, Any],
    parts: Any,
    again: Any,
    task: Any,
    protocol: Any,
    baseline: str,
    seed: int,
    threads: int | None,
    json: bool,
    quiet: bool,
) -> None:
    from contextlib import nullcontext

    from bilinear.cli.train import was_stopped
    from bilinear.estimators.measurement import measure
    from bilinear.training.progress import Bar, NullProgress

    with own_warnings(), nullcontext(NullProgress()) if quiet else Bar() as progress:
        measured = measure(
            models,
            parts,
            task=task,
            protocol=protocol,
            baseline=baseline,
            rng=seed,
            progress=progress,
            n_threads=threads,
            refits=again,
        )
    if stopped := [name for name, model in models.items() if was_stopped(model)]:
        print_note(
            f"stopped by you: {', '.join(stopped)} measured with the best weights so far, not fully trained"
        )
    if json:
        print_json(measured.to_dict())
    else:
        say_measurement(measured)


def _saved(
    folders: list[str],
    table: Any,
    task: str,
    protocol: Any,
    baseline: str | None,
    seed: int,
    threads: int | None,
    json: bool,
) -> None:
    from bilinear.evaluation.compare import compare
    from bilinear.evaluation.compare_ratings import compare_ratings
    from bilinear.persistence.models import load

    models = {folder: load(folder) for folder in folders}
    baseline = baseline or folders[0]
    found: Any
    if task == "ranking":
        found = compare(models, table, protocol, baseline=baseline, n_threads=threads)
    else:
        found = compare_ratings(models, table, baseline=baseline, rng=seed)
    if json:
        print_json({"task": task} | found.to_dict())
    else:
        say_comparison(found)
