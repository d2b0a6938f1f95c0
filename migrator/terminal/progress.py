"""Progress without a terminal: how far a step is, in words, and a plain line every few seconds.

Not here: bars, and everything else that needs rich (console.py).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

from migrator.formatting import format_duration

QUIET_SECONDS = 5.0  # a line at least this often while a step is under way


@dataclass(slots=True)
class Step:
    """One step under way. `done` and `total` in `unit`s, `began` on the monotonic clock."""

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
        of = "" if self.total is None else f" of {self.total:,}"
        return f"{self.done:,}{of} {self.unit}" + (f", {self.note}" if self.note else "")

    def pace(self) -> str:
        """Rate and time left, as far as they can be told."""
        if not self.done:
            return ""
        left = "" if self.total is None else f", {format_duration((self.total - self.done) / self.rate)} left"
        return f"{self.rate:,.0f}/s{left}"


class View(Protocol):
    def start(self, step: Step) -> None: ...
    def advance(self, step: Step) -> None: ...
    def finish(self, step: Step, note: str) -> None: ...
    def close(self) -> None: ...


class Lines:
    """Progress as plain lines: the start and end of a step, and one every few seconds between."""

    def __init__(self, say: Callable[[str], None], lock: threading.RLock) -> None:
        self._say, self._lock = say, lock
        self._open: dict[str, Step] = {}
        self._last = time.monotonic()
        self._ended = threading.Event()
        self._beat: threading.Thread | None = None

    def start(self, step: Step) -> None:
        self._open[step.name] = step
        self._line(f"{step.name}: started" + ("" if step.total is None else f", {step.total:,} {step.unit}"))
        if self._beat is None:
            # A step that says nothing for minutes (an index build) must not look dead to whoever watches a log.
            self._ended = threading.Event()
            self._beat = threading.Thread(target=self._keep_talking, args=(self._ended,), name="progress", daemon=True)
            self._beat.start()

    def advance(self, step: Step) -> None:
        """Nothing: the heart beat picks it up."""

    def finish(self, step: Step, note: str) -> None:
        self._open.pop(step.name, None)
        self._line(f"{step.name}: done in {format_duration(step.seconds)}" + (f", {note}" if note else ""))

    def close(self) -> None:
        self._open.clear()
        self._ended.set()
        self._beat = None

    def _keep_talking(self, ended: threading.Event) -> None:
        while not ended.wait(QUIET_SECONDS / 10):
            with self._lock:
                if not ended.is_set() and time.monotonic() - self._last >= QUIET_SECONDS:
                    for step in list(self._open.values()):
                        pace = step.pace()
                        self._line(
                            f"{step.name}: {step.amount()} in {format_duration(step.seconds)}"
                            + (f", {pace}" if pace else "")
                        )

    def _line(self, text: str) -> None:
        self._last = time.monotonic()
        self._say(text)


class Throttled:
    """Calls on at most every `QUIET_SECONDS`; `flush` makes up for what was last left out."""

    def __init__(self, act: Callable[[Any], None]) -> None:
        self._act, self._last = act, float("-inf")
        self._left: list[Any] = []

    def __call__(self, value: Any) -> None:
        self._left = [value]
        if time.monotonic() - self._last >= QUIET_SECONDS:
            self.flush()

    def flush(self) -> None:
        self._last = time.monotonic()
        for value in self._left:
            self._act(value)
        self._left = []
