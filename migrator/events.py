"""What stages announce while they work. Frozen values; who listens (console, tests) is not their business."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class StepStarted:
    """A step begins. `total` is in `unit`s (documents, statements, bytes …), None where it cannot be known."""

    step: str
    total: int | None = None
    unit: str = "documents"


@dataclass(frozen=True, slots=True, kw_only=True)
class StepAdvanced:
    """`done` of the step's total so far (absolute, not a delta); `total` where it is known better by now.

    `note` says what else has gathered, e.g. '1,200 tokens, $0.02'.
    """

    step: str
    done: int
    total: int | None = None
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepFinished:
    """A step ended well. `note` is one short line of result, e.g. '3,219 documents, 12 rejected'."""

    step: str
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """One sentence for the user, outside any step."""

    text: str
    level: Literal["info", "warning"] = "info"


Event = StepStarted | StepAdvanced | StepFinished | Notice
Emit = Callable[[Event], None]


def silent(event: Event) -> None:
    """An `Emit` that nobody hears, for tests and nested work."""
