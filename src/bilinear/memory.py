"""Free memory, checked before work begins that would not fit."""

from __future__ import annotations

import os
import re
from pathlib import Path

from bilinear.errors import MemoryLimitError, ParameterValueError

LIMIT = "BILINEAR_MEMORY_LIMIT"
"""Environment variable: memory to count on, such as "8GB", instead of what the system says is free."""

_UNITS = {"": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
_UNITS |= {"KIB": 2**10, "MIB": 2**20, "GIB": 2**30, "TIB": 2**40}


_most: int | None = None
"""Bytes that this process may take in all; None: whatever is free."""

REMEDY = "use a smaller table or model, or a larger machine"


def require(n_bytes: int, what: str, remedy: str = REMEDY) -> None:
    """Raises MemoryLimitError if `what` needs more bytes than are free.

    A system that says nothing (other than Linux) refuses nothing.
    """
    free = available()
    if free is not None and n_bytes > free:
        raise MemoryLimitError(
            f"{what} needs about {shown(n_bytes)} of memory more, and {shown(free)} is free; {remedy}, or "
            f"set {LIMIT} (such as {shown(2 * n_bytes)}) if you know better"
        )


def limit_process(text: str | None) -> None:
    """From now on this process counts on so much memory in all, what it has taken already included.

    Args:
        text: an amount such as "8GB"; None ends the limit.
    Raises:
        ParameterValueError: not an amount, or it has taken more.
    """
    global _most
    if text is None:
        _most = None
        return
    most, taken = parsed_size(text, "memory limit "), resident()
    if most <= taken:
        raise ParameterValueError(
            f"memory limit {text!r}: the program itself takes {shown(taken)}; give more"
        )
    _most = most


def available(root: Path = Path("/")) -> int | None:
    """Bytes that can still be taken: by `LIMIT`, else the least of the system's and the control groups'.

    Never more than `limit_process` leaves.
    """
    given = os.environ.get(LIMIT)
    found = [_meminfo(root / "proc" / "meminfo"), *_groups(root)] if given is None else [parsed_size(given)]
    if _most is not None:
        found.append(max(0, _most - resident()))
    return min((n for n in found if n is not None), default=None)


def resident() -> int:
    """Bytes of memory that this process holds beside mapped files; 0 on a system that does not say."""
    try:
        pages = list(map(int, Path("/proc/self/statm").read_text().split()))
    except OSError:
        return 0
    return (pages[1] - pages[2]) * os.sysconf("SC_PAGE_SIZE")


def parsed_size(text: str, what: str = f"{LIMIT}=") -> int:
    """Bytes of a text such as "8GB", "500 MiB" or "1000000"; `what` it is, for the error."""
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]*)\s*", text)
    if match is None or match[2].upper() not in _UNITS:
        raise ParameterValueError(f"{what}{text!r}; an amount of memory such as 8GB or 500MB")
    return int(float(match[1]) * _UNITS[match[2].upper()])


def _meminfo(path: Path) -> int | None:
    try:
        match = re.search(r"^MemAvailable:\s*(\d+) kB", path.read_text(), re.MULTILINE)
    except OSError:
        return None
    return None if match is None else int(match[1]) * 1024


def _groups(root: Path) -> list[int]:
    """What each control group (version 2) that this process is in leaves it."""
    try:
        lines = (root / "proc" / "self" / "cgroup").read_text().splitlines()
    except OSError:
        return []
    own = next((line[3:] for line in lines if line.startswith("0::")), None)
    if own is None:
        return []
    top = root / "sys" / "fs" / "cgroup"
    group, found = top / own.strip("/"), []
    for folder in (group, *group.parents):
        if not folder.is_relative_to(top):
            break
        try:
            most = (folder / "memory.max").read_text().strip()
            taken = int((folder / "memory.current").read_text())
            cached = re.search(r"^inactive_file (\d+)$", (folder / "memory.stat").read_text(), re.MULTILINE)
        except (OSError, ValueError):
            continue
        if most.isdigit():  # "max" is not a limit
            found.append(max(0, int(most) - taken + (int(cached[1]) if cached else 0)))
    return found


def shown(n_bytes: int) -> str:
    """Such as "1.5GB"."""
    for unit in ("GB", "MB", "KB"):
        if n_bytes >= _UNITS[unit]:
            return f"{n_bytes / _UNITS[unit]:.3g}{unit}"
    return f"{n_bytes}"
