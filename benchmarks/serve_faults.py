"""Kill -9 of the whole server while feedback and items are put; disk, database, lock and folder taken."""

from __future__ import annotations

import http.client
import json
import random
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import common
import numpy as np
from served import ServerProcess, ask, random_model

import bilinear
from bilinear.data.interactions import Interactions
from bilinear.data.items import Items
from bilinear.data.vocabulary import Vocabulary
from bilinear.serving.feedback.store import open_store

sys.path.insert(0, str(common.REPOSITORY / "tests" / "serving"))
from postgres_server import PostgresServer, postgres_server

N_CLIENTS = 4
N_PAIRS = 25


@dataclass
class Written:
    """What one client sent and what was acknowledged: each write of a pair is later than the one before."""

    sent: dict[tuple[str, str], float] = field(default_factory=dict)
    acknowledged: dict[tuple[str, str], float] = field(default_factory=dict)
    n_acknowledged: int = 0


def main() -> None:
    parser = common.arguments(__doc__)
    parser.add_argument("--kills", type=int, default=100, help="of each store")
    parser.add_argument("--items", type=int, default=1000, help="put, of each store")
    parser.add_argument("--store", choices=["SQLite", "PostgreSQL"], help="only this one")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    rows: list[list[str]] = []
    numbers: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        random_model(50, 300, 8, n_rated=5).save(folder / "model")
        with postgres_server() as postgres:
            urls = {"SQLite": f"sqlite:///{folder}/kills.db"}
            if isinstance(postgres, str):
                print(f"SKIPPED PostgreSQL: {postgres}", file=sys.stderr)
            else:
                urls["PostgreSQL"] = postgres.address
            for store, url in urls.items():
                if given.store not in (None, store):
                    continue
                found = killed(folder, url, given.kills, random.Random(given.seed))
                numbers[f"kill -9, {store}"] = found
                rows.append([f"kill -9, {store}", *(f"{found[name]:,}" for name in _COUNTS)])
                print(rows[-1], file=sys.stderr)
                found = killed_while_items_are_put(folder, url, given.items, random.Random(given.seed))
                numbers[f"kill -9, items, {store}"] = found
                rows.append([f"kill -9, items put, {store}", *(f"{found[name]:,}" for name in _COUNTS)])
                print(rows[-1], file=sys.stderr)
            taken = [took_away(folder, what, play) for what, play in _plays(folder, postgres)]
    table = common.table_text(["fault", *_COUNTS], rows)
    second = common.table_text(["taken away", "answer meanwhile", "process", "when it is back"], taken)
    facts = common.machine_facts("uvicorn", "psycopg")
    text = f"# Serving through faults\n\n{common.facts_line(facts)}\n\n{table}\n\n{second}\n"
    common.publish("serve_faults", given.out, text, {"facts": facts, **numbers, "taken_away": taken})
    if any(found["lost"] or found["doubled"] for found in numbers.values()):
        sys.exit(1)


_COUNTS = ("kills", "acknowledged", "lost", "doubled", "never sent")


def killed(folder: Path, url: str, n_kills: int, chance: random.Random) -> dict[str, int]:
    """Four clients write until the server is killed, then everything is read back; n times."""
    clients = [Written() for _ in range(N_CLIENTS)]
    lost = doubled = invented = 0
    for _ in range(n_kills):
        with ServerProcess(folder / "model", url, folder / "log") as server:
            threads = [
                threading.Thread(target=write, args=(server, f"client {n}", client))
                for n, client in enumerate(clients)
            ]
            for thread in threads:
                thread.start()
            time.sleep(chance.uniform(0.01, 0.5))
            server.kill()
            for thread in threads:
                thread.join()
        store = open_store(url)  # the next round starts the server on it again
        rows = [row for batch in store.everything() for row in batch]
        store.close()
        stored = {(row.user, row.item): row.rating or 0.0 for row in rows}
        doubled += len(rows) - len(stored)
        for client in clients:
            for pair, rating in client.acknowledged.items():
                lost += stored.get(pair, -1.0) < rating
        sent = {pair: rating for client in clients for pair, rating in client.sent.items()}
        invented += sum(rating > sent.get(pair, -1.0) for pair, rating in stored.items())
    n_acknowledged = sum(client.n_acknowledged for client in clients)
    return dict(zip(_COUNTS, (n_kills, n_acknowledged, lost, doubled, invented), strict=True))


def write(server: ServerProcess, user: str, mine: Written) -> None:
    """Ratings that rise with every write of a pair, until the server is gone."""
    connection = server.connect(timeout=5)
    number = mine.n_acknowledged
    try:
        while True:
            number += 1
            pair = (user, f"item {number % N_PAIRS}")
            rating = 0.5 + (number % 4_000_000) * 1e-6  # within the model's range
            mine.sent[pair] = rating
            path = f"/v1/feedback?user={user.replace(' ', '%20')}&item={pair[1].replace(' ', '%20')}"
            status, _ = ask(connection, "PUT", path, {"rating": rating})
            if status == 200:
                mine.acknowledged[pair] = rating
                mine.n_acknowledged = number
    except OSError:
        return
    except Exception as error:  # a connection cut in the middle of an answer
        if type(error).__module__ not in ("http.client", "json.decoder"):
            raise
    finally:
        connection.close()


def killed_while_items_are_put(folder: Path, url: str, n_items: int, chance: random.Random) -> dict[str, int]:
    """Four clients put new items until the server is killed, until there are enough.

    An item counts as lost when the store, or a server that is started then, does not have it.
    """
    with_kinds(50, 40).save(folder / "with kinds")
    acknowledged: list[list[str]] = [[] for _ in range(N_CLIENTS)]
    sent: list[list[str]] = [[] for _ in range(N_CLIENTS)]
    n_kills = 0
    while sum(map(len, acknowledged)) < n_items:
        with ServerProcess(folder / "with kinds", url, folder / "log") as server:
            threads = [
                threading.Thread(target=put_items, args=(server, f"{client}-{n_kills}", *lists))
                for client, lists in enumerate(zip(sent, acknowledged, strict=True))
            ]
            for thread in threads:
                thread.start()
            time.sleep(chance.uniform(0.1, 0.8))
            server.kill()
            for thread in threads:
                thread.join()
        n_kills += 1
    store = open_store(url)
    rows = [row.id for batch in store.properties() for row in batch if row.id.startswith("new ")]
    store.close()
    wanted = {item for items in acknowledged for item in items}
    lost = wanted - set(rows)
    with ServerProcess(folder / "with kinds", url, folder / "log") as server:
        connection = server.connect()
        for item in wanted - lost:
            status, answer = ask(connection, "GET", f"/v1/item?item={item.replace(' ', '%20')}")
            if status != 200 or answer["title"] != f"Title of {item}":
                lost.add(item)
    never = set(rows) - {item for items in sent for item in items}
    counts = n_kills, len(wanted), len(lost), len(rows) - len(set(rows)), len(never)
    return dict(zip(_COUNTS, counts, strict=True))


def with_kinds(n_users: int, n_items: int) -> bilinear.BiasModel:
    """A model with a feature of items."""
    users, items = np.divmod(np.arange(n_users * n_items), n_items)
    names = [f"item {n}" for n in range(n_items)]
    ratings = Interactions.from_columns(users, [names[n] for n in items], 1.0 + (users + items) % 5)
    kinds = [f"kind {n % 3}" for n in range(n_items)]
    table = Items(Vocabulary.from_ids(names), {"title": names, "kind": kinds})
    return bilinear.BiasModel(l2_biases=1.0, item_features=["kind"]).fit(ratings, items=table)


def put_items(server: ServerProcess, name: str, sent: list[str], acknowledged: list[str]) -> None:
    """Puts one new item after the other until the server is gone."""
    connection, number = server.connect(timeout=5), 0
    try:
        while True:
            number += 1
            item = f"new {name}-{number}"
            sent.append(item)
            body = {"title": f"Title of {item}", "features": {"kind": f"kind {number % 3}"}}
            status, answer = ask(connection, "PUT", f"/v1/item?item={item.replace(' ', '%20')}", body)
            assert status == 200, answer
            acknowledged.append(item)
    except (OSError, http.client.HTTPException, json.JSONDecodeError):
        return
    finally:
        connection.close()


PUT = ("PUT", "/v1/feedback?user=u&item=i", {"rating": 3})
RELOAD = ("POST", "/v1/model/reload", {})


def _plays(folder: Path, postgres: PostgresServer | str) -> Iterator[tuple[str, Any]]:
    yield "store locked by another program", lambda: _locked(folder)
    yield "disk full under SQLite", lambda: _full_disk(folder)
    if isinstance(postgres, PostgresServer):
        yield "PostgreSQL stopped", lambda: _stopped(postgres)
    yield "model folder deleted", lambda: _deleted(folder)


@dataclass
class Scene:
    """A store, what to ask, and how to take something away and bring it back."""

    url: str
    asked: tuple[str, str, Any]
    take: Callable[[], None]
    give: Callable[[], None]


def took_away(folder: Path, what: str, play: Any) -> list[str]:
    """One row: the answer while it is away, whether the process lives, the answer when it is back."""
    with play() as scene:
        if isinstance(scene, str):
            return [what, f"not tried: {scene}", "", ""]
        with ServerProcess(folder / "model", scene.url, folder / "log") as server:
            status, answer = server.ask(*scene.asked)
            assert status == 200, answer
            scene.take()
            status, answer = server.ask(*scene.asked)
            meanwhile = f"{status} {answer['error']['code']}" if status != 200 else "200"
            others, _ = server.ask("GET", "/v1/search?q=film")
            lives = "lives" if server.process.poll() is None and others == 200 else "DEAD"
            scene.give()
            status, answer = server.ask(*scene.asked)
            return [what, meanwhile, lives, f"{status}"]


@contextmanager
def _locked(folder: Path) -> Iterator[Scene]:
    path = folder / "locked.db"
    holder: list[sqlite3.Connection] = []

    def take() -> None:
        holder.append(sqlite3.connect(path, isolation_level=None))
        holder[0].execute("BEGIN IMMEDIATE")

    yield Scene(f"sqlite:///{path}", PUT, take, lambda: holder[0].close())


@contextmanager
def _full_disk(folder: Path) -> Iterator[Scene | str]:
    """A file system of one megabyte in memory, filled by a file."""
    mount = folder / "small"
    mount.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", mount], capture_output=True, check=False
    )
    if done.returncode:
        yield "mounting a file system needs root"
        return

    def take() -> None:
        with (mount / "filler").open("wb", buffering=0) as file:
            try:
                while True:
                    file.write(b"x" * 512)
            except OSError:
                return

    try:
        yield Scene(f"sqlite:///{mount}/f.db", PUT, take, (mount / "filler").unlink)
    finally:
        subprocess.run(["umount", "-l", mount], check=False)


@contextmanager
def _stopped(postgres: PostgresServer) -> Iterator[Scene]:
    yield Scene(postgres.address, PUT, postgres.stop, postgres.start)


@contextmanager
def _deleted(folder: Path) -> Iterator[Scene]:
    kept = folder / "kept"
    shutil.copytree(folder / "model", kept)
    yield Scene(
        f"sqlite:///{folder}/deleted.db",
        RELOAD,
        lambda: shutil.rmtree(folder / "model"),
        lambda: shutil.move(kept, folder / "model"),
    )


if __name__ == "__main__":
    main()
