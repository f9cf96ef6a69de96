"""Options that several commands share: a dataclass whose fields become options of a command."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import Field, dataclass, fields, is_dataclass
from functools import wraps
from inspect import Parameter, Signature, signature
from typing import TYPE_CHECKING, Annotated, Any, get_origin, get_type_hints

from bilinear.cli import options

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from bilinear.training.progress import Progress


def option_blocks(command: Callable[..., None]) -> Callable[..., None]:
    """The command with the options of a dataclass in place of each argument of that type.

    A field without `Annotated` is not an option and keeps its default, so a subclass can leave one out.
    """
    hints = get_type_hints(command, include_extras=True)
    blocks: dict[str, Any] = {name: kind for name, kind in hints.items() if is_dataclass(kind)}
    parameters = []
    for parameter in signature(command).parameters.values():
        if parameter.name in blocks:
            parameters += _parameters(blocks[parameter.name])
        else:
            parameters.append(
                parameter.replace(annotation=hints[parameter.name], kind=Parameter.KEYWORD_ONLY)
            )

    @wraps(command)
    def with_blocks(**given: Any) -> None:
        for name, kind in blocks.items():
            own = {field.name for field in fields(kind)} & set(given)
            given[name] = kind(**{option: given.pop(option) for option in own})
        command(**given)

    with_blocks.__signature__ = Signature(parameters)  # type: ignore[attr-defined]
    with_blocks.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return with_blocks


def _parameters(kind: Any) -> list[Parameter]:
    hints = get_type_hints(kind, include_extras=True)

    def parameter(field: Field[Any]) -> Parameter:
        return Parameter(
            field.name, Parameter.KEYWORD_ONLY, default=field.default, annotation=hints[field.name]
        )

    return [parameter(field) for field in fields(kind) if get_origin(hints[field.name]) is Annotated]


@dataclass(frozen=True)
class RunOptions:
    """How a command runs and shows its result."""

    threads: options.Threads = None
    seed: options.Seed = 0
    json: options.Json = False
    quiet: options.Quiet = False

    def progress(self) -> AbstractContextManager[Progress]:
        """A progress bar, or none with --quiet."""
        from contextlib import nullcontext

        from bilinear.training.progress import Bar, NullProgress

        return nullcontext(NullProgress()) if self.quiet else Bar()


@dataclass(frozen=True)
class RankingOptions:
    """What is for rankings alone."""

    threshold: options.Threshold = None
    confidence: options.Confidence = None
    relevant_from: options.RelevantFrom = None
    cutoffs: options.Cutoffs = None
