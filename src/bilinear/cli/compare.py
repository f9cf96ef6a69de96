"""bilinear compare: any models on the same held-out part, in one table."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from bilinear.cli import options
from bilinear.cli.measurement_tables import say_comparison, say_measurement
from bilinear.cli.option_blocks import RankingOptions, RunOptions, option_blocks
from bilinear.cli.output import print_json, print_note
from bilinear.cli.result_warnings import odd_ratings, own_warnings
from bilinear.cli.split_options import SplitOptions
from bilinear.cli.table_options import TableOptions, tell_table
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


@option_blocks
def command(
    *,
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
    splitting: SplitOptions,
    ranking: RankingOptions,
    reading: TableOptions,
    run: RunOptions,
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
    weighing = {
        name: value
        for name, value in (("threshold", ranking.threshold), ("confidence", ranking.confidence))
        if value is not None
    }
    chosen = None if folders else _models(model, weighing, run, task)
    if task is None and (folders or chosen):
        task = _task_of(folders, chosen)
    if task == "ratings" and (weighing or ranking.relevant_from is not None or ranking.cutoffs):
        raise ParameterValueError(
            "--threshold, --confidence, --relevant-from and --cutoffs are for rankings: add --task ranking"
        )
    table = reading.read(ratings, has_ratings=True if task == "ratings" else None)
    if task is None:
        task = "ratings" if table.has_ratings else "ranking"
    protocol = None
    if task == "ranking":
        relevant = ranking.threshold if ranking.relevant_from is None else ranking.relevant_from
        protocol = options.ranking_protocol(ranking.cutoffs, relevant, run.seed)
    if not run.quiet:
        tell_table(table)
    if folders:
        if splitting != SplitOptions() or weighing:
            raise ParameterValueError(
                "saved models are measured on the whole file: no --split, --test, --refits, --threshold or "
                "--confidence"
            )
        _saved(folders, table, task, protocol, baseline, run)
        return
    models = chosen or _models(_USUAL[task], weighing, run, task)
    table.check_trainable()
    splitting = splitting.resolved(table, task, run.quiet)
    again = splitting.further(table, run.seed, reading)
    parts = splitting.held_out(table, run.seed, reading)
    if task == "ratings" and not run.quiet:
        for line in odd_ratings(table):
            print_note(line)
    baseline = baseline or next(iter(models))
    _measured(models, parts, again, task, protocol, baseline, run)


def _models(specs: Any, weighing: dict[str, Any], run: RunOptions, task: str | None) -> dict[str, Any]:
    from bilinear.cli.models import build_model, is_rating_model, model_class, parsed_spec

    models = {}
    for spec in specs or ():
        name, settings = parsed_spec(spec)
        kind = model_class(name, "ratings" if task == "ratings" else None)
        extra = {} if is_rating_model(kind) else weighing
        models[spec] = build_model(kind, settings, seed=run.seed, threads=run.threads, **extra)
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
    run: RunOptions,
) -> None:
    from bilinear.cli.train import was_stopped
    from bilinear.estimators.measurement import measure

    with own_warnings(), run.progress() as progress:
        measured = measure(
            models,
            parts,
            task=task,
            protocol=protocol,
            baseline=baseline,
            rng=run.seed,
            progress=progress,
            n_threads=run.threads,
            refits=again,
        )
    if stopped := [name for name, model in models.items() if was_stopped(model)]:
        print_note(
            f"stopped by you: {', '.join(stopped)} measured with the best weights so far, not fully trained"
        )
    if run.json:
        print_json(measured.to_dict())
    else:
        say_measurement(measured)


def _saved(
    folders: list[str],
    table: Any,
    task: str,
    protocol: Any,
    baseline: str | None,
    run: RunOptions,
) -> None:
    from bilinear.evaluation.compare import compare
    from bilinear.evaluation.compare_ratings import compare_ratings
    from bilinear.persistence.models import load

    models = {folder: load(folder) for folder in folders}
    baseline = baseline or folders[0]
    found: Any
    if task == "ranking":
        found = compare(models, table, protocol, baseline=baseline, n_threads=run.threads)
    else:
        found = compare_ratings(models, table, baseline=baseline, rng=run.seed)
    if run.json:
        print_json({"task": task} | found.to_dict())
    else:
        say_comparison(found)
