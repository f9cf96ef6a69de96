"""One change of a served model on a disk of its own: what was before, the change, and what must hold after.

Run as a program, it is killed at every call of every change: `python swaps.py FOLDER`.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

from faulty_disk import FaultyDisk, killed_at

import bilinear
import bilinear.serving.messages as m
from bilinear.data.interactions import Interactions
from bilinear.serving.answers.service import Service
from bilinear.serving.feedback.store import Mark
from bilinear.serving.lifecycle.model_folder import ModelFolder
from bilinear.serving.lifecycle.model_history import is_whole
from bilinear.serving.problems import Conflict

ENTRY = re.compile(r"\d{6}-[0-9a-f]{12}")


class NoStore:
    """Nothing is rated here."""

    is_local, address = True, "nowhere"

    def of_user(self, user: str) -> list[Any]:
        return []

    def properties(self) -> list[Any]:
        return []

    def properties_mark(self) -> Mark:
        return Mark(0, 0.0)


@dataclass(frozen=True)
class Start:
    """A server's folder as it is before a change.

    `first` was live, then `second`, which is live; `third` is made.
    """

    folder: Path
    first: str
    second: str
    third: str

    @classmethod
    def make(cls, folder: Path) -> Start:
        table = Interactions.from_columns(["a", "a", "b", "b"], ["x", "y", "x", "z"], [1.0, 3.0, 4.0, 5.0])
        models = [bilinear.BiasModel(l2_biases=l2, rng=0).fit(table) for l2 in (1.0, 2.0, 3.0)]
        models[0].save(folder / "model")
        service = served(folder)
        first = service.serving_model.version
        models[1].save(folder / "model")
        second = service.reload(m.Nothing()).model
        service.models.close()
        models[2].save(folder / "third")
        return cls(
            folder, first, second, Service(ModelFolder(folder / "third"), NoStore()).serving_model.version
        )

    def copy(self, to: Path) -> Start:
        shutil.rmtree(to, ignore_errors=True)
        shutil.copytree(self.folder, to)
        return Start(to, self.first, self.second, self.third)


def served(folder: Path) -> Service:
    """The server's part that has the model: the lock, the sweep, the service."""
    models = ModelFolder(folder / "model")
    try:
        models.lock()
        return Service(models, NoStore())  # type: ignore[arg-type]
    except BaseException:
        models.close()
        raise


def reload(service: Service, start: Start) -> None:
    service.reload(m.Nothing())


def rollback(service: Service, start: Start) -> None:
    service.rollback(m.Nothing())


def adopt(service: Service, start: Start) -> None:
    service.adopt(start.folder / "third", start.third)


def train(service: Service, start: Start) -> None:
    """What the training's process writes."""
    candidate = service.models.candidate()
    try:
        bilinear.load(start.folder / "third", in_memory=True).save(candidate)
    except OSError as error:
        raise Conflict(str(error)) from error


def keep(service: Service, start: Start) -> None:
    """From memory: another model is in the folder, and the history is gone."""
    service.models.keep(service.serving_model.model, service.serving_model.version)


def restart(service: Service, start: Start) -> None:
    served(start.folder).models.close()


def replace_folder(start: Start) -> None:
    bilinear.load(start.folder / "third", in_memory=True).save(start.folder / "model")


def lose_newest(start: Start) -> None:
    shutil.rmtree(max((start.folder / "model.history").iterdir()))


def lose_both(start: Start) -> None:
    replace_folder(start)
    lose_newest(start)


CHANGES: dict[str, tuple[Callable[[Start], None], Callable[[Service, Start], None]]] = {
    "reload": (replace_folder, reload),
    "rollback": (lambda start: None, rollback),
    "adopt": (lose_newest, adopt),
    "train": (lambda start: None, train),
    "keep": (lose_both, keep),
    "restart": (replace_folder, restart),
}


def check_answers(service: Service, start: Start) -> None:
    """Whatever the disk does, the model in memory answers."""
    assert service.serving_model.version in (start.first, start.second, start.third)
    assert len(service.recommend(m.RecommendBody("a")).items) == 1


def check_after(change: str, start: Start) -> str:
    """A server starts, with the old model or the new one, and has a way back. The version it started with."""
    service = served(start.folder)
    live = service.serving_model.version
    new = {"rollback": start.first, "train": start.second}.get(change, start.third)
    assert live in (start.second, new), change
    history = start.folder / "model.history"
    assert all(ENTRY.fullmatch(path.name) and is_whole(path) for path in history.iterdir()), "leftovers"
    if live == start.third:
        # Where the newest entry was lost and the disk failed, the one before is the way back.
        expected = {start.second} if change != "keep" else {start.second, start.first}
        assert service.rollback(m.Nothing()).model in expected
    elif live == start.second:
        assert service.rollback(m.Nothing()).model == start.first
    check_answers(service, start)
    service.models.close()
    return live


def main(folder: Path) -> None:
    """Kills a process at every call of every change; prints how many calls each has."""
    os.fsync = lambda descriptor: None  # a killed process leaves what the system has taken
    start = Start.make(folder / "start")
    for change, (prepare, work) in CHANGES.items():
        outcomes = []
        for number in count(1):
            here = start.copy(folder / "here")
            child = os.fork()
            if not child:
                service = served(here.folder)
                prepare(here)
                if change == "restart":
                    service.models.close()
                with FaultyDisk(here.folder, killed_at(number)).mounted():
                    work(service, here)
                os._exit(0)
            status = os.waitpid(child, 0)[1]
            assert os.WIFSIGNALED(status) or status == 0, change
            outcomes.append(check_after(change, here))
            if status == 0:
                break
        print(change, number, len(set(outcomes)), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
