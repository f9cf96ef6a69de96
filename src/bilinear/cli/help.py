"""Help of commands with their options in groups."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from typer.core import TyperArgument, TyperCommand

_GROUPS = {
    "Reading the table": "user item rating time count event weight weight_column layout query duplicates "
    "missing ids encoding quote time_format skip_bad_rows memory_limit store",
    "Items and users": "items item_features items_id items_title items_quote users user_features users_id "
    "users_quote new_items new_users new",
    "Model": "model set_ also task time_budget threshold confidence",
    "Measuring": "split test refits relevant_from cutoffs negatives include_seen",
    "Long training": "refit checkpoint checkpoint_every resume",
    "Running": "threads seed json quiet help",
}
_GROUP_OF = {name: group for group, names in _GROUPS.items() for name in names.split()}


class GroupedCommand(TyperCommand):
    """A command whose help shows arguments, its own options, then those that many commands share."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        for title, records in self._sections(ctx):
            with formatter.section(title):
                formatter.write_dl(records)

    def _sections(self, ctx: Any) -> Iterator[tuple[str, list[tuple[str, str]]]]:
        found: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is not None:
                of_its_own = "Arguments" if isinstance(parameter, TyperArgument) else "Options"
                found.setdefault(_GROUP_OF.get(parameter.name or "", of_its_own), []).append(record)
        for title in ("Arguments", "Options", *_GROUPS):
            if title in found:
                yield title, found[title]
