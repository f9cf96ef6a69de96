"""bilinear lab: measure a model, certify an optimum, verify a proof, race optimisers, try a network."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from bilinear.cli import options
from bilinear.cli.option_blocks import RunOptions, option_blocks
from bilinear.cli.output import print_json, print_note, print_result, print_text
from bilinear.cli.table_options import TableOptions
from bilinear.errors import ParameterValueError

NAME = "lab"
EXAMPLES = """Examples:

bilinear lab model ratings.csv --html lab.html

bilinear lab certify ratings.csv --out best --proof proof

bilinear lab verify proof ratings.csv

bilinear lab race ratings.csv --html race.html

bilinear lab contrast ratings.csv

A model folder with the name of a command: bilinear lab ./race ratings.csv
"""

_REPORT = "report"


class _ReportUnlessNamed(typer.core.TyperGroup):
    """`lab MODEL RATINGS` is `lab report MODEL RATINGS`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and args[0] not in (*self.commands, "--help"):
            args = [_REPORT, *args]
        return super().parse_args(ctx, args)


class _NamesInHelp(typer.core.TyperCommand):
    """Completes the help texts with the names that the lab has registered, when help is asked for."""

    def get_help(self, ctx: Any) -> str:
        from bilinear.lab import instruments
        from bilinear.lab.races.methods import AVERAGES, OPTIMISERS, SCHEDULES

        lists = {
            "INSTRUMENTS": instruments(),
            "OPTIMISERS": OPTIMISERS,
            "SCHEDULES": SCHEDULES,
            "AVERAGES": AVERAGES,
        }
        for parameter in self.params:
            for word, names in lists.items():
                if getattr(parameter, "help", None):
                    parameter.help = parameter.help.replace(f"<{word}>", ", ".join(names))  # type: ignore[attr-defined]
        return super().get_help(ctx)


app = typer.Typer(
    cls=_ReportUnlessNamed,
    help="Measure if a model is linear, its loss convex, its training at the optimum, and if it generalises.",
    epilog=EXAMPLES,
    no_args_is_help=True,
)

Html = Annotated[Path | None, typer.Option(help="Write one page with pictures as well.")]


@dataclass(frozen=True)
class RatingsTable(TableOptions):
    """A table that has ratings."""

    count: None = None
    layout: Literal["auto"] = "auto"
    duplicates: options.Duplicates = "last"


@dataclass(frozen=True)
class LabRun(RunOptions):
    """How an experiment runs: on all cores."""

    threads: None = None


_PARTS = ("l2", "l2_biases", "l2_exponent", "loss", "link")


def _completed_part(incomplete: str) -> list[str]:
    """Completions of `--set` that are parts of an objective."""
    from bilinear.cli.models import completions
    from bilinear.estimators.matrix_factorization import MatrixFactorization

    return [found for found in completions([MatrixFactorization], incomplete) if found.startswith(_PARTS)]


@dataclass(frozen=True)
class ObjectiveOptions:
    """What is minimised."""

    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="NAME=VALUE",
            help="An argument of the objective, as in `bilinear train`: l2, l2_biases (auto: searched), "
            "l2_exponent, loss, link, as in --set loss=CrossEntropy --set link=Sigmoid. Can be repeated.",
            autocompletion=_completed_part,
        ),
    ] = None

    def parts(self, table: Any, run: LabRun) -> tuple[dict[str, Any], Any]:
        """(loss and link, penalty); "auto" is replaced by the result of training's search."""
        from bilinear.cli.models import parsed_settings
        from bilinear.cli.train import was_stopped
        from bilinear.estimators.matrix_factorization import MatrixFactorization
        from bilinear.objective.penalties import L2

        settings = parsed_settings(self.set_)
        if not set(settings) <= set(_PARTS):
            wrong = next(name for name in settings if name not in _PARTS)
            raise ParameterValueError(f"--set {wrong}: not an argument of it; choose {', '.join(_PARTS)}")
        model = MatrixFactorization(**settings, rng=run.seed, refit=False)
        model.check_parts()
        chosen = {"loss": model.loss, "link": model.link}
        if model.l2 != "auto" and model.l2_biases != "auto":
            return chosen, L2(model.l2, model.l2_biases, model.l2_exponent)
        if not run.quiet:
            print_note("searching for the penalty on a validation part of the training ratings")
        if was_stopped(model.fit(table)):  # Ctrl-C: half a search is not used for a proof
            raise KeyboardInterrupt
        return chosen, model.penalty_


@app.command(
    name=_REPORT,
    cls=_NamesInHelp,
    help="Measure a saved model on its training ratings. Also: `bilinear lab MODEL RATINGS`.",
    epilog="Examples: bilinear lab model ratings.csv --seeds 4 --study --html lab.html; bilinear lab model "
    "ratings.csv --only linearity --only convexity",
)
@option_blocks
def report(
    *,
    model: options.Model,
    ratings: options.Ratings,
    html: Html = None,
    only: Annotated[
        list[str] | None,
        typer.Option(help="An instrument to use instead of all; can be repeated. Names: <INSTRUMENTS>."),
    ] = None,
    test: Annotated[str | None, typer.Option(help="A file of ratings that were not trained on.")] = None,
    seeds: Annotated[int, typer.Option(help="Random starts to train and compare, 2 or more; slow.")] = 0,
    control: Annotated[bool, typer.Option("--control", help="Train once more on shuffled ratings.")] = False,
    study: Annotated[
        bool,
        typer.Option("--study", help="Train again on a part: errors over epochs, penalty and factors; slow."),
    ] = False,
    products: Annotated[
        int | None,
        typer.Option(help="Limit of polishing, in Hessian products; by default some 15 seconds.", min=1),
    ] = None,
    keep: Annotated[
        bool,
        typer.Option("--keep", help="Store the report with the model, for the page of `bilinear serve`."),
    ] = False,
    reading: RatingsTable,
    run: LabRun,
) -> None:
    from bilinear.lab.reporting.instrument import REGISTRY
    from bilinear.lab.reporting.report import report as lab_report
    from bilinear.persistence.models import load

    check_page(html)
    for name in only or ():  # before any file is read
        REGISTRY.get(name)
    fitted = load(model)
    table = reading.read(ratings)
    found = lab_report(
        fitted,
        table,
        only=only or None,
        test=None if test is None else reading.of_test().read(test),
        n_seeds=seeds,
        control=control,
        study=study,
        max_products=products,
        rng=run.seed,
        on_progress=None if run.quiet else print_note,
    )
    if html is not None:
        found.to_html(html)
        print_note(f"report written to {html}")
    if keep:
        fitted.report_ = {**fitted.report_, "lab": found.to_dict()}
        fitted.save(model)
        print_note(f"report stored with {model}")
    print_result(found, run.json)


@app.command(
    help="Find a provably optimal factorisation and write it, with a proof that can be verified.",
    epilog="Example: bilinear lab certify ratings.csv --set l2=1 --set l2_biases=0.8 --out best",
)
@option_blocks
def certify(
    *,
    ratings: options.Ratings,
    out: Annotated[Path, typer.Option(help="The model folder to write; an older model there is replaced.")],
    proof: Annotated[
        Path | None, typer.Option(help="The proof folder to write; by default OUT-proof.")
    ] = None,
    objective: ObjectiveOptions,
    max_factors: Annotated[int | None, typer.Option(help="Number of factors, at most.", min=0)] = None,
    products: Annotated[int, typer.Option(help="Hessian products, at most.", min=1)] = 20_000,
    reading: RatingsTable,
    run: LabRun,
) -> None:
    from bilinear.cli.train import check_out
    from bilinear.lab.proofs.certify import certify as lab_certify
    from bilinear.lab.proofs.proof import save_proof

    place = out.with_name(f"{out.name}-proof") if proof is None else proof
    if place.resolve() == out.resolve():
        raise ParameterValueError(
            f"--proof: expected another folder than the folder of the model, got {place}; choose another"
        )
    check_out(out)
    check_out(place)
    table = reading.read(ratings)
    table.check_trainable()
    chosen, penalty = objective.parts(table, run)
    found = lab_certify(
        table,
        **chosen,
        penalty=penalty,
        max_factors=max_factors,
        max_products=products,
        rng=run.seed,
        on_round=None if run.quiet else lambda round_: print_note(str(round_)),
    )
    model = found.to_model()
    model.report_ = {"trained_on": "all ratings", "certificate": found.certificate.to_dict()}
    model.save(out)
    save_proof(found, place)
    if run.json:
        print_json({"model": str(out), "proof": str(place)} | found.to_dict())
    else:
        print_text(str(found))
        print_text(f"Model in {out}, proof in {place}. Verify it:  bilinear lab verify {place} {ratings}")
    if not found.optimal:
        raise typer.Exit(1)


@app.command(
    help="Verify a proof from the ratings alone. Exit code 1: it does not hold.",
    epilog="Example: bilinear lab verify proof ratings.csv",
)
@option_blocks
def verify(
    *,
    proof: Annotated[Path, typer.Argument(help="A proof folder made by `bilinear lab certify`.")],
    ratings: options.Ratings,
    reading: RatingsTable,
    json: options.Json = False,
) -> None:
    from bilinear.lab.proofs.proof import load_proof
    from bilinear.lab.proofs.proof import verify as lab_verify

    loaded = load_proof(proof)
    table = reading.read(ratings)
    found = lab_verify(loaded, table)
    print_result(found, json)
    if not found.valid:
        raise typer.Exit(1)


@app.command(
    cls=_NamesInHelp,
    help="Compare optimisers and schedules on one objective and one budget, with tests of the differences.",
    epilog="Example: bilinear lab race ratings.csv --method sgd --method adam+one-cycle",
)
@option_blocks
def race(
    *,
    ratings: options.Ratings,
    method: Annotated[
        list[str] | None,
        typer.Option(
            help="OPTIMISER[+SCHEDULE][+AVERAGE]; can be repeated, the others are compared with the first. "
            "Optimisers: <OPTIMISERS>. Schedules: <SCHEDULES>. Averages: <AVERAGES>."
        ),
    ] = None,
    html: Html = None,
    test: Annotated[
        str | None, typer.Option(help="A file of held-out ratings; by default a tenth is held out.")
    ] = None,
    seeds: Annotated[int, typer.Option(help="Runs of each method.", min=2)] = 10,
    n_epochs: Annotated[int, typer.Option(help="Passes over the ratings in every run.", min=1)] = 20,
    n_factors: Annotated[int, typer.Option(help="Number of factors.", min=1)] = 16,
    batch_size: Annotated[int, typer.Option(help="Ratings a step.", min=1)] = 64,
    tune: Annotated[
        str, typer.Option(help="Criterion for the choice of learning rates: objective, or validation.")
    ] = "objective",
    objective: ObjectiveOptions,
    reading: RatingsTable,
    run: LabRun,
) -> None:
    from bilinear.lab.races.methods import race_methods
    from bilinear.lab.races.race import race as lab_race

    check_page(html)
    if tune not in ("objective", "validation"):
        raise ParameterValueError(f"--tune: expected objective or validation, got {tune}")
    methods = race_methods(*method or (), n_epochs=n_epochs, batch_size=batch_size)
    parts = _parts(reading, ratings, test, 0.1, run.seed)
    # the penalty is searched on the training part alone
    chosen, penalty = objective.parts(parts.train, run)
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
        rng=run.seed,
        on_progress=None if run.quiet else print_note,
    )
    if html is not None:
        found.to_html(html)
        print_note(f"race written to {html}")
    print_result(found, run.json)


@app.command(
    help="Compare the dot product with a small neural network, and with the same one without its curves.",
    epilog="Example: bilinear lab contrast ratings.csv --seeds 1",
)
@option_blocks
def contrast(
    *,
    ratings: options.Ratings,
    test: Annotated[
        str | None, typer.Option(help="A file of held-out ratings; by default a fifth is held out.")
    ] = None,
    seeds: Annotated[int, typer.Option(help="Random starts of each model.", min=1)] = 3,
    n_epochs: Annotated[int, typer.Option(help="Passes over the ratings in every training.", min=1)] = 5,
    n_factors: Annotated[int, typer.Option(help="Length of the embeddings.", min=1)] = 50,
    batch_size: Annotated[int, typer.Option(help="Ratings a step.", min=1)] = 256,
    reading: RatingsTable,
    run: LabRun,
) -> None:
    from bilinear.lab.retraining.contrast import contrast as lab_contrast

    parts = _parts(reading, ratings, test, 0.2, run.seed)
    found = lab_contrast(
        parts.train,
        parts.test,
        n_factors=n_factors,
        n_epochs=n_epochs,
        batch_size=batch_size,
        n_seeds=seeds,
        rng=run.seed,
        on_progress=None if run.quiet else print_note,
    )
    print_result(found, run.json)


def _parts(reading: RatingsTable, ratings: str, test: str | None, share: float, seed: int) -> Any:
    """The table as a split: by the file of held-out ratings, or a share drawn at random."""
    from bilinear.data.splits import split_file, split_random

    table = reading.read(ratings)
    table.check_trainable()
    if test is None:
        return split_random(table, share, seed)
    return split_file(table, reading.of_test().read(test))


def check_page(path: Path | None) -> None:
    """Raises ParameterValueError where no page can be written, before any work is done."""
    if path is None:
        return
    if path.suffix.lower() not in (".html", ".htm"):
        raise ParameterValueError(f"--html: expected a file name that ends in .html, got {path}")
    folder = path.resolve().parent
    if path.is_dir() or not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
        raise ParameterValueError(f"--html: expected a place where a file can be written, got {path}")
