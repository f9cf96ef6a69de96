"""Options of commands that hold out a test part."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Annotated, Any

import typer

from bilinear.cli.output import print_note
from bilinear.cli.table_options import TableOptions
from bilinear.errors import EmptyDataError, ParameterValueError

_DRAWN = ("random", "per-user", "users")
HOW = ("auto", "random", "per-user", "temporal", "rolling", "leave-last-out", "users", "file")
_CUTS = 4  # cut points of --split rolling before the last


@dataclass(frozen=True)
class SplitOptions:
    """How a test part is held out."""

    split: Annotated[
        str,
        typer.Option(
            help="How to hold out the test part: auto (of rankings temporal, where the table has times and "
            "50 users before and after the cut; else random), random, per-user, temporal (the latest), "
            "rolling (several cut points in time), leave-last-out, users (whole users, met by fold-in; "
            "ranking), or file."
        ),
    ] = "auto"
    test: Annotated[
        str | None,
        typer.Option(
            help="Share of the rows to hold out (0.2; rolling, after each cut point: 0.05), of the users "
            "(0.1), with leave-last-out how many of each user (1); with --split file, the file of test rows."
        ),
    ] = None
    refits: Annotated[
        int,
        typer.Option(
            help="Further splits on which all models are fitted again, for intervals about new samples of "
            "users; with --split rolling further cut points (4).",
            min=0,
        ),
    ] = 0

    def resolved(self, table: Any, task: str | None, quiet: bool) -> SplitOptions:
        """With a split in place of "auto"; a line says which and why, where the table has times."""
        clock = table.times is not None and not table.notes.places
        if self.split not in ("auto", "random", "per-user") or not clock or not table.n_ratings:
            return replace(self, split="random") if self.split == "auto" else self
        asked = self.split == "auto" and task == "ranking" and not self.refits
        later = asked and self._is_worth_it(table)
        if later and not quiet:
            print_note(
                "the test part is the latest by time, as in use (--split temporal): the table has times, and "
                "enough users before and after the cut; --split random draws it"
            )
        elif not quiet:
            why = " (auto wants 50 users on both sides of the cut and half of the rows before it)" * asked
            print_note(
                f"the test part is drawn at random, though there are times{why}: --split temporal trains on "
                "the past and tests on the future, as in use"
            )
        return replace(self, split="temporal" if later else "random" if self.split == "auto" else self.split)

    def _is_worth_it(self, table: Any) -> bool:
        from bilinear.data.splits import later_part

        share = replace(self, split="temporal")._share()
        return later_part(table, share) is not None

    def further(self, table: Any, seed: int, reading: TableOptions) -> Iterator[Any]:
        """`refits` more splits of the table, each made when it is asked for, with the seeds after `seed`.

        Raises:
            ParameterValueError: at once, where chance has no part in the split.
        """
        if self.split == "rolling":
            return iter(self._rolling(table)[:-1])
        if self.refits and self.split not in _DRAWN:
            raise ParameterValueError(
                f"--refits {self.refits}: --split {self.split} is not drawn by chance; choose "
                f"{' or '.join(_DRAWN)}"
            )
        return (self.held_out(table, seed + at, reading) for at in range(1, self.refits + 1))

    def held_out(self, table: Any, seed: int, reading: TableOptions) -> Any:
        """The split of a table that the options ask for.

        Raises:
            ParameterValueError, DataError: no such split, or it cannot be made.
        """
        from bilinear.data import splits

        how, test = self.split, self.test
        if how not in HOW:
            raise ParameterValueError(f"--split {how}: choose {' or '.join(HOW)}")
        if how == "file":
            if test is None:
                raise ParameterValueError("--split file: name the file of test rows with --test FILE")
            return splits.split_file(table, reading.of_test().read(test, table.has_ratings))
        share = self._share()
        by_name: dict[str, Callable[[], Any]] = {
            "random": lambda: splits.split_random(table, share, seed),
            "per-user": lambda: splits.split_per_user(table, share, seed),
            "temporal": lambda: splits.split_temporal(table, share),
            "rolling": lambda: self._rolling(table)[-1],
            "leave-last-out": lambda: splits.split_leave_last_out(table, _whole(share), seed),
            "users": lambda: splits.split_users(table, share, rng=seed),
        }
        split = by_name[how]()
        try:
            split.train.check_trainable()
        except EmptyDataError:  # whose words are about a whole file
            raise EmptyDataError(
                f"{table.source}: after {split.how} is held out, {split.train.n_ratings:,} of its "
                f"{table.n_ratings:,} {table.noun}s are left to train on, of one user or one item: too few. "
                "Hold out less with --test, or bring more data"
            ) from None
        return split

    def _rolling(self, table: Any) -> list[Any]:
        from bilinear.data.splits import split_rolling

        return split_rolling(table, (self.refits or _CUTS) + 1, self._share())

    def _share(self) -> float:
        """What is held out, see `test`."""
        usual = {"leave-last-out": "1", "users": "0.1", "rolling": "0.05"}.get(self.split, "0.2")
        return _number(usual if self.test is None else self.test)


def _number(test: str) -> float:
    try:
        return float(test)
    except ValueError:
        raise ParameterValueError(
            f"--test {test}: a share such as 0.2; a file of test rows goes with --split file"
        ) from None


def _whole(share: float) -> int:
    if not share.is_integer():
        raise ParameterValueError(f"--test {share:g}: leave-last-out takes a whole number of rows a user")
    return int(share)
