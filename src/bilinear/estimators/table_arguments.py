"""Tables as arguments of every `fit`: data frames, matrices, pairs with ratings, items with titles.

Titles are kept when a model is trained again.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from inspect import Parameter, signature
from typing import Any, TypeVar, cast

from bilinear.data.items import Items
from bilinear.data.packed_text import PackedText
from bilinear.data.side_table import SideTable
from bilinear.errors import ParameterValueError
from bilinear.registry import check_names
from bilinear.training.progress import progress_bar

Method = TypeVar("Method", bound=Callable[..., Any])

_Y = Parameter("y", Parameter.POSITIONAL_OR_KEYWORD, default=None)
_ITEMS = Parameter("items", Parameter.KEYWORD_ONLY, default=None)


def taking_tables(fit: Callable[..., Any]) -> Callable[..., Any]:
    """A model's `fit` that takes what `interactions_of` takes, ratings as `y`, and items with titles.

    The method itself gets `Interactions`, `Items` and `Users` where it has such arguments, and a bar for
    `progress=True`.
    """
    own = signature(fit)
    takes_any = any(one.kind is Parameter.VAR_KEYWORD for one in own.parameters.values())
    names = [*own.parameters, *({"y", "items"} - set(own.parameters))]

    @wraps(fit)
    def with_tables(model: Any, interactions: Any, y: Any = None, **options: Any) -> Any:
        if not takes_any:
            check_names(f"{type(model).__name__}.{fit.__name__}", options, names[1:])
        table = model._table(interactions, y, fit.__name__)
        if options.get("progress") is True:
            with progress_bar() as bar:
                return with_tables(model, table, **options | {"progress": bar})
        if table.weighted and model.uses_weights == "no":
            raise ParameterValueError(
                f"{table.source} has weights of events, which a {type(model).__name__} cannot use; read it "
                "without event= and weight=, or choose a ranking model such as ImplicitALS or RandomWalk"
            )
        items, users = options.get("items"), options.get("users")
        if items is not None and not isinstance(items, SideTable):
            from bilinear.data.reading.item_tables import read_items

            options["items"] = items = read_items(items, match=table.item_vocabulary)
        if users is not None and not isinstance(users, SideTable):
            from bilinear.data.reading.item_tables import read_users

            options["users"] = read_users(users, match=table.user_vocabulary)
        if not isinstance(items, Items | None):
            raise ParameterValueError(f"items={type(items).__name__}: expected Items, from read_items")
        own_items = "items" in own.parameters
        if not own_items:
            options.pop("items", None)
        fitted = fit(model, table, **options)
        if items is not None and not (own_items and model.item_texts_):
            model.item_texts_ = items.texts(model.item_vocabulary_)
        return fitted

    first, second, *others = own.parameters.values()
    shown = [first, second, _Y, *others, *([] if "items" in own.parameters else [_ITEMS])]
    with_tables.__signature__ = own.replace(parameters=shown)  # type: ignore[attr-defined]
    return with_tables


def keeping_titles(retrain: Method) -> Method:
    """A model's `retrain` after which items have the titles and other texts that they had.

    A new item has its id for a title.
    """

    @wraps(retrain)
    def with_titles(model: Any, *args: Any, **options: Any) -> Any:
        before, texts = (vars(model).get(name) for name in ("item_vocabulary_", "item_texts_"))
        fitted = retrain(model, *args, **options)
        items = model.item_vocabulary_
        if before is not None and texts and not model.item_texts_:
            rows = before.encode(list(items)).tolist()
            for name, old in texts.items():
                missing = (str(item) if name == "title" else "" for item in items)
                model.item_texts_[name] = PackedText.of(
                    old[row] if row >= 0 else other for row, other in zip(rows, missing, strict=True)
                )
        return fitted

    return cast("Method", with_titles)
