"""What the steps of both directions of a switch have in common: what they work with, and how they compare."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from typing import Final

from migrator.following.source_watch import SourceWatch
from migrator.formatting import format_count, format_duration
from migrator.sources.write_block import ServerWrites
from migrator.state import cutover_steps
from migrator.state.cutover_steps import DONE
from migrator.state.records import Connection
from migrator.workflows.cutover import Downtime
from migrator.workflows.cutover_application import ApplicationControl
from migrator.workflows.cutover_journal import CutoverJournal
from migrator.workflows.cutover_recheck import Recheck, compare_counts
from migrator.workflows.follow_at_work import FollowAtWork
from migrator.workflows.migration import MigrationContext

POLL_SECONDS: Final = 0.02
_READ_SECONDS: Final = 0.05


@dataclass(kw_only=True)
class SwitchParts:
    """What the steps work with; all of it exists only while an attempt is under way."""

    at_work: FollowAtWork
    watch: SourceWatch
    recheck: Recheck


@dataclass(kw_only=True)
class SwitchSteps:
    """`parts` None: only to undo or to complete an attempt of an earlier process."""

    context: MigrationContext
    connection: Connection
    application: ApplicationControl
    journal: CutoverJournal
    downtime: Downtime
    parts: SwitchParts | None = None

    @property
    def own(self) -> SwitchParts:
        assert self.parts is not None  # an attempt is under way
        return self.parts

    def check(self) -> None:
        """Raises: `StoppedError` if following has ended or the downtime is exceeded."""
        self.own.at_work.check()
        self.downtime.check()

    def open_writes(self) -> ServerWrites:
        return ServerWrites(self.context.config.source.url, self.context.source.database)

    def compare_changes(self) -> str:
        """Compare what changed until now, while the application writes."""
        with closing(self.open_writes()) as writes:
            now = writes.operation_time()
        left = self.own.recheck.catch_up(now, self.check)
        compared = format_count(self.own.recheck.compared, "documents")
        return f"{compared} compared, {left:,} left for the time without writes"

    def reach_fence(self, writes: ServerWrites) -> None:
        """Read all events up to now. Raises: `StoppedError` if there are later ones."""
        watch = self.own.watch
        watch.begin_fence(writes.operation_time())
        while not watch.has_reached(_READ_SECONDS):
            watch.refuse_late()
            self.check()

    def compare_all(self, writes: ServerWrites) -> str:
        """Compare the documents that are left, and count all of them."""
        recheck = self.own.recheck
        changed = recheck.finish(self.check)
        names = [name for name in recheck.source.list_collections() if recheck.keeps(name)]
        counted = compare_counts(recheck.scope, writes, names)
        self.check()
        return f"{changed}, {counted}"

    def record_switch(self) -> str:
        """Record the switch in its transaction, the last time that it can be refused; return the note."""
        self.check()  # locks may have been waited for
        result = f"{format_duration(self.downtime.seconds or 0)} after the stop of writes"
        namespace, attempt = self.context.namespace, self.journal.attempt
        cutover_steps.update(self.connection, namespace, attempt, cutover_steps.SWITCH, DONE, {"result": result})
        return result
