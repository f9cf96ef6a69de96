"""Options declared once, as the fields of a dataclass."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import typer
from typer.testing import CliRunner

from bilinear.cli.option_blocks import option_blocks


@dataclass(frozen=True)
class Pair:
    first: Annotated[int, typer.Option(help="The first.")] = 1
    second: Annotated[int, typer.Option(help="The second.")] = 2


@dataclass(frozen=True)
class WithoutSecond(Pair):
    second: int = 20


def test_fields_are_options_and_the_command_gets_the_dataclass() -> None:
    got = []
    app = typer.Typer()

    @app.command()
    @option_blocks
    def command(*, name: Annotated[str, typer.Argument()], pair: Pair, last: int = 3) -> None:
        got.append((name, pair, last))

    assert CliRunner().invoke(app, ["x", "--second", "5", "--last", "7"]).exit_code == 0
    command(name="y", first=9)
    assert got == [("x", Pair(1, 5), 7), ("y", Pair(9, 2), 3)]


def test_a_field_without_an_option_keeps_its_default_and_is_refused_as_an_option() -> None:
    got = []
    app = typer.Typer()

    @app.command()
    @option_blocks
    def command(*, pair: WithoutSecond) -> None:
        got.append(pair)

    assert CliRunner().invoke(app, ["--first", "4"]).exit_code == 0
    assert CliRunner().invoke(app, ["--second", "5"]).exit_code == 2
    assert got == [WithoutSecond(4, 20)]
