"""`migrate complete`: ends the migration after the switch, and removes what following in both directions left."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from typing import Any

from migrator.errors import StoppedError
from migrator.following import deferral
from migrator.rows.store import RowStore
from migrator.sources import ttl
from migrator.sources.ttl import ExpiringIndex
from migrator.sources.write_block import ServerWrites
from migrator.state import cutover_steps, full_verification, sync
from migrator.state.lock import exclusive
from migrator.state.records import Connection
from migrator.targets.base import Target
from migrator.workflows.cutover import find_unfinished
from migrator.workflows.cutover_check import require_switched
from migrator.workflows.migration import MigrationContext
from migrator.workflows.reverse import count_waiting, remove_reverse


@dataclass(frozen=True, slots=True, kw_only=True)
class CompleteReport:
    """`discarded`: rows whose changes were not brought back; `restored`: TTL indexes of the source."""

    discarded: int
    restored: int

    def as_json(self) -> dict[str, Any]:
        return {"status": "complete", "discarded": self.discarded, "restored": self.restored}


def describe_open(context: MigrationContext, target: Target) -> str:
    """Return what would no longer be brought back. Raises: as `complete`."""
    with closing(target.connect()) as connection:
        require_switched(connection, context)
        waiting = count_waiting(connection, context.namespace)
    return f"{waiting:,} changed rows were not brought back to MongoDB yet." if waiting else ""


def complete(context: MigrationContext, target: Target) -> CompleteReport:
    """Restore what was changed in the source, and remove triggers, functions and records. Can be repeated.

    Raises: `UsageError` if the application was not switched; `LockedError` if another process uses the
        target; `StoppedError` if a switch back was interrupted.
    """
    namespace = context.namespace
    with closing(target.connect()) as connection, exclusive(connection):
        require_switched(connection, context)
        if find_unfinished(connection, context):
            raise StoppedError(
                "a switch back was interrupted and is not undone",
                "Run `migrate cutover --undo`, then this command again.",
            )
        restored = restore_source(context, connection)
        discarded = count_waiting(connection, namespace)
        with connection.transaction():
            remove_reverse(connection, namespace)
            connection.execute(namespace.sql("TRUNCATE {dirty}, {wants}, {given_ids}"))
            sync.set_state(connection, namespace, sync.COMPLETE)
            full_verification.forget(connection, namespace)
        deferral.restore(RowStore(connection, namespace, context.definition.mappings))
        return CompleteReport(discarded=discarded, restored=restored)


def restore_source(context: MigrationContext, connection: Connection) -> int:
    """Restore what the switch changed in the source: TTL indexes, refused writes. Return the number of indexes."""
    url, database = context.config.source.url, context.source.database
    detail = cutover_steps.find_detail(connection, context.namespace, cutover_steps.SUSPEND_TTL) or {}
    found = [ExpiringIndex(**each) for each in detail.get("indexes", ())]
    ttl.restore(url, database, found)
    stopped = cutover_steps.find_detail(connection, context.namespace, cutover_steps.STOP_WRITES) or {}
    if stopped.get("by") == "block":
        with closing(ServerWrites(url, database)) as writes:
            writes.unblock()
    return len(found)
