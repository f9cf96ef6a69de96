"""The commands by name."""

from __future__ import annotations

from typing import Annotated

import typer

from bilinear.cli import (
    compare,
    data,
    demo,
    evaluate,
    fold_in,
    info,
    inspect,
    lab,
    predict,
    recommend,
    serve,
    similar,
    train,
)

app = typer.Typer(
    name="bilinear",
    help="Collaborative filtering with the dot-product model: from ratings.csv to recommendations.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def _version(wanted: bool) -> None:
    if wanted:
        from bilinear.cli.output import say
        from bilinear.version import __version__

        say(f"bilinear {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None: ...


for module in (train, evaluate, compare, predict, recommend, similar, fold_in, inspect, info, serve, demo):
    app.command(name=module.NAME, help=module.HELP, epilog=module.EXAMPLES)(module.command)
app.add_typer(data.app, name="data")
app.add_typer(lab.app, name="lab")
