"""bilinear lab: measure a model, certify an optimum, check a proof, race optimisers."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any

import typer

from bilinear.cli import options
from bilinear.cli.output import say, say_json, tell
from bilinear.cli.plans import auto_or, one_of
from bilinear.errors import ParameterValueError

NAME = "lab"
EXAMPLES = """Examples:

bilinear lab model ratings.csv --html lab.html

bilinear lab certify ratings.csv --out best --proof proof

bilinear lab verify proof ratings.csv

bilinear lab race ratings.csv --html race.html

A model folder that is called like a command: bilinear lab ./race ratings.csv
"""

_REPORT = "report"


class _ReportUnlessNamed(typer.core.TyperGroup):
    """`lab MODEL RATINGS` is `lab report MODEL RATINGS`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and args[0] not in (*self.commands, "--help"):
            args = [_REPORT, *args]
        return super().parse_args(ctx, args)


app = typer.Typer(
    cls=_ReportUnlessNamed,
    help="Is the model linear, is its loss convex, is it at the optimum, does it generalise? Measured.",
    epilog=EXAMPLES,
    no_args_is_help=True,
)

Penalty = Annotated[str, typer.Option(help="Penalty of the factors, or auto: found as in `bilinear train`.")]
BiasPenalty = Annotated[str, typer.Option(help="Penalty of the biases, or auto.")]
Exponent = Annotated[float, typer.Option(help="How penalties grow with a row's number of ratings.", min=0)]
Loss = Annotated[str, typer.Option(help="squared, or cross-entropy (after a sigmoid); both have proofs.")]
Html = Annotated[Path | None, typer.Option(help="Write one page with pictures as well.")]


@app.command(
    name=_REPORT,
    help="Measure a saved model on its training ratings. Also: `bilinear lab MODEL RATINGS`.",
    epilog="Example: bilinear lab report model ratings.csv --seeds 4 --study --html lab.html",
)
def report(
    model: options.Model,
    ratings: options.Ratings,
    html: Html = None,
    test: Annotated[str | None, typer.Option(help="A file of ratings that were not trained on.")] = None,
    seeds: Annotated[int, typer.Option(help="Other random starts to compare, 2 or more; slow.")] = 0,
    control: Annotated[bool, typer.Option("--control", help="Train once more on shuffled ratings.")] = False,
    study: Annotated[
        bool, typer.Option("--study", help="Train on a part: errors over epochs, penalty and factors; slow.")
    ] = False,
    products: Annotated[
        int | None,
        typer.Option(help="Budget of polishing, in Hessian products; else some 15 seconds.", min=1),
    ] = None,
    keep: Annotated[
        bool, typer.Option("--keep", help="Keep the report with the model, for the page of `bilinear serve`.")
    ] = False,
    user: options.User = None,
    item: options.Item = None,
    rating: options.Rating = None,
    time: options.Time = None,
    query: options.Query = None,
    duplicates: options.Duplicates = "last",
    encoding: options.Encoding = "utf-8",
    memory_limit: options.MemoryLimit = None,
    missing: options.Missing = None,
    ids: options.Ids = None,
    seed: options.Seed = 0,
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    from bilinear.estimators.storage import load
    from bilinear.lab.report import report as lab_report

    check_page(html)
    fitted = load(model)
    reading = options.reading(locals())
    table = options.read_table(ratings, query=query, **reading)
    found = lab_report(
        fitted,
        table,
        test=None if test is None else options.read_table(test, **reading),
        n_seeds=seeds,
        control=control,
        study=study,
        max_products=products,
        seed=seed,
        tell=None if quiet else tell,
    )
    if html is not None:
        found.to_html(html)
        tell(f"report written to {html}")
    if keep:
        fitted.report_ = {**fitted.report_, "lab": found.to_dict()}
        fitted.save(model)
        tell(f"kept with {model}")
    if json:
        say_json(found.to_dict())
    else:
        say(str(found))


@app.command(
    help="Find a provably optimal factorisation and write it, with a proof that anyone can check.",
    epilog="Example: bilinear lab certify ratings.csv --l2 1 --l2-biases 0.8 --out best --proof proof",
)
def certify(
    ratings: options.Ratings,
    out: Annotated[Path, typer.Option(help="The model folder to write; an older model there is replaced.")],
    proof: Annotated[Path | None, typer.Option(help="The proof folder to write; else OUT-proof.")] = None,
    l2: Penalty = "auto",
    l2_biases: BiasPenalty = "auto",
    l2_exponent: Exponent = 0.5,
    loss: Loss = "squared",
    max_factors: Annotated[int | None, typer.Option(help="An end to the growth.", min=0)] = None,
    products: Annotated[int, typer.Option(help="An end to the work, in Hessian products.", min=1)] = 20_000,
    user: options.User = None,
    item: options.Item = None,
    rating: options.Rating = None,
    time: options.Time = None,
    query: options.Query = None,
    duplicates: options.Duplicates = "last",
    encoding: options.Encoding = "utf-8",
    memory_limit: options.MemoryLimit = None,
    missing: options.Missing = None,
    ids: options.Ids = None,
    seed: options.Seed = 0,
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    from bilinear.cli.train import check_out
    from bilinear.lab.certify import certify as lab_certify
    from bilinear.lab.proof import save_proof

    place = out.with_name(f"{out.name}-proof") if proof is None else proof
    if place.resolve() == out.resolve():
        raise ParameterValueError(f"--proof {place} is the folder of the model; choose another")
    check_out(out)
    check_out(place)
    table = options.read_table(ratings, query=query, **options.reading(locals()))
    table.check_trainable()
    chosen, penalty = objective_parts(table, loss, l2, l2_biases, l2_exponent, seed, quiet)
    found = lab_certify(
        table,
        **chosen,
        penalty=penalty,
        max_factors=max_factors,
        max_products=products,
        seed=seed,
        report=None if quiet else lambda round_: tell(str(round_)),
    )
    model = found.to_model()
    model.report_ = {"trained_on": "all ratings", "certificate": found.certificate.to_dict()}
    model.save(out)
    save_proof(found, place)
    if json:
        say_json({"model": str(out), "proof": str(place)} | found.to_dict())
    else:
        say(str(found))
        say(f"Model in {out}, proof in {place}. Check it:  bilinear lab verify {place} {ratings}")
    if not found.optimal:
        raise typer.Exit(1)


@app.command(
    help="Check a proof from the ratings alone. Exit code 1: it does not hold.",
    epilog="Example: bilinear lab verify proof ratings.csv",
)
def verify(
    proof: Annotated[Path, typer.Argument(help="A proof folder made by `bilinear lab certify`.")],
    ratings: options.Ratings,
    user: options.User = None,
    item: options.Item = None,
    rating: options.Rating = None,
    time: options.Time = None,
    query: options.Query = None,
    duplicates: options.Duplicates = "last",
    encoding: options.Encoding = "utf-8",
    memory_limit: options.MemoryLimit = None,
    missing: options.Missing = None,
    ids: options.Ids = None,
    json: options.Json = False,
) -> None:
    from bilinear.lab.proof import load_proof
    from bilinear.lab.proof import verify as lab_verify

    loaded = load_proof(proof)
    table = options.read_table(ratings, query=query, **options.reading(locals()))
    found = lab_verify(loaded, table)
    if json:
        say_json(found.to_dict())
    else:
        say(str(found))
    if not found.valid:
        raise typer.Exit(1)


@app.command(
    help="Race optimisers and schedules on one objective and one budget: which helped, and is it real?",
    epilog="Example: bilinear lab race ratings.csv --racer sgd --racer sgd+one-cycle --racer adam+one-cycle",
)
def race(
    ratings: options.Ratings,
    racer: Annotated[
        list[str] | None,
        typer.Option(
            help="OPTIMISER[+SCHEDULE][+AVERAGE], may be given more than once; the others are compared with "
            "the first. Optimisers: sgd, momentum, nesterov, adagrad, row-adagrad, rmsprop, adam, radam, "
            "lamb, lars, lookahead. Schedules: constant, one-cycle, cosine, linear, step, exponential, "
            "polynomial, flat-cosine, warm-restarts, warm-up. Averages: averaged, running-mean."
        ),
    ] = None,
    html: Html = None,
    test: Annotated[str | None, typer.Option(help="A file of ratings for the error; else a tenth.")] = None,
    seeds: Annotated[int, typer.Option(help="Runs of each method.", min=2)] = 10,
    n_epochs: Annotated[int, typer.Option(help="The budget: passes over the ratings.", min=1)] = 20,
    n_factors: Annotated[int, typer.Option(help="Length of the factors.", min=1)] = 16,
    batch_size: Annotated[int, typer.Option(help="Ratings a step.", min=1)] = 64,
    tune: Annotated[
        str, typer.Option(help="What rates are chosen by: objective, or validation.")
    ] = "objective",
    l2: Penalty = "auto",
    l2_biases: BiasPenalty = "auto",
    l2_exponent: Exponent = 0.5,
    loss: Loss = "squared",
    user: options.User = None,
    item: options.Item = None,
    rating: options.Rating = None,
    time: options.Time = None,
    query: options.Query = None,
    duplicates: options.Duplicates = "last",
    encoding: options.Encoding = "utf-8",
    memory_limit: options.MemoryLimit = None,
    missing: options.Missing = None,
    ids: options.Ids = None,
    seed: options.Seed = 0,
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    from bilinear.data.splits import split_file, split_random
    from bilinear.lab.racers import racers
    from bilinear.lab.races import race as lab_race

    check_page(html)
    if tune not in ("objective", "validation"):
        raise ParameterValueError(f"--tune {tune}: choose objective or validation")
    methods = racers(*racer or (), n_epochs=n_epochs, batch_size=batch_size)
    reading = options.reading(locals())
    table = options.read_table(ratings, query=query, **reading)
    table.check_trainable()
    parts = (
        split_random(table, 0.1, seed)
        if test is None
        else split_file(table, options.read_table(test, **reading))
    )
    # the penalty is searched for on the training part alone
    chosen, penalty = objective_parts(parts.train, loss, l2, l2_biases, l2_exponent, seed, quiet)
    found = lab_race(
        parts.train,
        methods,
        test=parts.test,
        penalty=penalty,
        **chosen,
        n_factors=n_factors,
        n_epochs=n_epochs,
        n_seeds=seeds,
        tune="objective" if tune == "objective" else "validation",
        seed=seed,
        tell=None if quiet else tell,
    )
    if html is not None:
        found.to_html(html)
        tell(f"race written to {html}")
    if json:
        say_json(found.to_dict())
    else:
        say(str(found))


def check_page(path: Path | None) -> None:
    """Refuses a place for the page before the work is done for it."""
    if path is None:
        return
    if path.suffix.lower() not in (".html", ".htm"):
        raise ParameterValueError(f"--html {path}: end it in .html")
    folder = path.resolve().parent
    if path.is_dir() or not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
        raise ParameterValueError(f"--html {path}: no file can be written there")


def objective_parts(
    table: Any, loss: str, l2: str, l2_biases: str, exponent: float, seed: int, quiet: bool
) -> tuple[dict[str, Any], Any]:
    """(loss and link, penalty), with what is "auto" found by the search of training."""
    from bilinear.cli.train import was_stopped
    from bilinear.estimators.matrix_factorization import MatrixFactorization
    from bilinear.model.link import Identity, Sigmoid
    from bilinear.objective.losses import CrossEntropy, SquaredError
    from bilinear.objective.penalties import L2

    choices: dict[str, dict[str, Any]] = {
        "squared": {"loss": SquaredError(), "link": Identity()},
        "cross-entropy": {"loss": CrossEntropy(), "link": Sigmoid()},
    }
    chosen = one_of(choices, "--loss", loss)
    factors, biases = auto_or(float, "--l2", l2), auto_or(float, "--l2-biases", l2_biases)
    if "auto" in (factors, biases):
        if not quiet:
            tell("searching for the penalty on an inner validation part")
        model = MatrixFactorization(
            l2=factors, l2_biases=biases, l2_exponent=exponent, rng=seed, refit=False, **chosen
        ).fit(table)
        if was_stopped(model):  # whoever presses Ctrl-C does not ask for a proof with half a search
            raise KeyboardInterrupt
        return chosen, model.penalty_
    return chosen, L2(factors, biases, exponent)
