"""bilinear demo: the main commands one after the other on synthetic ratings."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from bilinear.cli import inspect, options, recommend, similar, train
from bilinear.cli.output import print_text
from bilinear.errors import BilinearError, ParameterValueError

NAME = "demo"
HELP = "Run the main job once: train, measure, recommend, draw a map of the items."
EXAMPLES = """Examples:

bilinear demo

bilinear demo --data ratings.csv --items movies.csv
"""


def command(
    out: Annotated[Path, typer.Option(help="The folder for everything the demo writes.")] = Path("demo"),
    data: Annotated[
        str | None, typer.Option(help="Your ratings or clicks; else a synthetic catalogue.")
    ] = None,
    items: Annotated[Path | None, typer.Option(help="Your items file with titles.")] = None,
    items_id: options.ItemsId = None,
    items_title: options.ItemsTitle = None,
) -> None:
    from bilinear.data.synthetic.catalogue import write_synthetic
    from bilinear.persistence.models import load

    if out.exists() and not out.is_dir():
        raise ParameterValueError(f"{out} is a file; --out names a folder")
    out.mkdir(parents=True, exist_ok=True)
    if data is None:
        print_text("No data given, so this uses a SYNTHETIC catalogue: invented titles, planted tastes.")
        print_text("For your own: make demo DATA=ratings.csv ITEMS=movies.csv\n")
        write_synthetic(out / "data", overwrite=True)
        data, items = str(out / "data" / "ratings.csv"), out / "data" / "movies.csv"
    model = out / "model"
    train.command(ratings=data, out=model, items=items, items_id=items_id, items_title=items_title)
    fitted = load(model)
    user = fitted.user_vocabulary_[0]
    print_text(f"\n$ bilinear recommend {model} --user {user} -n 5")
    recommend.command(model, user=str(user), n=5)
    try:
        liked = fitted.recommend(user, 1, exclude_seen=False)
        item = next(iter(liked))
        print_text(f"\n$ bilinear similar {model} {item} -n 5")
        similar.command(model, item=str(item), n=5)
    except BilinearError as error:
        print_text(str(error))
    if fitted.predicts_ratings:
        print_text(f"\n$ bilinear inspect {model} --map {out}/items.png --report {out}/report.html")
        inspect.command(model, n=3, map_file=out / "items.png", report=out / "report.html")
        print_text(f"\nLook at {out}/report.html in a browser, and at {out}/items.png.")
        print_text(f"Try:  bilinear fold-in {model} --rate {item}=5")
    else:
        print_text(f"\n$ bilinear inspect {model} -n 3")
        inspect.command(model, n=3)
        print_text(f"\nTry:  bilinear fold-in {model} --item {item}")
    print_text("\nServe it, then open http://127.0.0.1:8000 in a browser:")
    print_text(f"  {Path(sys.argv[0])} serve {model} --store sqlite:///{out}/feedback.db")
