"""A request and an answer, as ASGI has them, with limits on what is read."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar, get_type_hints
from urllib.parse import parse_qsl

import msgspec

from bilinear.serving.problems import Refused

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]
Parsed = TypeVar("Parsed", bound=msgspec.Struct)

JSON = b"application/json"
ABORT = "bilinear.abort"
"""The ASGI extension by which an answer that was begun is cut off."""

_BODY_PAUSE = 30.0
_BODY_BYTES_A_SECOND = 100_000
_SMALL_BODY = 64 << 10
_MOST_FIELDS = 1000
_encoder = msgspec.json.Encoder()


class Pieces(Protocol):
    """A body that is made while it is sent. `aclose` gives back what it holds, also where none was asked."""

    waits_since: float | None
    """When it began to wait for the client to take a piece; None while it does not."""

    cut: asyncio.Event
    """Set where the rest is not to be sent."""

    async def piece(self) -> bytes | None:
        """The next piece; None at the end."""
        ...

    async def aclose(self) -> None: ...


@dataclass(slots=True)
class Answer:
    """Response to a request. `body` is bytes, or pieces that are sent as they come."""

    status: int
    body: bytes | Pieces
    kind: bytes = JSON
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)


class ClientGone(Exception):
    """Raised when the client closed the connection before the response."""


def json_answer(value: Any, status: int = 200) -> Answer:
    return Answer(status, _encoder.encode(value))


def problem(status: int, code: str, message: str) -> Answer:
    """The one shape of every refusal."""
    return json_answer({"error": {"code": code, "message": message}}, status)


def header(scope: Scope, name: bytes, *, once: bool = True) -> bytes | None:
    """One header's value; None where it is absent. Raises Refused: it came twice and may come `once`."""
    found: bytes | None = None
    for key, value in scope["headers"]:
        if key == name:
            if found is not None and once:
                raise Refused(f"the header {name.decode()} came twice", code="bad_header")
            found = bytes(value)
    return found


class Budget:
    """Bytes that the bodies of all requests may take together, until their requests are answered.

    The first 64 kB of each are free, so that long bodies cannot keep out short ones.
    """

    def __init__(self, most: int) -> None:
        self.most, self.used = most, 0

    @contextmanager
    def share(self) -> Iterator[Callable[[int], None]]:
        """A call that says how long one body has become; raises Refused (503) where that is too much."""
        held = 0

        def grow(length: int) -> None:
            nonlocal held
            more = length - _SMALL_BODY - held
            if more <= 0:
                return
            if self.used + more > self.most:
                raise Refused(
                    "too many long bodies are under way; try again in a moment", code="busy", status=503
                )
            self.used, held = self.used + more, held + more

        try:
            yield grow
        finally:
            self.used -= held


async def read_body(scope: Scope, receive: Receive, most: int, grow: Callable[[int], None]) -> bytes:
    """The whole body.

    Raises:
        Refused: 413 as soon as it is longer than `most` bytes; 408 after a pause of 30 seconds, or 30
            seconds behind 100 kB a second; 503 from `grow`, which is told its length.
        ClientGone: the client left before it was whole.
    """
    declared = header(scope, b"content-length")
    if declared is not None and (not declared.isdigit() or int(declared) > most):
        raise _too_long(most)
    parts, length = [], 0
    time = asyncio.get_running_loop().time
    began = time()
    try:
        async with asyncio.timeout(_BODY_PAUSE) as deadline:
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise ClientGone
                part = message.get("body", b"")
                length += len(part)
                if length > most:
                    raise _too_long(most)
                grow(length)
                parts.append(part)
                if not message.get("more_body", False):
                    return b"".join(parts)
                slowest = began + _BODY_PAUSE + length / _BODY_BYTES_A_SECOND
                deadline.reschedule(min(time() + _BODY_PAUSE, slowest))
    except TimeoutError:
        raise Refused("the body did not come in time", code="slow_body", status=408) from None


def parse_query(raw: bytes, kind: type[Parsed]) -> Parsed:
    """The query string as a checked struct. Raises Refused: a name or value that does not fit."""
    if not raw:
        return _converted({}, kind)
    try:
        text = raw.decode("ascii")
        if "%" in text or "+" in text or text.count("&") >= _MOST_FIELDS:
            pairs = parse_qsl(text, keep_blank_values=True, errors="strict", max_num_fields=_MOST_FIELDS)
        else:  # the same without escapes, in a fifth of the time
            fields = (field.partition("=") for field in text.split("&") if field)
            pairs = [(name, value) for name, _, value in fields]
    except UnicodeDecodeError:
        raise Refused("the query string is not percent-encoded UTF-8", code="bad_query") from None
    except ValueError:
        raise Refused(f"the query string has more than {_MOST_FIELDS} fields", code="bad_query") from None
    lists = _list_fields(kind)
    values: dict[str, Any] = {}
    others = "filters" in kind.__struct_fields__  # names of columns
    for name, value in pairs:
        if others and (name == "filters" or name not in kind.__struct_fields__):
            values.setdefault("filters", {}).setdefault(name, []).append(value)
        elif name in lists:
            values.setdefault(name, []).append(value)
        elif name in values:
            raise Refused(f"{name[:100]!r} is there twice", code="bad_query")
        else:
            values[name] = value
    return _converted(values, kind)


def parse_body(body: bytes, kind: type[Parsed]) -> Parsed:
    """A JSON body as a checked struct. Raises Refused: what does not fit, and where."""
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Refused(f"the body does not fit: {error}", code="bad_body") from None


def _converted(values: dict[str, Any], kind: type[Parsed]) -> Parsed:
    try:
        return msgspec.convert(values, kind, strict=False)
    except msgspec.ValidationError as error:
        raise Refused(f"the query does not fit: {error}", code="bad_query") from None


_LISTS: dict[type, frozenset[str]] = {}


def _list_fields(kind: type[msgspec.Struct]) -> frozenset[str]:
    if kind not in _LISTS:
        hints = get_type_hints(kind)
        _LISTS[kind] = frozenset(
            name for name, hint in hints.items() if getattr(hint, "__origin__", None) is list
        )
    return _LISTS[kind]


def _too_long(most: int) -> Refused:
    return Refused(f"the body is longer than {most:,} bytes; send less at once", code="too_long", status=413)
