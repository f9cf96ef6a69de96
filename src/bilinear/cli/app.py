"""The commands by name."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from bilinear import compiling
from bilinear.cli import (
    compare,
    compile_ahead,
    data,
    demo,
    evaluate,
    explain,
    fold_in,
    info,
    inspect,
    lab,
    pack,
    plan,
    predict,
    recommend,
    serve,
    similar,
    train,
    update,
)
from bilinear.cli.help import GroupedCommand
from bilinear.registry import PLUGINS, import_plugin

app = typer.Typer(
    name="bilinear",
    help="Collaborative filtering with the dot-product model: from ratings.csv to recommendations.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def _version(wanted: bool) -> None:
    if wanted:
        from bilinear.cli.output import print_text
        from bilinear.version import __version__

        print_text(f"bilinear {__version__}")
        raise typer.Exit


def import_plugins(names: Sequence[str]) -> None:
    """Imports modules of the user, also from the working directory, here and in child processes."""
    sys.path.insert(0, "")
    try:
        for name in names:
            import_plugin(name)
    finally:
        sys.path.remove("")
    if names:
        os.environ[PLUGINS] = ",".join([*filter(None, [os.environ.get(PLUGINS)]), *names])


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
    plugin: Annotated[
        list[str] | None,
        typer.Option(
            help="A Python module to import first, which registers models or instruments of the lab; can be "
            f"repeated. Also the environment variable {PLUGINS}."
        ),
    ] = None,
) -> None:
    from bilinear.cli.output import print_note

    compiling.announce = print_note
    import_plugins(plugin or ())


for module in (
    train,
    plan,
    evaluate,
    compare,
    predict,
    recommend,
    similar,
    explain,
    fold_in,
    update,
    inspect,
    info,
    pack,
    serve,
    demo,
    compile_ahead,
):
    app.command(name=module.NAME, help=module.HELP, epilog=module.EXAMPLES, cls=GroupedCommand)(
        module.command
    )
app.add_typer(data.app, name="data")
app.add_typer(lab.app, name="lab")
