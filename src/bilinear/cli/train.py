"""bilinear train: from a table of ratings or clicks to a measured model."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bilinear.cli import options
from bilinear.cli.measurement_tables import say_measurement
from bilinear.cli.models import completed_setting
from bilinear.cli.option_blocks import RankingOptions, RunOptions, option_blocks
from bilinear.cli.output import print_json, print_note, print_text
from bilinear.cli.result_warnings import doubt, odd_ratings, own_warnings, without_factors
from bilinear.cli.split_options import SplitOptions
from bilinear.cli.table_options import TableOptions, tell_table
from bilinear.errors import ParameterValueError

if TYPE_CHECKING:
    from bilinear.cli.training_plan import Plan, Wanted
    from bilinear.training.checkpoint import Checkpoint

NAME = "train"
HELP = "Train a model, measure it on a part it has not seen, and save it."
EXAMPLES = """Examples:

bilinear train ratings.csv --items movies.csv --out model

bilinear train ratings.csv --items movies.csv --item-features genres,year

bilinear train clicks.csv

bilinear train ratings.csv --set n_factors=64 --set 'solver=ALS(n_epochs=20)'

bilinear train ratings.csv --task ranking --threshold 4 --model implicit-als --set n_factors=256

bilinear train ratings.csv --split temporal --also mf:link=Sigmoid

bilinear train sqlite:///shop.db --query 'SELECT user_id, item_id, stars FROM reviews'
"""

Out = Annotated[Path, typer.Option(help="The folder to write; an older model there is replaced.")]
ModelName = Annotated[
    str,
    typer.Option(
        "--model",
        help="auto, mf, biases or mean of ratings; auto, random-walk, graph-filter, implicit-als, ease, "
        "sparse-ease, item-knn, popularity and others of rankings.",
    ),
]
Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        help="NAME=VALUE, any argument of the model, such as l2=0.5, link=Sigmoid or solver__n_epochs=30. "
        "May be given more than once.",
        autocompletion=completed_setting,
    ),
]
Also = Annotated[
    list[str] | None,
    typer.Option(
        help="Measure another model beside: NAME or NAME:ARGUMENT=VALUE,..., such as mf:link=Sigmoid. May be "
        "given more than once."
    ),
]
TimeBudget = Annotated[
    float | None,
    typer.Option(
        help="Ranking, model auto: seconds by the clock to try models in, in place of estimated work."
    ),
]
Refit = Annotated[
    bool,
    typer.Option(
        "--refit/--no-refit", help="Save a model trained on all rows, or the one that was measured."
    ),
]
CheckpointFolder = Annotated[
    Path | None,
    typer.Option(help="A folder for the state of training, so that it survives a kill; gone at the end."),
]
Minutes = Annotated[float, typer.Option(help="Minutes between two checkpoints.", min=0)]
Resume = Annotated[
    bool, typer.Option("--resume", help="Go on with the training in --checkpoint; else begin.")
]


@dataclass(frozen=True)
class TrainingTable(TableOptions):
    """The rows of a table, of a feedback store, or of both."""

    store: Annotated[
        str | None,
        typer.Option(
            help="Feedback of `bilinear serve`, which counts before RATINGS (a file or a model folder)."
        ),
    ] = None

    def read(self, source: str, has_ratings: bool | None = None) -> Any:
        if self.store is None and not source:
            raise ParameterValueError("say what to train on: RATINGS, --store URL, or both")
        if self.store is None:
            return super().read(source, has_ratings)
        from bilinear.persistence.models import load
        from bilinear.serving.lifecycle.retrain_process import trained_on, with_feedback

        is_model = bool(source) and (Path(source) / "model.json").is_file()
        base = trained_on(load(source)) if is_model else super().read(source, has_ratings) if source else None
        return with_feedback(base, self.store)


@option_blocks
def command(
    *,
    ratings: options.Ratings = "",
    out: Out = Path("model"),
    items: options.ItemsFile = None,
    items_quote: options.ItemsQuote = "auto",
    items_id: options.ItemsId = None,
    items_title: options.ItemsTitle = None,
    item_features: options.ItemFeatures = None,
    users: options.UsersFile = None,
    users_quote: options.UsersQuote = "auto",
    users_id: options.UsersId = None,
    user_features: options.UserFeatures = None,
    model: ModelName = "auto",
    set_: Settings = None,
    also: Also = None,
    task: options.Task = None,
    time_budget: TimeBudget = None,
    reading: TrainingTable,
    splitting: SplitOptions,
    ranking: RankingOptions,
    refit: Refit = True,
    checkpoint: CheckpointFolder = None,
    checkpoint_every: Minutes = 5.0,
    resume: Resume = False,
    run: RunOptions,
) -> None:
    from bilinear.cli.training_plan import Wanted
    from bilinear.estimators.with_features import texts_of
    from bilinear.training.checkpoint import checkpointing

    check_out(out)
    saving = _checkpoint(checkpoint, checkpoint_every, resume)
    features = {"item_features": item_features, "user_features": user_features}
    _check_features(features, items, users)
    for_ranking = vars(ranking) | {"time_budget": time_budget}
    wanted = Wanted.of(task, model, set_, also, for_ranking, run.seed, run.threads, features)
    table, chosen, plan = _planned(wanted, partial(reading.read, ratings), run.quiet)
    films = options.read_side("items", items, table.item_vocabulary, items_id, items_title, items_quote)
    people = options.read_side("users", users, table.user_vocabulary, users_id, None, users_quote)
    if not run.quiet:
        tell_table(table)
    splitting = splitting.resolved(table, chosen, run.quiet)
    further = splitting.further(table, run.seed, reading)
    parts = splitting.held_out(table, run.seed, reading)
    if not run.quiet:
        _tell_features(plan.models[plan.name], films, people)
    main = plan.models[plan.name]
    _check_checkpoint(saving, main)
    identity = partial(_identity, plan, parts, table, refit, splitting.refits)
    with own_warnings() as leaks, checkpointing(saving, identity):
        on_everything = refit and splitting.split != "file"
        measured, trained_on = _trained(
            plan, chosen, parts, table, further, on_everything, checkpoint, run, films, people
        )
        if films is not None:
            of_items = getattr(getattr(main, "features_", None), "items", None)
            main.item_texts_ = texts_of(films, main.item_vocabulary_, of_items)
        main.report_ = measured.to_dict() | {
            "trained_on": trained_on,
            "items_file": items.name if items else None,
            "data": table.describe().to_dict(),
        }
        main.save(out)
    odd = odd_ratings(table, getattr(main, "rating_range", None)) if chosen == "ratings" else []
    cautions = [*odd, *leaks, *filter(None, [doubt(measured, plan.name)])]
    if run.json:
        trials = getattr(main, "search_", None)
        shown = {"model": str(out), "cautions": cautions} | main.report_
        print_json(shown | {"search": trials and trials.to_dict()})
    else:
        _say_trained(main, measured, cautions, out, trained_on, table)


def _checkpoint(folder: Path | None, every: float, resume: bool) -> Checkpoint | None:
    from bilinear.training.checkpoint import Checkpoint

    if resume and folder is None:
        raise ParameterValueError("--resume: name the folder of the unfinished training with --checkpoint")
    saving = None if folder is None else Checkpoint(folder, every, resume)
    if saving is not None:
        saving.check()
    return saving


def _check_checkpoint(saving: Checkpoint | None, main: Any) -> None:
    if saving is not None and not main.can_checkpoint:
        raise ParameterValueError(
            f"--checkpoint: {type(main).__name__} is not trained in epochs, so nothing can be kept; "
            "leave it out, or choose a model such as --model mf or --model implicit-als"
        )


def _planned(wanted: Wanted, read: Callable[..., Any], quiet: bool) -> tuple[Any, str, Plan]:
    """The table, its task and what to train; what can be refused before the table is read is refused then."""
    task = wanted.implied_task()
    if task is None:
        table, task, why = with_task(read())
        if not quiet:
            print_note(why)
        plan = wanted.plan(task)
    else:
        plan = wanted.plan(task)
        table = read(has_ratings=True if task == "ratings" else None)
    table.check_trainable()
    return table, task, plan


def _trained(
    plan: Plan,
    task: Any,
    parts: Any,
    table: Any,
    further: Any,
    on_everything: bool,
    checkpoint: Path | None,
    run: RunOptions,
    items: Any,
    users: Any,
) -> tuple[Any, str]:
    """The measurement of all models, and what the one that is kept was trained on in the end."""
    from bilinear.estimators.measurement import measure

    main = plan.models[plan.name]
    with run.progress() as progress:
        measured = measure(
            plan.models,
            parts,
            task=task,
            protocol=plan.protocol,
            baseline=plan.baseline,
            rng=run.seed,
            progress=progress,
            n_threads=run.threads,
            refits=further,
            items=items,
            users=users,
        )
        again = on_everything and not was_stopped(main)
        if again:
            main.retrain(table, progress=progress)
    if not was_stopped(main):
        return measured, f"all {table.noun}s" if again else "the training part"
    print_note("stopped by you: the best weights so far are measured and saved")
    if checkpoint is not None:
        print_note(f"to go on instead: the same command with --resume, as long as {checkpoint} is there")
    return measured, "the training part"


def _say_trained(
    main: Any, measured: Any, cautions: list[str], out: Path, trained_on: str, table: Any
) -> None:
    trials = getattr(main, "search_", None)
    if trials is not None:
        print_text("Search on an inner validation part:")
        print_text(str(trials) + "\n")
    say_measurement(measured)
    for caution in cautions:
        print_text(f"Careful: {caution}")
    factors = f", {main.parameters_.n_factors} factors" if hasattr(main, "parameters_") else ""
    factors = f" ({alone})" if (alone := without_factors(main)) else factors
    inside = f" ({main.model_!r})" if hasattr(main, "model_") else ""
    print_text(f"\nSaved to {out}: {type(main).__name__}{inside} trained on {trained_on}{factors}. Next:")
    print_text(f"  bilinear recommend {out} --user {shlex.quote(str(table.user_vocabulary[0]))}")


def _identity(plan: Any, parts: Any, table: Any, refit: bool, refits: int) -> dict[str, Any]:
    """Identity of this command for checkpoints: models, and the data of both trainings."""
    from bilinear.persistence.codec import encode, without_threads
    from bilinear.training.training_identity import table_identity

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
        raise ParameterValueError(f"{out}: no folder {out.resolve().parent}; make it first")
    folder = out if out.is_dir() else out.resolve().parent
    if not os.access(folder, os.W_OK | os.X_OK):
        raise ParameterValueError(f"{out}: you may not write into {folder}; choose another --out")


def _check_features(features: Mapping[str, str | None], items: Path | None, users: Path | None) -> None:
    for option, path in (("item_features", items), ("user_features", users)):
        if features[option] is not None and path is None:
            side = f"{option.partition('_')[0]}s"
            raise ParameterValueError(
                f"--{option.replace('_', '-')}: name the file with these columns: --{side} FILE"
            )


def _tell_features(model: Any, items: Any, users: Any) -> None:
    """What the columns of the features were taken for."""
    from bilinear.data.features.inference import describe_features

    for wanted, table in (
        (getattr(model, "item_features", ()), items),
        (getattr(model, "user_features", ()), users),
    ):
        if wanted:
            print_note(str(describe_features(table, wanted)))


def was_stopped(model: Any) -> bool:
    """Whether Ctrl-C ended the model's training, which then kept the best weights so far."""
    return getattr(getattr(model, "history_", None), "ended", None) == "interrupted"
