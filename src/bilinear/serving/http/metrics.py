"""Counters in Prometheus' text format."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable
from pathlib import Path
from time import time

KIND = b"text/plain; version=0.0.4; charset=utf-8"
_BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)


class Metrics:
    """Requests by operation and status, how long they took, and what else the server counts."""

    def __init__(self) -> None:
        self._requests: dict[tuple[str, int], int] = {}
        self._buckets: dict[str, list[int]] = {}
        self._seconds: dict[str, float] = {}
        self._started = time()

    def count(self, operation: str, status: int, seconds: float) -> None:
        key = (operation, status)
        self._requests[key] = self._requests.get(key, 0) + 1
        buckets = self._buckets.get(operation)
        if buckets is None:
            buckets = self._buckets[operation] = [0] * (len(_BOUNDS) + 1)
        buckets[bisect_left(_BOUNDS, seconds)] += 1
        self._seconds[operation] = self._seconds.get(operation, 0.0) + seconds

    def text(self, gauges: Iterable[tuple[str, str, float]]) -> bytes:
        """All of it; gauges are (name, help, value)."""
        lines = [
            "# HELP bilinear_requests_total Answered requests.",
            "# TYPE bilinear_requests_total counter",
        ]
        for (operation, status), count in sorted(self._requests.items()):
            lines.append(f'bilinear_requests_total{{operation="{operation}",status="{status}"}} {count}')
        name = "bilinear_request_seconds"
        lines += [f"# HELP {name} Time from request to answer.", f"# TYPE {name} histogram"]
        for operation, buckets in sorted(self._buckets.items()):
            total = 0
            for bound, count in zip([*_BOUNDS, "+Inf"], buckets, strict=True):
                total += count
                lines.append(f'{name}_bucket{{operation="{operation}",le="{bound}"}} {total}')
            lines.append(f'{name}_sum{{operation="{operation}"}} {self._seconds[operation]:.6f}')
            lines.append(f'{name}_count{{operation="{operation}"}} {total}')
        for gauge, words, value in (
            ("bilinear_started_seconds", "When the server started, in seconds since 1970.", self._started),
            ("process_resident_memory_bytes", "Memory in use.", _resident_bytes()),
            *gauges,
        ):
            kind = "counter" if gauge.endswith("_total") else "gauge"
            lines += [f"# HELP {gauge} {words}", f"# TYPE {gauge} {kind}", f"{gauge} {value:.15g}"]
        return ("\n".join(lines) + "\n").encode()


def _resident_bytes() -> float:
    try:
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return float(line.split()[1]) * 1024
    except OSError:
        pass
    return float("nan")
