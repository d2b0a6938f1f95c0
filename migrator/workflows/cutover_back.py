"""The steps of a switch back from PostgreSQL to MongoDB."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from typing import Any, Final

from migrator.errors import StoppedError
from migrator.following.document_records import record_counts
from migrator.formatting import format_count, format_duration
from migrator.reversing import write_stop
from migrator.reversing.capture import captured
from migrator.sources.write_block import ServerWrites
from migrator.state import cutover_steps, full_verification, journal, own_transactions, sync
from migrator.state.cutover_steps import DONE, MOVE, REFUSE_WRITES, STOP_WRITES
from migrator.state.follow_lock import paused
from migrator.state.records import Connection
from migrator.workflows.complete import restore_source
from migrator.workflows.cutover import Downtime
from migrator.workflows.cutover_application import ApplicationControl
from migrator.workflows.cutover_forward import ForwardParts
from migrator.workflows.cutover_journal import CutoverJournal, Step
from migrator.workflows.cutover_recheck import compare_counts
from migrator.workflows.migration import MigrationContext
from migrator.workflows.receiving import require_changing
from migrator.workflows.reverse import count_waiting, end_reverse

RESTORE: Final = "restore MongoDB"
ADOPT: Final = "record returned rows"
_READ_SECONDS: Final = 0.05
_POLL_SECONDS: Final = 0.02


@dataclass(kw_only=True)
class BackSwitch:
    """`parts` None: only to undo or to complete an attempt of an earlier process."""

    context: MigrationContext
    connection: Connection
    application: ApplicationControl
    journal: CutoverJournal
    downtime: Downtime
    parts: ForwardParts | None = None

    def before(self) -> list[Step]:
        return [
            Step(name="compare changes", do=self._compare_changes),
            Step(name=STOP_WRITES, do=self.application.stop, undo=self.application.resume),
            Step(name=REFUSE_WRITES, do=self._refuse_writes, undo=self._accept_writes),
            Step(name="return the last changes", do=self._drain),
            Step(name="verify", do=self._verify),
            Step(name=cutover_steps.SWITCH, do=self._switch, commits=True),
        ]

    def after(self) -> list[Step]:
        return [
            Step(name=RESTORE, do=self._restore),
            Step(name=MOVE, do=self.application.move),
            Step(name=ADOPT, do=self._adopt),
        ]

    @property
    def late(self) -> int:
        return 0

    @property
    def _own(self) -> ForwardParts:
        assert self.parts is not None  # an attempt is under way
        return self.parts

    def _check(self) -> None:
        self._own.at_work.check()
        self.downtime.check()

    def _compare_changes(self) -> str:
        with closing(self._writes()) as writes:
            now = writes.operation_time()
        left = self._own.recheck.catch_up(now, self._check)
        compared = format_count(self._own.recheck.compared, "documents")
        return f"{compared} compared, {left:,} left for the time without writes"

    def _refuse_writes(self) -> str:
        """Refuse all writes to mapped tables, also of sessions that the application has left open."""
        mappings, tenant = self.context.definition.mappings.values(), self.context.config.tenant.id
        write_stop.install(self.connection, self.context.namespace, mappings, tenant)
        return "by triggers"

    def _accept_writes(self, detail: Mapping[str, Any]) -> None:
        with closing(self.journal.connect()) as connection:  # the other one may have been interrupted
            write_stop.remove(connection, self.context.namespace, self.context.definition.mappings.values())

    def _drain(self) -> str:
        began = count_waiting(self.connection, self.context.namespace)
        while count_waiting(self.connection, self.context.namespace):
            self._check()
            time.sleep(_POLL_SECONDS)
        return format_count(began, "rows")

    def _verify(self) -> str:
        """Compare what was returned. Everything up to now has been written by this program."""
        watch, recheck = self._own.watch, self._own.recheck
        with closing(self._writes()) as writes:
            watch.begin_fence(writes.operation_time())
            while not watch.has_reached(_READ_SECONDS):
                watch.refuse_late()
                self._check()
            changed = recheck.finish(self._check)
            names = [name for name in recheck.source.list_collections() if recheck.keeps(name)]
            counted = compare_counts(recheck.scope, writes, names)
        self._check()
        return f"{changed}, {counted}"

    def _switch(self) -> str:
        """Commit the switch back. Changes of MongoDB are received from here on."""
        namespace, watch = self.context.namespace, self._own.watch
        position = require_changing(self.context).current_position()
        watch.refuse_late()
        self._check()
        with paused(self.connection), self.connection.transaction():
            if count_waiting(self.connection, namespace):
                raise StoppedError("the application still writes to PostgreSQL", "Run this command again.")
            end_reverse(self.connection, namespace)
            write_stop.remove(self.connection, namespace, self.context.definition.mappings.values())
            sync.switch_back(self.connection, namespace, position)
            record_counts(self.connection, namespace, self._run)
            full_verification.forget(self.connection, namespace)
            self._check()  # locks may have been waited for
            note = {"result": f"{format_duration(self.downtime.seconds or 0)} after the stop of writes"}
            cutover_steps.update(
                self.connection, namespace, self.journal.attempt, cutover_steps.SWITCH, DONE, note
            )  # fmt: skip
        return note["result"]

    def _adopt(self) -> str:
        """Record rows that the application wrote as migrated ones: MongoDB has them, so a revert loses nothing."""
        adopted = 0
        with self.connection.transaction():
            for each in captured(self.context.definition.mappings.values()):
                key = each.key.column
                adopted += own_transactions.adopt(
                    self.connection, self.context.namespace, each.table.name, each.name, key
                )
        return format_count(adopted, "transactions")

    @property
    def _run(self) -> int:
        return journal.require_finished(self.connection, self.context.namespace)[0]

    def _restore(self) -> str:
        return f"{format_count(restore_source(self.context, self.connection), 'indexes')}, writes accepted"

    def _writes(self) -> ServerWrites:
        return ServerWrites(self.context.config.source.url, self.context.source.database)
