"""A PostgreSQL server of our own on a free port, that can be stopped and started again."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


class PostgresServer:
    """`address` is good for as long as the server runs; `stop` and `start` keep its data."""

    def __init__(self, programs: dict[str, str]) -> None:
        self.programs = programs
        self.folder = Path(tempfile.mkdtemp(prefix="bilinear-postgres-"))
        self.account: dict[str, Any] = {}
        if os.getuid() == 0:  # PostgreSQL refuses to run as root
            self.account = {"user": 65534, "group": 65534, "extra_groups": []}
            os.chown(self.folder, 65534, 65534)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.address = f"postgresql://tester@127.0.0.1:{self.port}/postgres"
        self.process: subprocess.Popen[bytes] | None = None

    def make(self) -> str | None:
        """Makes the database; what went wrong, or None."""
        how = ["-U", "tester", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync"]
        made = subprocess.run(
            [self.programs["initdb"], "-D", self.folder / "data", *how],
            capture_output=True,
            text=True,
            cwd=self.folder,
            check=False,
            **self.account,
        )
        return made.stderr.strip()[-200:] if made.returncode else None

    def start(self) -> None:
        import psycopg

        with (self.folder / "log").open("a") as log:
            self.process = subprocess.Popen(
                [
                    *(self.programs["postgres"], "-D", self.folder / "data", "-p", str(self.port)),
                    *("-h", "127.0.0.1", "-k", self.folder),
                ],
                stdout=log,
                stderr=log,
                cwd=self.folder,
                **self.account,
            )
        for _ in range(300):
            assert self.process.poll() is None, (self.folder / "log").read_text()
            try:
                psycopg.connect(self.address, connect_timeout=2).close()
            except psycopg.OperationalError:
                time.sleep(0.1)
            else:
                return
        raise AssertionError(f"no answer: {(self.folder / 'log').read_text()}")

    def stop(self) -> None:
        """At once, with every connection."""
        if self.process is not None:
            self.process.send_signal(2)
            self.process.wait()
            self.process = None

    def remove(self) -> None:
        self.stop()
        shutil.rmtree(self.folder)


@contextmanager
def postgres_server() -> Iterator[PostgresServer | str]:
    """A running server, or why there is none."""
    programs = {name: shutil.which(name) for name in ("postgres", "initdb")}
    if not all(programs.values()):
        yield "PostgreSQL's server programs (postgres, initdb) are not on the path"
        return
    server = PostgresServer({name: path for name, path in programs.items() if path})
    try:
        fault = server.make()
        if fault is not None:
            yield f"initdb failed here: {fault}"
            return
        server.start()
        yield server
    finally:
        server.remove()
