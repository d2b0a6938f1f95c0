"""The steps of a switch back from PostgreSQL to MongoDB."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import closing
from typing import Any, Final

from migrator.errors import StoppedError
from migrator.following.document_records import record_counts
from migrator.formatting import format_count
from migrator.postgres.table_names import name_of
from migrator.reversing import write_stop
from migrator.reversing.capture import captured
from migrator.state import cutover_steps, full_verification, journal, own_transactions, sync
from migrator.state.cutover_steps import ADOPT, MOVE, REFUSE_WRITES, STOP_WRITES
from migrator.state.follow_lock import paused
from migrator.workflows.complete import restore_source
from migrator.workflows.cutover_journal import Step
from migrator.workflows.cutover_switch import POLL_SECONDS, SwitchSteps
from migrator.workflows.receiving import require_changing
from migrator.workflows.reverse import count_waiting, end_reverse

RESTORE: Final = "restore MongoDB"


class BackSwitch(SwitchSteps):
    """The steps of a switch back."""

    def before(self) -> list[Step]:
        return [
            Step(name="compare changes", do=self.compare_changes),
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
            self.check()
            time.sleep(POLL_SECONDS)
        return format_count(began, "rows")

    def _verify(self) -> str:
        """Compare what was returned. Everything up to now has been written by this program."""
        with closing(self.open_writes()) as writes:
            self.reach_fence(writes)
            return self.compare_all(writes)

    def _switch(self) -> str:
        """Commit the switch back. Changes of MongoDB are received from here on."""
        namespace, watch = self.context.namespace, self.own.watch
        position = require_changing(self.context).current_position()
        watch.refuse_late()
        self.check()
        with paused(self.connection), self.connection.transaction():
            if count_waiting(self.connection, namespace):
                raise StoppedError("the application still writes to PostgreSQL", "Run this command again.")
            end_reverse(self.connection, namespace)
            write_stop.remove(self.connection, namespace, self.context.definition.mappings.values())
            sync.switch_back(self.connection, namespace, position)
            record_counts(self.connection, namespace, self._run)
            full_verification.forget(self.connection, namespace)
            return self.record_switch()

    def _adopt(self) -> str:
        """Record rows that the application wrote as migrated ones: MongoDB has them, so a revert loses nothing."""
        adopted = 0
        with self.connection.transaction():
            for each in captured(self.context.definition.mappings.values()):
                key = each.key.column
                adopted += own_transactions.adopt(
                    self.connection, self.context.namespace, name_of(each.table), each.name, key
                )
        return format_count(adopted, "transactions")

    @property
    def _run(self) -> int:
        return journal.require_finished(self.connection, self.context.namespace)[0]

    def _restore(self) -> str:
        return f"{format_count(restore_source(self.context, self.connection), 'indexes')}, writes accepted"
