"""The file of a checkpoint: descents that are done, and the state of the one under way."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from types import FrameType
from typing import Any, NoReturn
from weakref import ReferenceType, ref

import numpy as np
from numpy.typing import NDArray

from bilinear.errors import CheckpointError, ModelFileError
from bilinear.files import TEMPORARY_NAME, atomic_write
from bilinear.model.parameters import Parameters
from bilinear.persistence.tensors import encode_tensors, read_tensors
from bilinear.training.history import History
from bilinear.training.training_identity import check_identity

FORMAT, FORMAT_VERSION = "bilinear-checkpoint", 1
FILE = "checkpoint.safetensors"
_GIVEN_UP = "diverged"
_TERMINATED = 128 + 15  # what a shell says of a process that SIGTERM ended

Tensors = Mapping[str, NDArray[Any]]


class Terminated(SystemExit):
    """Ends the process with status 143 after SIGTERM, when the state is on disk."""

    def __init__(self) -> None:
        super().__init__(_TERMINATED)


@dataclass(frozen=True, eq=False)
class Saved:
    """The state of a descent under way, as `Snapshot` gave it: JSON values and tensors."""

    values: dict[str, Any]
    tensors: dict[str, NDArray[Any]]


Snapshot = Callable[[], Saved | None]
"""The state of the descent under way, not copied; None where it cannot be gone on with from here."""


@dataclass
class _Done:
    """A descent that is done. Its weights are kept by the caller, not by the journal."""

    stage: str
    history: History
    rng: Mapping[str, Any]
    size: tuple[int, int, int]
    """(n_users, n_items, n_factors)."""
    weights: Parameters | None
    """Of a restart, until they are asked for."""
    held: ReferenceType[Parameters] | None
    """None as well for weights that had no reference when the journal was written."""
    run: Tensors | None = None
    """The last state of a run of which more is asked than its weights."""

    def answer(self) -> Parameters:
        """The weights; NaN throughout if they had no reference when the journal was written."""
        if self.weights is None:
            return _unknown(*self.size)
        weights, self.weights = self.weights, None
        self.held = ref(weights)
        return weights


class Journal:
    """Results of the descents of one training so far, and the state of the one under way.

    Made by `checkpointing`; solvers reach it through `checkpoint.journal()`.
    """

    def __init__(self, folder: Path, minutes: float, identity: Mapping[str, Any]) -> None:
        self.folder, self._minutes = folder, minutes
        self._identity = dict(identity)
        self._entries: list[Any] = []  # _Done, or JSON values of `record_once`
        self._next = 0
        self._saved: Saved | None = None
        self._snapshot: Snapshot | None = None
        self._busy = self._asked_to_stop = self.interrupted = False
        self.resumed = (self.folder / FILE).exists()
        if self.resumed:
            self._read()
        else:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._write(None)  # a folder that cannot be written, or is full, is found out now
        self._due = monotonic() + 60 * self._minutes

    def record_once(self, work: Callable[[], Any]) -> Any:
        """The JSON value of `work`, which a restart does not do again: for what chance or time decides."""
        if self._next == len(self._entries):
            self._entries.append(work())
        value = self._entries[self._next]
        if isinstance(value, _Done):
            raise self._misfit()
        self._next += 1
        return value

    def finished(
        self, stage: str, rng: np.random.Generator
    ) -> tuple[Parameters, History, Tensors | None] | None:
        """The result and state of the next descent if it is done, with `rng` as the descent left it."""
        if self._next == len(self._entries):
            return None
        entry = self._entries[self._next]
        if not isinstance(entry, _Done) or entry.stage != stage:
            raise self._misfit()
        self._next += 1
        rng.bit_generator.state = entry.rng
        return entry.answer(), entry.history, entry.run

    def give_up(self, stage: str) -> None:
        """Closes the descent under way without a result: it diverged, and another attempt follows."""
        self._entries.append({_GIVEN_UP: stage})
        self._next += 1
        self._snapshot, self._busy = None, False
        self.look()

    def gave_up(self, stage: str) -> bool:
        """Whether the next descent is known to diverge; if so, it counts as done."""
        given_up = self._next < len(self._entries) and self._entries[self._next] == {_GIVEN_UP: stage}
        self._next += given_up
        return given_up

    def begin(self, stage: str, snapshot: Snapshot | None) -> Saved | None:
        """Opens a descent; returns its saved state where a restart is to go on with it.

        Args:
            snapshot: None for a run that cannot tell its state: a restart begins it again.
        """
        self._busy, self._snapshot = snapshot is not None, snapshot
        saved, self._saved = self._saved, None
        if saved is not None and saved.values["stage"] != stage:
            raise self._misfit()
        return saved

    def finish(
        self,
        stage: str,
        rng: np.random.Generator,
        weights: Parameters,
        history: History,
        run: Tensors | None = None,
    ) -> None:
        """Closes the descent under way; `run` is its last state, where that is asked for after a restart."""
        size = weights.n_users, weights.n_items, weights.n_factors
        self._entries.append(_Done(stage, history, rng.bit_generator.state, size, None, ref(weights), run))
        self._next += 1
        self._snapshot = None
        self._busy = False
        self.look()

    def look(self) -> None:
        """Writes if it is time; writes and ends the process after SIGTERM. At once where it is neither."""
        if self.interrupted or not (self._asked_to_stop or monotonic() >= self._due):
            return
        saved = self._saved if self._snapshot is None else self._snapshot()
        if saved is None and self._snapshot is not None:
            return  # in the middle of an epoch that can only be saved at its end
        self._write(saved)
        if self._asked_to_stop:
            self._leave()

    def interrupt(self) -> None:
        """After Ctrl-C or an error: what is on disk stays as it is."""
        self.interrupted, self._snapshot, self._busy = True, None, False

    def remove(self) -> None:
        """Training is done."""
        (self.folder / FILE).unlink(missing_ok=True)
        self._sweep()
        try:
            self.folder.rmdir()
        except OSError:  # other files are in it
            return

    def on_sigterm(self, number: int, frame: FrameType | None) -> None:
        """The handler: within a descent its next `look` leaves, else at once."""
        self._asked_to_stop = True
        if not self._busy:
            if not self.interrupted:
                self._write(self._saved)
            self._leave()

    def _write(self, saved: Saved | None) -> None:
        """Puts the journal and the state of the descent under way on disk, whole or not at all."""
        tensors: dict[str, NDArray[Any]] = {}
        entries = []
        for n, entry in enumerate(self._entries):
            if not isinstance(entry, _Done):
                entries.append({"value": entry})
                continue
            weights = entry.weights or (None if entry.held is None else entry.held())
            described: dict[str, Any] = {
                "stage": entry.stage,
                "rng": entry.rng,
                "size": entry.size,
                "history": entry.history.summary(),
            }
            tensors[f"{n}.history"] = entry.history.table()
            if entry.run is not None:
                tensors |= {f"{n}.run.{name}": array for name, array in entry.run.items()}
            if weights is not None:
                described["global_mean"] = weights.global_mean
                tensors |= {f"{n}.{name}": array for name, array in weights.arrays().items()}
            entries.append(described)
        state = {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            "identity": self._identity,
            "entries": entries,
            "under_way": None if saved is None else saved.values,
        }
        tensors |= {} if saved is None else {f"under_way.{name}": a for name, a in saved.tensors.items()}
        tensors["state"] = np.frombuffer(json.dumps(state).encode(), np.uint8)
        tensors["sha256"] = np.frombuffer(_digest(tensors), np.uint8)
        self._sweep()
        with atomic_write(self.folder / FILE) as file:
            for chunk in encode_tensors(tensors):
                file.write(chunk)
        self._due = monotonic() + 60 * self._minutes

    def _leave(self) -> NoReturn:
        print(
            f"Stopped by SIGTERM. The training so far is in {self.folder}; start it again as before to go on "
            "(on the command line with --resume).",
            file=sys.stderr,
        )
        raise Terminated

    def _read(self) -> None:
        path = self.folder / FILE
        try:
            tensors = read_tensors(path)
            expected = tensors["sha256"].tobytes()
            found = _digest({name: array for name, array in tensors.items() if name != "sha256"})
            state = json.loads(tensors["state"].tobytes())
            fault = None if found == expected else "its SHA-256 does not match"
            fault = fault or (None if state["format"] == FORMAT else f"its format is not {FORMAT!r}")
        except (ModelFileError, KeyError, ValueError) as error:
            fault = str(error)
        if fault is not None:
            raise CheckpointError(
                f"{path} is damaged, or no checkpoint ({fault}); remove it to train from the beginning, or "
                "restore it from a copy"
            )
        if state["format_version"] != FORMAT_VERSION:
            raise CheckpointError(
                f"{self.folder}: the checkpoint has format {state['format_version']}, this bilinear reads "
                f"{FORMAT_VERSION}; go on with the version that wrote it, or remove it to train anew"
            )
        check_identity(state["identity"], self._identity, self.folder)
        self._identity = state["identity"]
        for n, entry in enumerate(state["entries"]):
            if "value" in entry:
                self._entries.append(entry["value"])
                continue
            history = History.from_table(np.array(tensors[f"{n}.history"]), **entry["history"])
            weights = None
            if "global_mean" in entry:
                names = ("user_biases", "item_biases", "user_factors", "item_factors")
                weights = Parameters(
                    entry["global_mean"], **{name: np.array(tensors[f"{n}.{name}"]) for name in names}
                )
            head = f"{n}.run."
            run = {name.removeprefix(head): a for name, a in tensors.items() if name.startswith(head)}
            size = tuple(entry["size"])
            done = _Done(entry["stage"], history, entry["rng"], size, weights, None, run or None)
            self._entries.append(done)
        if state["under_way"] is not None:
            head = "under_way."
            own = {name.removeprefix(head): a for name, a in tensors.items() if name.startswith(head)}
            self._saved = Saved(state["under_way"], own)

    def _sweep(self) -> None:
        """Removes what killed writers left."""
        for entry in self.folder.iterdir():
            if TEMPORARY_NAME.fullmatch(entry.name):
                entry.unlink(missing_ok=True)

    def _misfit(self) -> CheckpointError:
        return CheckpointError(
            f"{self.folder}: the checkpoint tells of other steps than this training takes; remove it to "
            "train from the beginning"
        )


def _unknown(n_users: int, n_items: int, n_factors: int) -> Parameters:
    """Not a number throughout, in no memory."""

    def of(*shape: int) -> Any:
        return np.broadcast_to(np.float32(np.nan), shape)

    return Parameters(np.nan, of(n_users), of(n_items), of(n_users, n_factors), of(n_items, n_factors))


def _digest(tensors: Tensors) -> bytes:
    digest = hashlib.sha256()
    for name in sorted(tensors):
        array = np.ascontiguousarray(tensors[name])
        digest.update(f"{name} {array.dtype.str} {array.shape}\n".encode())
        digest.update(array.reshape(-1).view(np.uint8).data)
    return digest.digest()
