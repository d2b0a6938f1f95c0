"""Events that stages and workflows emit: frozen values. How they are displayed is decided in terminal."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class StepStarted:
    """A step started. `total`: its size in `unit`s (documents, statements, bytes …); None: unknown.

    `unit` '': the step counts nothing.
    """

    step: str
    total: int | None = None
    unit: str = "documents"


@dataclass(frozen=True, slots=True, kw_only=True)
class StepAdvanced:
    """Progress of a step. `done`: units so far (absolute, not a delta); `total`: a new total, if it has changed.

    `note`: other figures, for example '1,200 tokens, $0.02'.
    """

    step: str
    done: int
    total: int | None = None
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepFinished:
    """A step ended without an error. `note`: its result in one line, for example '3,219 documents, 12 rejected'."""

    step: str
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """One sentence for the user that belongs to no step."""

    text: str
    level: Literal["info", "warning"] = "info"


Event = StepStarted | StepAdvanced | StepFinished | Notice
Emit = Callable[[Event], None]


DRY_RUN = "dry run: "  # how the name of a step begins that does not change the target


def as_dry_run(emit: Emit) -> Emit:
    """Returns an `Emit` that marks every step as part of a dry run."""

    def emit_marked(event: Event) -> None:
        emit(event if isinstance(event, Notice) else replace(event, step=f"{DRY_RUN}{event.step}"))

    return emit_marked


def silent(event: Event) -> None:
    """An `Emit` that discards events, for tests and nested workflows."""
