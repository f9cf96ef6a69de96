"""A process that writes until it is killed and says what was acknowledged: ADDRESS FIRST feedback|items."""

from __future__ import annotations

import sys
from concurrent.futures import Future, wait

from bilinear.serving.feedback.group_commit import Writer
from bilinear.serving.feedback.store import Feedback, Properties, open_store

TOGETHER, ROWS = 8, 5


def feedback(number: int) -> list[Feedback]:
    """The same pairs again and again, each time later; all rows of a write carry its number."""
    return [Feedback(f"u{number % 3}", f"i{n}", float(number), float(number)) for n in range(ROWS)]


def items(number: int) -> list[Properties]:
    """Items that were put: another one each time."""
    return [Properties("item", f"i{number}", f'{{"title":"{number}"}}', float(number))]


KINDS = {"feedback": feedback, "items": items}


def main() -> None:
    url, first, rows_of = sys.argv[1], int(sys.argv[2]), KINDS[sys.argv[3]]
    writer = Writer(open_store(url))
    number = first
    while True:
        futures: list[tuple[int, Future[list[float | None]]]] = []
        for _ in range(TOGETHER):
            number += 1
            futures.append((number, writer.write(rows_of(number))))
        wait([future for _, future in futures])
        for done, future in futures:
            future.result()
            sys.stdout.write(f"{done}\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
