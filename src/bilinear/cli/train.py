"""bilinear train: from a table of ratings to a measured model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from bilinear.cli import options
from bilinear.cli.output import say, say_json, say_table, tell
from bilinear.errors import ParameterValueError

NAME = "train"
HELP = "Train a model, measure it on ratings it has not seen, and save it."
_ENOUGH = 30  # rows below which an RMSE says nothing
EXAMPLES = """Examples:

bilinear train ratings.csv --items movies.csv --out model

bilinear train ratings.csv --split temporal --also cross-entropy

bilinear train sqlite:///shop.db --query 'SELECT user_id, item_id, stars FROM reviews'
"""


def command(
    ratings: options.Ratings,
    out: Annotated[Path, typer.Option(help="The folder to write; an older model there is replaced.")] = Path(
        "model"
    ),
    items: Annotated[
        Path | None, typer.Option(help="A file with an id, a title and other columns for each item.")
    ] = None,
    user: options.User = None,
    item: options.Item = None,
    rating: options.Rating = None,
    time: options.Time = None,
    query: options.Query = None,
    duplicates: options.Duplicates = "last",
    encoding: options.Encoding = "utf-8",
    memory_limit: options.MemoryLimit = None,
    split: Annotated[
        str, typer.Option(help="How to hold out the test part: random, per-user, temporal, or file.")
    ] = "random",
    test: Annotated[
        str,
        typer.Option(help="Share of the ratings to hold out; with --split file, the file of test ratings."),
    ] = "0.2",
    n_factors: Annotated[str, typer.Option(help="Length of the factors, or auto.")] = "auto",
    l2: Annotated[str, typer.Option(help="Penalty of the factors, or auto.")] = "auto",
    l2_biases: Annotated[str, typer.Option(help="Penalty of the biases, or auto.")] = "auto",
    link: Annotated[str, typer.Option(help="identity, or sigmoid into the rating range.")] = "identity",
    loss: Annotated[
        str, typer.Option(help="squared, or cross-entropy (with the sigmoid; convex).")
    ] = "squared",
    rating_range: Annotated[
        tuple[float, float] | None, typer.Option(help="Lowest and highest prediction; else the data's own.")
    ] = None,
    n_epochs: Annotated[str, typer.Option(help="Passes over the ratings, or auto.")] = "auto",
    learning_rate: Annotated[float, typer.Option(help="Largest step, for ratings of deviation one.")] = 0.02,
    momentum: Annotated[float, typer.Option(help="Heavy-ball momentum, below 1.")] = 0.0,
    schedule: Annotated[str, typer.Option(help="one-cycle or constant.")] = "one-cycle",
    also: Annotated[
        list[str] | None,
        typer.Option(help="Measure beside: sigmoid, cross-entropy. May be given more than once."),
    ] = None,
    refit: Annotated[
        bool,
        typer.Option(
            "--refit/--no-refit", help="Save a model trained on all ratings, or the one that was measured."
        ),
    ] = True,
    threads: Annotated[
        int | None, typer.Option(help="Cores to use, else all; the result does not depend on it.", min=1)
    ] = None,
    seed: options.Seed = 0,
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    from contextlib import nullcontext

    from bilinear.estimators.baselines import BiasModel, GlobalMean
    from bilinear.estimators.experiment import measure
    from bilinear.estimators.matrix_factorization import MatrixFactorization
    from bilinear.training.progress import Bar, Quiet
    from bilinear.training.schedules import Constant, OneCycle
    from bilinear.training.sgd import SGD

    schedules = {"one-cycle": OneCycle(), "constant": Constant()}
    model = MatrixFactorization(
        n_factors=_auto_or(int, "--n-factors", n_factors),
        l2=_auto_or(float, "--l2", l2),
        l2_biases=_auto_or(float, "--l2-biases", l2_biases),
        **_link_and_loss(link, loss),
        rating_range=rating_range,
        solver=SGD(
            _auto_or(int, "--n-epochs", n_epochs),
            learning_rate,
            momentum,
            _one_of(schedules, "--schedule", schedule),
            threads=threads,
        ),
        rng=seed,
    )
    variants = {"sigmoid": ("sigmoid", "squared"), "cross-entropy": ("sigmoid", "cross-entropy")}
    models = {
        "GlobalMean": GlobalMean(rating_range),
        "BiasModel": BiasModel(rating_range=rating_range, rng=seed),
        "MatrixFactorization": model,
    }
    for name in also or []:
        chosen = _link_and_loss(*_one_of(variants, "--also", name))
        models[f"MatrixFactorization, {name}"] = MatrixFactorization(**model.get_params(deep=False) | chosen)
    check_out(out)
    reading: dict[str, Any] = {"user": user, "item": item, "rating": rating, "time": time}
    reading |= {"duplicates": duplicates, "encoding": encoding, "memory_limit": memory_limit}
    table = options.read_table(ratings, query=query, **reading)
    table.check_trainable()
    texts = _item_texts(items, table.item_vocabulary) if items else {}
    parts = _split(table, split, test, seed, reading)
    if not quiet:
        tell(repr(table) + (f"; {table.n_duplicates:,} repeated rows merged" if table.n_duplicates else ""))
    with nullcontext(Quiet()) if quiet else Bar() as progress:
        measured = measure(models, parts, reference="BiasModel", rng=seed, progress=progress)
        stopped = model.history_.ended == "interrupted"
        if refit and not stopped:
            everything = table if split != "file" else parts.train
            model.retrain(everything, progress=progress)
            stopped = model.history_.ended == "interrupted"
    if stopped:
        tell("stopped by you: the best weights so far are measured and saved")
    trained_on = "all ratings" if refit and not stopped and split != "file" else "the training part"
    model.item_texts_ = texts
    model.report_ = measured.to_dict() | {
        "trained_on": trained_on,
        "items_file": items.name if items else None,
        "data": table.describe().to_dict(),
    }
    model.save(out)
    if json:
        say_json({"model": str(out)} | model.report_ | {"search": model.search_ and model.search_.to_dict()})
        return
    if model.search_ is not None:
        say("Search on an inner validation part:")
        say(str(model.search_) + "\n")
    say_measurement(measured)
    say(f"\nSaved to {out}: trained on {trained_on}, {model.parameters_.n_factors} factors. Next:")
    first = table.user_vocabulary[0]
    say(f"  bilinear recommend {out} --user {first}")


def say_measurement(measured: Any) -> None:
    """The table of models and what share of the held-out rows was unknown."""
    any_scores = next(iter(measured.scores.values()))
    worst_first = sorted(measured.scores.items(), key=lambda pair: -pair[1].rmse.value)
    say(
        f"Held out: {any_scores.n_ratings:,} ratings of {any_scores.n_users:,} users ({measured.split}), "
        "never seen in training or search"
    )
    say_table(
        {
            "model": [name for name, _ in worst_first],
            "RMSE [95 % interval]": [str(scores.rmse) for _, scores in worst_first],
            "MAE [95 % interval]": [str(scores.mae) for _, scores in worst_first],
            f"RMSE - {measured.reference}'s": [
                _signed(measured.differences[name]) if name in measured.differences else ""
                for name, _ in worst_first
            ],
            "seconds": [f"{measured.seconds[name]:.2f}" for name, _ in worst_first],
        },
        right=["seconds"],
    )
    n_unknown = any_scores.n_unknown
    if n_unknown:
        say(
            f"Of these ratings {any_scores.unknown_users:.1%} have a user and "
            f"{any_scores.unknown_items:.1%} an item without training ratings, {n_unknown:,} in all"
            + ("; RMSE on them:" if n_unknown >= _ENOUGH else "")
        )
        for name, scores in worst_first if n_unknown >= _ENOUGH else ():
            say(f"  {name}: {scores.rmse_unknown:.4f}")


def _signed(difference: Any) -> str:
    return f"{difference.value:+.4f} [{difference.low:+.4f}, {difference.high:+.4f}]"


def check_out(out: Path) -> None:
    """Refuses a place for the model before the work is done for it."""
    if out.exists() and not out.is_dir():
        raise ParameterValueError(f"{out} is a file; --out names a folder")
    if out.is_dir() and any(out.iterdir()) and not (out / "model.json").is_file():
        raise ParameterValueError(f"{out} holds other files and no model; choose another --out")
    if not out.resolve().parent.is_dir():
        raise ParameterValueError(f"{out}: there is no folder {out.resolve().parent}; make it first")


def _split(table: Any, how: str, test: str, seed: int, reading: dict[str, Any]) -> Any:
    from bilinear.data import splits

    if how == "file":
        return splits.split_file(table, options.read_table(test, **reading))
    try:
        share = float(test)
    except ValueError:
        raise ParameterValueError(
            f"--test {test}: a share such as 0.2; a file of test ratings goes with --split file"
        ) from None
    by_name = {
        "random": lambda: splits.split_random(table, share, seed),
        "per-user": lambda: splits.split_per_user(table, share, seed),
        "temporal": lambda: splits.split_temporal(table, share),
    }
    return _one_of(by_name, "--split", how)()


def _item_texts(path: Path, vocabulary: Any) -> Any:
    """Titles and genres in the order of the model's items, as the model keeps them."""
    from bilinear.data.items import read_items
    from bilinear.data.packed_text import PackedText

    table = read_items(path)
    missing = sum(item not in table for item in vocabulary)
    if missing == len(vocabulary):
        raise ParameterValueError(
            f"{path} has none of the rated items' ids; its ids are such as {table.vocabulary[0]!r}, those of "
            f"the rated items such as {vocabulary[0]!r}"
        )
    if missing:
        tell(f"{path.name} lacks {missing:,} of {len(vocabulary):,} rated items; they are shown by their ids")
    texts = {"title": PackedText.of(table.titles(vocabulary))}
    if table.genre_column is not None:
        texts["genres"] = PackedText.of("|".join(table.genres(item)) for item in vocabulary)
    return texts


def _link_and_loss(link: str, loss: str) -> dict[str, Any]:
    from bilinear.model.link import Identity, Sigmoid
    from bilinear.objective.losses import CrossEntropy, SquaredError

    chosen = _one_of({"identity": Identity(), "sigmoid": Sigmoid()}, "--link", link)
    if loss == "cross-entropy":
        chosen = Sigmoid()
    return {
        "link": chosen,
        "loss": _one_of({"squared": SquaredError(), "cross-entropy": CrossEntropy()}, "--loss", loss),
    }


def _auto_or(kind: type, option: str, given: str) -> Any:
    if given == "auto":
        return "auto"
    try:
        return kind(given)
    except ValueError:
        raise ParameterValueError(f"{option} {given}: a number, or auto") from None


def _one_of(choices: dict[str, Any], option: str, given: str) -> Any:
    if given not in choices:
        raise ParameterValueError(f"{option} {given}: choose {' or '.join(choices)}")
    return choices[given]
