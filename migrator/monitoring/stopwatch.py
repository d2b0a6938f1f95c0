"""How long each step took, by the events that go by."""

from __future__ import annotations

import time
from collections.abc import Callable

from migrator.events import Emit, Event, StepFinished, StepStarted

STAGES = {"analyze": "post-data"}  # steps that are part of a stage with another name


class Stopwatch:
    """An `Emit` that passes on what it hears. `seconds`: of each step, in the order of their beginning."""

    def __init__(self, emit: Emit, clock: Callable[[], float] = time.monotonic) -> None:
        self._emit, self._clock = emit, clock
        self._began: dict[str, float] = {}
        self.seconds: dict[str, float] = {}

    def emit(self, event: Event) -> None:
        if isinstance(event, StepStarted):
            self._began[event.step] = self._clock()
            self.seconds.setdefault(event.step, 0.0)
        elif isinstance(event, StepFinished) and event.step in self._began:
            self.seconds[event.step] += self._clock() - self._began.pop(event.step)
        self._emit(event)

    def by_stage(self, total: float) -> dict[str, float]:
        """Seconds of the stages of a run; `other` is what is left of `total`."""
        stages = dict.fromkeys(("prepare", "load", "reconcile", "post-data"), 0.0)
        for step, seconds in self.seconds.items():
            word = step.partition(" ")[0]
            stage = STAGES.get(word, word)
            stages[stage] = stages.get(stage, 0.0) + seconds
        return {**stages, "other": max(0.0, total - sum(stages.values()))}
