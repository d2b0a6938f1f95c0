"""Progress as text: the titles of steps, their figures, and one line every few seconds when there is no terminal.

Not here: progress bars and everything else that needs rich (console.py).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

from migrator.events import DRY_RUN
from migrator.formatting import format_count, format_duration

LINE_SECONDS = 5.0  # the interval between lines while a step is in progress
# Titles of steps; of other steps the first word is replaced.
TITLES = {
    "prepare": "Creating the schema",
    "post-data": "Creating indexes and constraints",
    "vector index": "Creating the vector index",
    "follow": "Applying changes",
    "embed": "Computing embeddings",
    "read the source": "Reading the source",
    "count the source": "Counting the source",
    "retry": "Retrying rejected documents",
    "check the target": "Checking the target",
    "compare": "Comparing rows",
    "round trip": "Rebuilding documents",
    "revert": "Reverting",
    "export": "Exporting",
    "compare changes": "Comparing changed documents",
    "suspend TTL": "Suspending TTL indexes",
    "stop writes": "Stopping the writes",
    "prove the stop": "Checking that no writes arrive",
    "apply the last changes": "Applying the last changes",
    "return changes": "Returning changes to MongoDB",
    "return the last changes": "Returning the last changes",
    "refuse writes": "Refusing writes in PostgreSQL",
    "record returned rows": "Saving the returned rows",
    "decide again": "Deciding again what depends on several documents",
    "restore MongoDB": "Restoring MongoDB",
    "verify": "Verifying",
    "switch": "Switching",
    "move the application": "Moving the application",
}
VERBS = {"load": "Loading", "reconcile": "Reconciling", "merge": "Merging", "build": "Building", "undo": "Undoing:"}


def title_of(step: str) -> str:
    """Returns the display text of a step's name: 'Loading users' for 'load users'; with 'Dry run: ' in a rehearsal."""
    if step.startswith(DRY_RUN):
        title = title_of(step.removeprefix(DRY_RUN))
        return f"Dry run: {title[:1].lower()}{title[1:]}"
    verb, _, rest = step.partition(" ")
    return TITLES.get(step) or f"{VERBS.get(verb, verb)} {rest}".strip()


@dataclass(slots=True)
class Step:
    """One step in progress. `done` and `total` are in `unit`s; `began` is a time of the monotonic clock."""

    name: str
    total: int | None
    unit: str
    done: int = 0
    note: str = ""
    began: float = field(default_factory=time.monotonic)

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.began

    @property
    def rate(self) -> float:
        return self.done / self.seconds if self.seconds else 0.0

    def amount(self) -> str:
        """Returns the progress: '1,200 of 3,219 documents'."""
        if not self.unit:
            return self.note or "in progress"
        amount = format_count(self.done, self.unit)
        if self.total is not None:
            amount = f"{self.done:,} of {format_count(self.total, self.unit)}"
        return amount + (f", {self.note}" if self.note else "")

    def speed(self) -> str:
        """Returns rate and remaining time: '240/s, 8 s left'; as far as they are known."""
        if not self.done:
            return ""
        left = "" if self.total is None else f", {format_duration((self.total - self.done) / self.rate)} left"
        return f"{self.rate:,.0f}/s{left}"


class View(Protocol):
    """Displays steps."""

    def start(self, step: Step) -> None: ...
    def advance(self, step: Step) -> None: ...
    def finish(self, step: Step, note: str) -> None: ...
    def close(self) -> None: ...


class Lines:
    """Displays steps as lines: one at the start, one at the end, and one every few seconds between."""

    def __init__(self, print_line: Callable[[str], None], lock: threading.RLock) -> None:
        self._print, self._lock = print_line, lock
        self._open: dict[str, Step] = {}
        self._last = time.monotonic()
        self._ended = threading.Event()
        self._repeater: threading.Thread | None = None

    def start(self, step: Step) -> None:
        self._open[step.name] = step
        self._line(f"{step.name}: started" + ("" if step.total is None else f", {format_count(step.total, step.unit)}"))
        if self._repeater is None:
            # A step without progress for minutes (an index build) must not look as if it hangs.
            self._ended = threading.Event()
            self._repeater = threading.Thread(
                target=self._repeat_lines, args=(self._ended,), name="progress", daemon=True
            )
            self._repeater.start()

    def advance(self, step: Step) -> None:
        """Does nothing: `_repeat_lines` reads the step."""

    def finish(self, step: Step, note: str) -> None:
        self._open.pop(step.name, None)
        self._line(f"{step.name}: done in {format_duration(step.seconds)}" + (f", {note}" if note else ""))

    def close(self) -> None:
        self._open.clear()
        self._ended.set()
        self._repeater = None

    def _repeat_lines(self, ended: threading.Event) -> None:
        while not ended.wait(LINE_SECONDS / 10):
            with self._lock:
                if not ended.is_set() and time.monotonic() - self._last >= LINE_SECONDS:
                    for step in list(self._open.values()):
                        speed = step.speed()
                        self._line(
                            f"{step.name}: {step.amount()} in {format_duration(step.seconds)}"
                            + (f", {speed}" if speed else "")
                        )

    def _line(self, text: str) -> None:
        self._last = time.monotonic()
        self._print(text)


class Throttled:
    """Calls a function at most every `LINE_SECONDS`. `flush` calls it with the last value that was skipped."""

    def __init__(self, act: Callable[[Any], None]) -> None:
        self._act, self._last = act, float("-inf")
        self._skipped: list[Any] = []

    def __call__(self, value: Any) -> None:
        self._skipped = [value]
        if time.monotonic() - self._last >= LINE_SECONDS:
            self.flush()

    def flush(self) -> None:
        self._last = time.monotonic()
        for value in self._skipped:
            self._act(value)
        self._skipped = []
