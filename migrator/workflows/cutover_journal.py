"""Executes the steps of a cutover one after the other, records each, and undoes them in reverse order.

Not here: what the steps do (cutover_forward.py, cutover_back.py).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass, field
from typing import Any

import psycopg

from migrator.errors import MigrateError
from migrator.events import Emit, Notice, StepFinished, StepStarted
from migrator.redaction import describe_error
from migrator.state import cutover_steps
from migrator.state.cutover_steps import DONE, FAILED, STARTED, UNDONE
from migrator.state.records import Connection, Namespace

Detail = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Step:
    """One step. `do` returns a summary; `undo` gets the detail that `do` has noted, also after a restart.

    `commits`: it is the step after which nothing is undone.
    """

    name: str
    do: Callable[[], str]
    undo: Callable[[Mapping[str, Any]], None] | None = None
    commits: bool = False


@dataclass(kw_only=True)
class CutoverJournal:
    """The record of one attempt. `connect` opens another connection to the target, if the first is lost."""

    connection: Connection
    namespace: Namespace
    connect: Callable[[], Connection]
    emit: Emit
    attempt: int
    direction: str
    dry_run: bool
    seconds: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._begun: dict[str, Detail] = {}

    def note(self, step: str, detail: Detail) -> None:
        """Record what the undoing of a step needs, before the step changes anything."""
        cutover_steps.update(self.connection, self.namespace, self.attempt, step, STARTED, detail)
        self._begun[step] = {**self._begun.get(step, {}), **detail}

    def end(self, step: str, status: str, detail: Detail | None = None) -> None:
        """Record the end of a step. If the connection is lost, a new one is tried once; the next attempt copes with
        what is not recorded."""
        try:
            cutover_steps.update(self.connection, self.namespace, self.attempt, step, status, detail)
        except (psycopg.Error, MigrateError):
            with suppress(psycopg.Error, MigrateError), closing(self.connect()) as connection:
                cutover_steps.update(connection, self.namespace, self.attempt, step, status, detail)

    def run(self, step: Step) -> None:
        """Execute a step and record it. Raises: its error."""
        self.emit(StepStarted(step=step.name, unit=""))
        began = time.monotonic()
        cutover_steps.begin(self.connection, self.namespace, self.attempt, self.direction, self.dry_run, step.name)
        self._begun[step.name] = {}
        try:
            note = step.do()
        except BaseException as error:
            self.end(step.name, FAILED, {"error": describe(error)})
            raise
        finally:
            self.seconds[step.name] = time.monotonic() - began
        if not step.commits:  # it records its end in its transaction
            self.end(step.name, DONE, {"result": note})
        self.emit(StepFinished(step=step.name, note=note))

    def undo(self, steps: Mapping[str, Step], records: Mapping[str, Detail] | None = None) -> list[str]:
        """Undo steps in reverse order, and return what could not be undone. `records`: of an earlier process."""
        failed = []
        for name, detail in reversed(list((self._begun if records is None else records).items())):
            step = steps.get(name)
            if step is None or step.undo is None:
                continue
            self.emit(StepStarted(step=f"undo {name}", unit=""))
            try:
                step.undo(detail)
            except (MigrateError, psycopg.Error) as error:  # the other steps are undone nevertheless
                failed.append(f"{name}: {describe(error)}")
                hint = error.hint if isinstance(error, MigrateError) else ""
                self.emit(Notice(text=f"not undone: {name}: {describe(error)}. {hint}".strip(), level="warning"))
                continue
            self.end(name, UNDONE)
            self.emit(StepFinished(step=f"undo {name}"))
        return failed


def describe(error: BaseException) -> str:
    """Return one line about an error, without values."""
    if isinstance(error, KeyboardInterrupt):
        return "interrupted"
    return error.message if isinstance(error, MigrateError) else describe_error(error)
