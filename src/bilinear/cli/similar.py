"""bilinear similar: items like an item."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from bilinear.cli import options
from bilinear.cli.output import DASHED, check_table_path, print_json, print_note, print_text
from bilinear.cli.recommend import say_list
from bilinear.errors import ParameterValueError, UnknownIdError

NAME = "similar"
HELP = "List the items most like an item, or with --all those of every item."
EXAMPLES = """Examples:

bilinear similar model 1

bilinear similar model --title 'toy story' -n 5 --json

bilinear similar model -n 5 -- -id-that-begins-with-a-dash

bilinear similar model --all --out similar.parquet
"""


def command(
    model: options.Model,
    item: Annotated[str | None, typer.Argument(help="The id of the item.")] = None,
    title: Annotated[
        str | None, typer.Option(help="Part of its title instead, if the model has titles.")
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="Every item of the model, into --out.")] = False,
    n: options.N = 10,
    candidates: options.Candidates = None,
    out: Annotated[
        Path | None, typer.Option(help="With --all: the file to write, CSV, TSV or Parquet.")
    ] = None,
    json: options.Json = False,
) -> None:
    from dataclasses import asdict

    from bilinear.persistence.models import load
    from bilinear.recommend.parquet import write_similar

    if sum((item is not None, title is not None, everything)) != 1:
        raise ParameterValueError(
            f"say which item: its id, --title with part of its title, or --all. {DASHED}"
        )
    if everything != (out is not None):
        raise ParameterValueError("--all and --out FILE go together")
    if out is not None:
        check_table_path(out)
        if out.suffix.lower() not in (".parquet", ".csv", ".tsv"):
            raise ParameterValueError(f"--out {out}: end it in .parquet, .csv or .tsv")
        fitted = load(model)
        only = options.id_list(candidates, fitted.item_vocabulary_)
        written = write_similar(fitted, out, n, candidates=only)
        print_note(str(written))
        if json:
            print_json(asdict(written) | {"path": str(out)})
        return
    fitted = load(model)
    wanted: Any = find_title(fitted, title) if title is not None else known_id(fitted, item)
    ranked = fitted.similar(wanted, n, candidates=options.id_list(candidates, fitted.item_vocabulary_))
    if json:
        places = [place | {"title": fitted.title(place["item"])} for place in ranked.to_dicts()]
        print_json({"item": wanted, "title": fitted.title(wanted), "similar": places})
        return
    print_text(f"Like {fitted.title(wanted)}:")
    say_list(fitted, ranked, "score" if fitted.item_vectors() is None else "cosine")


def known_id(fitted: Any, item: Any) -> Any:
    """The id as the model has it; raises UnknownIdError where it has none."""
    vocabulary = fitted.item_vocabulary_
    return vocabulary[vocabulary.row(item, "item")]


def find_title(fitted: Any, part: str) -> Any:
    """The item with the most interactions among those with `part` in the title, in any case.

    Raises:
        UnknownIdError: no title does.
        ParameterValueError: the model has no titles.
    """
    import numpy as np

    titles = fitted.item_texts_.get("title")
    if titles is None:
        raise ParameterValueError("this model has no titles; train with --items FILE, or give the item's id")
    counts = np.bincount(fitted.seen_.indices, minlength=len(titles))
    found = [row for row, title in enumerate(titles) if part.casefold() in title.casefold()]
    if not found:
        raise UnknownIdError(f"no title has {part!r} in it")
    return fitted.item_vocabulary_[max(found, key=lambda row: (counts[row], -row))]
