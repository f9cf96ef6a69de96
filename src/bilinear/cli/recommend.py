"""bilinear recommend: lists of items for users."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from bilinear.cli import options
from bilinear.cli.output import check_table_path, print_json, print_note, print_table, print_text, write_table
from bilinear.errors import ParameterValueError

NAME = "recommend"
_STREAMED = ("", ".parquet", ".csv", ".tsv")
HELP = "List the best items for one user, for some, or for everyone."
EXAMPLES = """Examples:

bilinear recommend model --user 42

bilinear recommend model --users 1,2,3 -n 5 --json

bilinear recommend model --all --out lists.parquet

bilinear recommend model --all --out lists --engine ray

bilinear recommend model --user 42 --candidates @in_stock.txt

bilinear recommend model --user 42 --new-items new.csv --new only

bilinear recommend model --user 42 --explore 1
"""


def command(
    model: options.Model,
    user: Annotated[str | None, typer.Option(help="One user.")] = None,
    users: Annotated[
        str | None, typer.Option(help="Several users: ids with commas between, or @FILE with one a line.")
    ] = None,
    everyone: Annotated[bool, typer.Option("--all", help="Every user of the model.")] = False,
    n: options.N = 10,
    include_seen: Annotated[
        bool, typer.Option("--include-seen", help="List items the user has seen as well.")
    ] = False,
    candidates: options.Candidates = None,
    unknown: Annotated[
        str,
        typer.Option(help="Users the model does not know: error, or non-personal (one list for all)."),
    ] = "error",
    new_items: Annotated[
        Path | None,
        typer.Option(help="A file of further items with the columns of the model's item features."),
    ] = None,
    new_users: Annotated[
        Path | None,
        typer.Option(help="A file of further users with the columns of the model's user features."),
    ] = None,
    new: options.NewItems = "mixed",
    min_support: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="In a list that is not personal, items with fewer training ratings come last; default: what "
            "the model found in its table.",
        ),
    ] = None,
    explore: Annotated[
        float | None,
        typer.Option(
            help="Rank by mean + so many times (a draw of the posterior - mean): 1 is Thompson sampling. Of "
            "models of solver=Gibbs(keep_draws=True).",
        ),
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Of --explore; by default another each time.")] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="CSV, TSV, Parquet, JSON or JSON lines; else standard output. The first three are streamed "
            "for --all without --explore; then a name without an ending is a folder of Parquet files, and "
            "what an earlier run was cut off from is gone on with."
        ),
    ] = None,
    threads: options.Threads = None,
    engine: options.EngineName = None,
    json: options.Json = False,
) -> None:
    from dataclasses import asdict

    from bilinear.persistence.models import load
    from bilinear.recommend.parquet import write_everyone

    if sum((user is not None, users is not None, everyone)) != 1:
        raise ParameterValueError("name the users: one of --user ID, --users ID,ID,... or @FILE, or --all")
    streamed = everyone and explore is None and out is not None and out.suffix.lower() in _STREAMED
    if out is not None and not (streamed and not out.suffix):
        check_table_path(out)
    if engine is not None and not streamed:
        raise ParameterValueError(
            "--engine is for lists of everyone, streamed to files: give --all, --out lists (a folder), "
            ".parquet, .csv or .tsv, and no --explore; or leave --engine out"
        )
    fitted = options.with_new(load(model), new_items, new_users)
    if min_support is not None:
        fitted.min_support_ = min_support
    only: Any = options.id_list(candidates, fitted.item_vocabulary_)
    if new != "mixed":
        only = fitted.item_vocabulary_.decode(fitted.allowed(only, new).nonzero()[0])
    if explore is None and seed is not None:
        raise ParameterValueError("--seed is that of --explore; add --explore 1")
    if out is not None and streamed:
        with options.engine_of(engine, threads) as chosen:
            written = write_everyone(
                fitted,
                out,
                n,
                exclude_seen=not include_seen,
                candidates=only,
                engine=chosen,
                parts=not out.suffix,
            )
        print_note(str(written))
        if json:
            print_json(asdict(written) | {"path": str(out)})
        return
    asked = None if everyone else [user] if user is not None else _users(fitted, users, unknown)
    lists: Any = fitted.recommend(
        asked,
        n,
        exclude_seen=not include_seen,
        candidates=only,
        unknown=unknown,
        explore=explore,
        rng=seed,
    )
    if out is not None:
        columns = lists.to_columns()
        columns["title"] = [fitted.title(item) for item in columns["item"]]
        write_table(out, columns)
        print_note(f"{len(columns['item']):,} places for {len(lists.lists):,} users written to {out}")
        if json:
            print_json({"path": str(out), "n_lists": len(lists.lists), "n_places": len(columns["item"])})
    elif json:
        print_json(
            [
                {
                    "user": who,
                    "known_user": bool(known),
                    "items": [place | {"title": fitted.title(place["item"])} for place in ranked.to_dicts()],
                }
                for who, known, ranked in zip(lists.users, lists.known, lists.lists, strict=True)
            ]
        )
    else:
        for who, known, ranked in zip(lists.users, lists.known, lists.lists, strict=True):
            print_text(
                f"User {who}" + ("" if known else ": nothing to learn from, so the list is not personal")
            )
            say_list(fitted, ranked)
        short = sum(len(ranked) < n for ranked in lists.lists)
        if short:
            print_note(
                f"{short:,} of {len(lists.lists):,} lists are shorter than {n}: no more items are left"
            )


def _users(fitted: Any, given: str | None, unknown: str) -> list[str] | None:
    return options.id_list(given, fitted.user_vocabulary_, "user", unknown != "error")


def say_list(fitted: Any, ranked: Any, score: str = "score") -> None:
    """One list as a table with titles; `score` is the name of what it is sorted by."""
    places = ranked.to_dicts()
    value = "prediction" if ranked.predictions is not None else "score"
    columns: dict[str, list[Any]] = {
        "rank": [place["rank"] for place in places],
        "prediction" if value == "prediction" else score: [place[value] for place in places],
        "item": [place["item"] for place in places],
    }
    if "title" in fitted.item_texts_:
        columns["title"] = [fitted.title(place["item"]) for place in places]
    rated = fitted.item_has_ratings(fitted.item_rows([place["item"] for place in places]))
    if not rated.all():
        columns[""] = ["" if known else "new" for known in rated]
    print_table(columns, right=["rank", "prediction", score])
