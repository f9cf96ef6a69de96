"""JSON that comes back as it was given, read without trust."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bilinear.errors import ModelFileError, ParameterValueError

MAX_JSON_BYTES = 10_000_000
"""Longest JSON text read or written: parsing takes memory of some twenty times its length."""

_MAX_DEPTH = 50


def damaged(path: Path, what: str) -> ModelFileError:
    return ModelFileError(f"{path}: {what}; train again or restore the folder from a copy")


def parse_json(text: bytes, path: Path) -> dict[str, Any]:
    """A JSON object in UTF-8: no key twice, no NaN, nothing nested too deep for the parser."""

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) != len(pairs):
            raise ValueError("a key occurs twice")
        return found

    def refuse(constant: str) -> Any:
        raise ValueError(f"{constant} is not a JSON number")

    try:
        value = json.loads(text.decode(), object_pairs_hook=unique, parse_constant=refuse)
    except RecursionError:
        raise damaged(path, "the JSON is nested too deep") from None
    except ValueError as error:  # not UTF-8, not JSON, a number of thousands of digits
        raise damaged(path, f"the JSON cannot be read ({error})") from None
    if not isinstance(value, dict):
        raise damaged(path, "the JSON is not an object")
    return value


def plain_json(value: Any, where: str, depth: int = 0) -> Any:
    """`value` as JSON gives it back, or ParameterValueError with the place of what it cannot hold."""
    if depth > _MAX_DEPTH:
        raise ParameterValueError(f"{where[:80]}... is nested deeper than {_MAX_DEPTH} levels; flatten it")
    if value is None or isinstance(value, (bool, str)):
        problem = None if not isinstance(value, str) or _is_text(value) else "holds half a character"
    elif isinstance(value, Mapping):
        for key in value:
            if not isinstance(key, str) or not _is_text(key):
                raise ParameterValueError(f"{where} has the key {key!a}; keys must be text")
        return {key: plain_json(item, f"{where}[{key!r}]", depth + 1) for key, item in value.items()}
    elif isinstance(value, (list, tuple)):
        return [plain_json(item, f"{where}[{n}]", depth + 1) for n, item in enumerate(value)]
    elif isinstance(value, int):
        problem = None if abs(value) < 2**63 else "does not fit 64 bits"
    elif isinstance(value, float):
        problem = None if math.isfinite(value) else f"is {value}, which JSON cannot hold"
    else:
        problem = f"is of type {type(value).__name__}; use text, numbers, lists and dicts"
    if problem:
        raise ParameterValueError(f"{where} {problem}")
    return value


def _is_text(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True
