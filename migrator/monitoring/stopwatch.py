"""Measures the duration of each step from its events."""

from __future__ import annotations

import time
from collections.abc import Callable

from migrator.events import Emit, Event, StepFinished, StepStarted

STAGES = {"analyze": "post-data"}  # steps whose stage has another name


class Stopwatch:
    """An `Emit` that passes events on. `seconds`: the duration of each step, in the order in which they started."""

    def __init__(self, emit: Emit, clock: Callable[[], float] = time.monotonic) -> None:
        self._emit, self._clock = emit, clock
        self._started: dict[str, float] = {}
        self.seconds: dict[str, float] = {}

    def emit(self, event: Event) -> None:
        """Measure a step and pass the event on."""
        if isinstance(event, StepStarted):
            self._started[event.step] = self._clock()
            self.seconds.setdefault(event.step, 0.0)
        elif isinstance(event, StepFinished) and event.step in self._started:
            self.seconds[event.step] += self._clock() - self._started.pop(event.step)
        self._emit(event)

    def by_stage(self, total: float) -> dict[str, float]:
        """Return the seconds of each stage of a run; `other`: the rest of `total`."""
        stages = dict.fromkeys(("prepare", "load", "reconcile", "post-data"), 0.0)
        for step, seconds in self.seconds.items():
            word = step.partition(" ")[0]
            stage = STAGES.get(word, word)
            stages[stage] = stages.get(stage, 0.0) + seconds
        return {**stages, "other": max(0.0, total - sum(stages.values()))}
