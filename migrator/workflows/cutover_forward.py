"""The steps of a switch from MongoDB to PostgreSQL."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import closing, suppress
from dataclasses import dataclass, field
from typing import Any, Final

import bson

from migrator.errors import MigrateError, StoppedError
from migrator.events import Notice
from migrator.following.source_watch import SourceWatch, describe_late
from migrator.formatting import format_count
from migrator.sources import ttl
from migrator.sources.base import SourceCollection
from migrator.sources.ttl import ExpiringIndex
from migrator.sources.write_block import ServerWrites
from migrator.state import cutover_steps, dirty, journal, sequences, sync
from migrator.state.cutover_steps import MOVE, STOP_WRITES, SUSPEND_TTL
from migrator.state.follow_lock import paused
from migrator.workflows.cutover_journal import Step
from migrator.workflows.cutover_switch import POLL_SECONDS, SwitchSteps
from migrator.workflows.reverse import begin_reverse

_IDLE_SECONDS: Final = 0.5  # for which an answer without events is waited for before the switch
_TRANSACTION_SECONDS: Final = 0.1  # between two looks at open transactions


@dataclass(kw_only=True)
class ForwardSwitch(SwitchSteps):
    _described: list[SourceCollection] = field(default_factory=list)

    def before(self) -> list[Step]:
        return [
            Step(name="compare changes", do=self.compare_changes),
            Step(name=SUSPEND_TTL, do=self._suspend_ttl, undo=self._restore_ttl),
            Step(name=STOP_WRITES, do=self.application.stop, undo=self.application.resume),
            Step(name="prove the stop", do=self._prove),
            Step(name="apply the last changes", do=self._drain),
            Step(name="verify", do=self._verify),
            Step(name=cutover_steps.SWITCH, do=self._switch, commits=True),
        ]

    def after(self) -> list[Step]:
        return [Step(name=MOVE, do=self._move)]

    @property
    def late(self) -> int:
        return 0 if self.parts is None else len(self.parts.watch.late)

    # --- while the application writes --------------------------------------------------------------------------------

    def _suspend_ttl(self) -> str:
        """Keep MongoDB from deleting documents: after the switch their truth is in PostgreSQL."""
        url, database = self.context.config.source.url, self.context.source.database
        found = ttl.read_expiring(url, database)
        self.journal.note(SUSPEND_TTL, {"indexes": [each.as_json() for each in found]})
        known = journal.read_metadata(self.connection, self.context.namespace)
        names = {each.collection for each in found}
        mappings = self.context.definition.mappings
        self._described = [
            SourceCollection(name=name, documents=None, bytes=None, metadata=raw)
            for name, raw in known.items()
            if (mappings[name].source_name if name in mappings else name) in names
        ]
        ttl.suspend(url, database, found)
        return format_count(len(found), "indexes")

    def _restore_ttl(self, detail: Mapping[str, Any]) -> None:
        found = [ExpiringIndex(**each) for each in detail.get("indexes", ())]
        ttl.restore(self.context.config.source.url, self.context.source.database, found)

    # --- without writes ----------------------------------------------------------------------------------------------

    def _prove(self) -> str:
        """Prove that every write before the stop was received, and that none came after it."""
        watch = self.own.watch
        with closing(self.open_writes()) as writes:
            transactions = self._wait_transactions(writes)
            self.reach_fence(writes)
        watch.refuse_late()
        while not self._has_received_all():
            self.check()
            time.sleep(POLL_SECONDS)
        return transactions

    def _wait_transactions(self, writes: ServerWrites) -> str:
        while (count := writes.count_open_transactions()) is not None:
            if count == 0:
                return "no open transactions"
            self.check()
            time.sleep(_TRANSACTION_SECONDS)
        return "open transactions are not visible to this user"

    def _has_received_all(self) -> bool:
        """Return whether the receiver has stored the last event that the watch has read."""
        last = self.own.watch.last_event
        if last is None:
            return True  # nothing has changed since the verification
        state = sync.read(self.connection, self.context.namespace)
        return state is not None and state.last_event is not None and _identity(state.last_event) == _identity(last)

    def _drain(self) -> str:
        began = dirty.count(self.connection, self.context.namespace)
        while dirty.count(self.connection, self.context.namespace):
            self.check()
            time.sleep(POLL_SECONDS)
        return f"{format_count(began, 'changes')}"

    def _verify(self) -> str:
        with closing(self.open_writes()) as writes:
            return self.compare_all(writes)

    def _switch(self) -> str:
        """Commit the switch, if nothing has been written to the source since the stop."""
        watch, namespace = self.own.watch, self.context.namespace
        watch.wait_idle(_IDLE_SECONDS)
        watch.refuse_late()
        self.check()
        with paused(self.connection), self.connection.transaction():
            dirty.lock(self.connection, namespace)  # no event is received meanwhile
            if dirty.count(self.connection, namespace) or not self._has_received_all():
                raise StoppedError(
                    "the source was written to after the writes had been stopped",
                    "Find the application that still writes, then run this command again.",
                )
            run, _ = journal.require_finished(self.connection, namespace)
            sequences.advance(self.connection, namespace, self.context.definition.mappings.values(), run)
            begin_reverse(self.context, self.connection)
            sync.set_state(self.connection, namespace, sync.SWITCHED)
            sync.write_metadata(self.connection, namespace, self._described)  # with the TTLs of the application
            return self.record_switch()

    # --- after the switch --------------------------------------------------------------------------------------------

    def _move(self) -> str:
        result = self.application.move()
        if self.parts is not None:
            self._report_late(self.parts.watch)
        return result

    def _report_late(self, watch: SourceWatch) -> None:
        """Tell of writes to the source after the switch. Nothing is undone for them."""
        with suppress(MigrateError):  # what is already known is reported
            watch.read(0)
        if watch.late:
            text = f"MongoDB was written to after the switch: {describe_late(watch.late)}. These writes are not in"
            text += " PostgreSQL. Stop the application that still writes, and enter them again."
            self.context.emit(Notice(text=text, level="warning"))


def _identity(described: bytes) -> tuple[Any, Any]:
    """Return what is the same whenever an event is read, from its description."""
    found = bson.decode(described)
    return found["time"], found["digest"]
