"""Stops, resumes and moves the application during a cutover: by hooks, by the server, or by the operator."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from migrator.errors import StoppedError
from migrator.events import Notice
from migrator.state.cutover_steps import FORWARD, STOP_WRITES
from migrator.workflows.cutover import CutoverOptions, Downtime
from migrator.workflows.cutover_journal import CutoverJournal
from migrator.workflows.hooks import RESUME, STOP, SWITCH, Hook, run_hook
from migrator.workflows.migration import MigrationContext


@dataclass(frozen=True, kw_only=True)
class ApplicationControl:
    """`target`: its label."""

    context: MigrationContext
    target: str
    options: CutoverOptions
    journal: CutoverJournal
    downtime: Downtime

    @property
    def _is_forward(self) -> bool:
        return self.journal.direction == FORWARD

    def stop(self) -> str:
        """Stop the writes, and return by what. The time without writes begins.

        Raises: `StoppedError`, `SourceError`, `UsageError`.
        """
        settings = self.context.config.cutover
        by = settings.stop_writes
        if by == "block" and not self._is_forward:
            by = "hook" if settings.stop_hook else "manual"
        self.journal.note(STOP_WRITES, {"by": by})
        if by == "manual":
            self.options.wait_for_operator()
            self.downtime.begin()
            return "by the operator"
        self.downtime.begin()
        if by == "block":
            self._set_block(True)
            return "MongoDB refuses all writes"
        self._call(STOP, settings.stop_hook, min(settings.hook_timeout_seconds, max(self.downtime.left, 0)))
        return "by stop_hook"

    def resume(self, detail: Mapping[str, Any]) -> None:
        """Allow the writes again. `detail`: what `stop` has noted. Raises: as `stop`."""
        settings = self.context.config.cutover
        by = detail.get("by")  # None: killed before anything was stopped
        if by == "block":
            self._set_block(False)
        elif by == "hook":
            self._call(RESUME, settings.resume_hook, settings.hook_timeout_seconds)
        elif by == "manual":
            side = "MongoDB" if self._is_forward else "PostgreSQL"
            text = f"The application may write to {side} again: allow it now."
            self.context.emit(Notice(text=text, level="warning"))

    def move(self) -> str:
        """Move the application to the other database, and return by what. Raises: `StoppedError`."""
        settings = self.context.config.cutover
        if settings.switch_hook is None:
            side = "PostgreSQL" if self._is_forward else "MongoDB"
            self.context.emit(Notice(text=f"Start the application with {side} now."))
            return "by the operator"
        self._call(SWITCH, settings.switch_hook, settings.hook_timeout_seconds)
        return "by switch_hook"

    def _set_block(self, wanted: bool) -> None:
        from migrator.sources.write_block import ServerWrites  # imports pymongo

        with closing(ServerWrites(self.context.config.source.url, self.context.source.database)) as writes:
            if wanted:
                writes.block()
            else:
                writes.unblock()

    def _call(self, step: str, command: str | None, seconds: float) -> None:
        if command is None:
            raise StoppedError(f"cutover.{step}_hook is not set", "Set it in migrate.toml, then repeat this command.")
        variables = {
            "MIGRATE_DIRECTION": self.journal.direction,
            "MIGRATE_DRY_RUN": str(int(self.journal.dry_run)),
            "MIGRATE_SOURCE": self.context.source.label,
            "MIGRATE_TARGET": self.target,
        }
        run_hook(Hook(step=step, command=command, folder=self.options.folder), variables, seconds, self.context.emit)
