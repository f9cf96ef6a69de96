"""A command line that sends itself Ctrl-C at a given moment: `ctrl_c_child.py MOMENT FOLDER ARGUMENT...`.

A moment is a function of bilinear, "import MODULE", or one of `WORK`, which takes the place of the command.
"""

from __future__ import annotations

import hashlib
import importlib.abc
import os
import signal
import sys
import threading
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from time import sleep
from typing import Any

from bilinear import cli


def press() -> None:
    os.kill(os.getpid(), signal.SIGINT)


def press_later(*waits: float) -> None:
    def run() -> None:
        for wait in waits:
            sleep(wait)
            press()

    threading.Thread(target=run, daemon=True).start()


def query(folder: Path, sql: str) -> None:
    from bilinear.data.reading.database import connected

    with connected(folder, n_threads=2) as connection:
        press_later(0.3)
        connection.execute(sql)


def copy(folder: Path) -> None:
    from bilinear.files import atomic_write

    with atomic_write(folder / "out.parquet") as file:
        rows = "SELECT i, hash(i) FROM range(100000000000) t(i)"
        query(folder, f"COPY ({rows}) TO '{file.name}' (FORMAT parquet, USE_TMP_FILE false)")


def destructor() -> None:
    class Finalised:
        def __del__(self) -> None:
            press()

    Finalised()
    sleep(600)


def converted() -> None:
    """As extension modules do, whose imports Ctrl-C ends."""
    try:
        press()
        sleep(600)
    except KeyboardInterrupt:
        raise SystemError("initialization failed") from None


def for_hours(*_: int) -> None:
    """Work in C that looks at no signal."""
    hashlib.pbkdf2_hmac("sha256", b"", b"", 2**31 - 1)


def in_c() -> None:
    press_later(0.3, 0.6)
    for_hours()


def in_threads() -> None:
    import numpy as np

    from bilinear.training.thread_pool import workers

    with workers(2) as pool:
        press_later(0.3, 0.6)
        pool.run(for_hours, np.arange(3))


WORK: dict[str, Callable[[Path], None]] = {
    "query": lambda folder: query(
        folder, "SELECT sum(a.i * b.i) FROM range(10000000) a(i), range(10000000) b(i)"
    ),
    "copy": copy,
    "destructor": lambda _: destructor(),
    "converted": lambda _: converted(),
    "twice": lambda _: in_c(),
    "twice, threads": lambda _: in_threads(),
}


class PressAtImport(importlib.abc.MetaPathFinder):
    def __init__(self, name: str) -> None:
        self.name = name

    def find_spec(self, name: str, *_: Any) -> None:
        if name == self.name:
            sys.meta_path.remove(self)
            press()


def at_call(place: str) -> None:
    """Ctrl-C at the first call of a function, written as module:name or module:Class.name."""
    module, _, name = place.partition(":")
    holder: Any = import_module(module)
    *path, name = name.split(".")
    for part in path:
        holder = getattr(holder, part)
    function = getattr(holder, name)

    def pressed(*arguments: Any, **named: Any) -> Any:
        setattr(holder, name, function)
        press()
        return function(*arguments, **named)

    setattr(holder, name, pressed)


if __name__ == "__main__":
    moment, folder, *sys.argv[1:] = sys.argv[1:]
    signal.signal(signal.SIGINT, signal.default_int_handler)  # where the tests run with it ignored
    if moment in WORK:
        cli._run = lambda: WORK[moment](Path(folder))
    elif moment.startswith("import "):
        sys.meta_path.insert(0, PressAtImport(moment.removeprefix("import ")))
    else:
        at_call(moment)
    cli.main()
