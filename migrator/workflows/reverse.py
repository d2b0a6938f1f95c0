"""Returns the changes of the target to the source, after the application has been switched to the target.

`prepare_reverse` comes before the switch. `begin_reverse` belongs to the transaction that stores `SWITCHED`, and
`end_reverse` to the one that ends this state.
"""

from __future__ import annotations

from migrator.errors import UsageError
from migrator.mapping.returning import find_obstacles
from migrator.reversing import capture
from migrator.reversing.changes import create_indexes
from migrator.rows.store import RowStore
from migrator.state import switch_back
from migrator.state.records import Connection, Namespace
from migrator.workflows.migration import MigrationContext
from migrator.workflows.receiving import require_changing


def prepare_reverse(context: MigrationContext, connection: Connection) -> None:
    """Prove that changes can be recorded in the target and written to the source. Leaves no changes behind.

    Raises: `TargetError`, `SourceError`: a privilege is missing; `StoppedError`: another session holds a lock;
    `UsageError`: the source is a dump, or rows of a mapping cannot be returned.
    """
    for problem, remedy in find_obstacles(context.definition.mappings.values()):
        raise UsageError(problem, hint=remedy)
    existing = set(require_changing(context).list_collections())
    collections = capture.captured(context.definition.mappings.values())
    capture.prove(connection, context.namespace, collections)
    from migrator.sources.live_writer import LiveWriter  # imports pymongo, which a dump need not pay for

    writer = LiveWriter(context.config.source.url, context.source.database)
    try:
        there = [each.source_name for each in collections if each.name in existing]  # it would create others
        writer.prove(dict.fromkeys(there))
    finally:
        writer.close()


def begin_reverse(context: MigrationContext, connection: Connection) -> None:
    """Record all changes of mapped rows from now on. Call it in the transaction that stores `SWITCHED`.

    It waits until no other session writes to mapped tables. Raises: as `prepare_reverse`.
    """
    connection.execute(context.namespace.sql("DELETE FROM {changes}"))
    create_indexes(RowStore(connection, context.namespace, context.definition.mappings))
    capture.install(connection, context.namespace, context.definition.mappings.values())


def end_reverse(connection: Connection, namespace: Namespace) -> None:
    """Record no more changes. Call it in the transaction that ends the state `SWITCHED`, after the last change was
    returned. Conflicts and values that were not returned are kept. Following begins with `following.after_switch`."""
    capture.remove(connection, namespace)
    switch_back.mark(connection, namespace)


def remove_reverse(connection: Connection, namespace: Namespace) -> None:
    """Remove the triggers, their functions, and the records of changes.

    Documents of conflicts are nowhere else, so their record stays, as do the values that were not returned.
    """
    capture.remove(connection, namespace)
    connection.execute(namespace.sql("TRUNCATE {changes}, {intended}"))


def count_waiting(connection: Connection, namespace: Namespace) -> int:
    """Return the number of rows with changes that are not returned yet."""
    query = namespace.sql("SELECT count(*) FROM (SELECT DISTINCT table_name, key FROM {changes}) c")
    row = connection.execute(query).fetchone()
    assert row is not None  # an aggregate returns a row
    return int(row[0])
