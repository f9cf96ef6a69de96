"""One JSON object a line on standard error: what happened, and never a token or a query string."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime
from typing import Any, TextIO


class Log:
    """Writes events. Values are texts and numbers; line breaks in them cannot begin a new entry."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream

    def write(self, event: str, **values: Any) -> None:
        moment = datetime.now(UTC).isoformat(timespec="milliseconds")
        line = json.dumps({"time": moment, "event": event, **values}, ensure_ascii=True, default=str)
        stream = self._stream or sys.stderr
        try:
            stream.write(line + "\n")
            stream.flush()
        except (OSError, ValueError):
            pass  # a full disk under the log is not a reason to stop answering
