"""Kill -9 in the middle of writes: what was acknowledged is there, once, and nothing is half there.

The whole server, killed a hundred times over HTTP, is benchmarks/serve_faults.py.
"""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path

from writing_child import ROWS

from bilinear.serving.feedback.store import FeedbackStore, open_store

KILLS = 3


def test_acknowledged_writes_survive_kill_9(durable_url: str) -> None:
    chance = random.Random(0)
    open_store(durable_url).close()
    newest = 0
    for _ in range(KILLS):
        newest = max([newest, *written_until_killed(durable_url, newest, chance.randint(1, 60))])
        store = open_store(durable_url)
        newest = check(store, newest)
        store.close()
    assert newest > KILLS


def test_hundreds_of_items_that_were_put_survive_kill_9(durable_url: str) -> None:
    open_store(durable_url).close()
    acknowledged = 0
    while acknowledged < 700:
        newest = max(written_until_killed(durable_url, acknowledged, 350, "items"))
        store = open_store(durable_url)
        rows = [row for batch in store.properties() for row in batch]
        store.close()
        stored = {row.id: row.content for row in rows}
        assert len(stored) == len(rows)
        for number in range(1, newest + 1):
            assert stored[f"i{number}"] == f'{{"title":"{number}"}}', "an acknowledged item is lost"
        acknowledged = max(int(id_[1:]) for id_ in stored)


def written_until_killed(url: str, first: int, n_lines: int, kind: str = "feedback") -> list[int]:
    """The numbers of the writes that were acknowledged before the kill."""
    child = subprocess.Popen(
        [sys.executable, Path(__file__).with_name("writing_child.py"), url, str(first), kind],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert child.stdout is not None
    lines = [child.stdout.readline() for _ in range(n_lines)]
    child.kill()
    lines += child.stdout.read().splitlines(keepends=True)
    child.stdout.close()
    child.wait()
    numbers = [int(line) for line in lines if line.endswith("\n")]
    assert len(numbers) >= n_lines, "the child ended by itself"
    return numbers


def check(store: FeedbackStore, acknowledged: int) -> int:
    """Of each user the five rows of one write, none older than the last acknowledged one."""
    rows = [row for batch in store.everything() for row in batch]
    assert len(rows) == len({row[:2] for row in rows})
    numbers = {}
    for user in {row.user for row in rows}:
        mine = [row for row in rows if row.user == user]
        assert len(mine) == ROWS
        assert len({row.rating for row in mine}) == 1, "half a write"
        numbers[int(user[1:])] = int(mine[0].rating or 0)
    for number in range(max(1, acknowledged - 2), acknowledged + 1):
        assert numbers[number % 3] >= number, "an acknowledged write is lost"
    return max(numbers.values())
