"""A process that writes feedback until it is killed and says what was acknowledged: ADDRESS ROUND."""

from __future__ import annotations

import sys
from concurrent.futures import Future, wait

from bilinear.serving.feedback.group_commit import Writer
from bilinear.serving.feedback.store import Feedback, open_store

TOGETHER, ROWS = 8, 5


def main() -> None:
    url, first = sys.argv[1], int(sys.argv[2])
    writer = Writer(open_store(url))
    number = first
    while True:
        futures: list[tuple[int, Future[list[float | None]]]] = []
        for _ in range(TOGETHER):
            number += 1
            # The same pairs again and again, each time later; all rows of a write carry its number.
            rows = [Feedback(f"u{number % 3}", f"i{n}", float(number), float(number)) for n in range(ROWS)]
            futures.append((number, writer.write(rows)))
        wait([future for _, future in futures])
        for done, future in futures:
            future.result()
            sys.stdout.write(f"{done}\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
