"""Returns the changes of the target to the source, after the application has been switched to the target.

`prepare_reverse` comes before the switch. `begin_reverse` belongs to the transaction that stores `SWITCHED`, and
`end_reverse` to the one that ends this state.
"""

from __future__ import annotations

from collections.abc import Iterable

from migrator.errors import UsageError
from migrator.mapping.collection import Collection
from migrator.mapping.composite_keys import CompositeKey
from migrator.mapping.shared_tables import find_shared_tables
from migrator.postgres.table_names import name_of
from migrator.reversing import capture
from migrator.reversing.changes import create_indexes
from migrator.rows.store import RowStore
from migrator.state import switch_back
from migrator.state.records import Connection, Namespace
from migrator.workflows.migration import MigrationContext
from migrator.workflows.receiving import require_changing

_BY_HAND = "Stop the application, run `migrate follow --until-caught-up` and `migrate verify`, then switch by hand"


def prepare_reverse(context: MigrationContext, connection: Connection) -> None:
    """Prove that changes can be recorded in the target and written to the source. Leaves no changes behind.

    Raises: `TargetError`, `SourceError`: a privilege is missing; `StoppedError`: another session holds a lock;
    `UsageError`: the source is a dump, mappings share a table, a key has several columns, or a table of elements
    has no primary key.
    """
    _refuse_shared(context.definition.mappings.values())
    _refuse_composite_keys(context.definition.mappings.values())
    _refuse_without_identity(context.definition.mappings.values())
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


def _refuse_composite_keys(mappings: Iterable[Collection]) -> None:
    """Raises: `UsageError` if the key of a table has several columns: an application can change each of them."""
    if found := [name_of(each.table) for each in mappings if isinstance(each.key, CompositeKey)]:
        raise UsageError(
            "changes of rows whose key has several columns cannot be returned to MongoDB yet:"
            f" {', '.join(sorted(set(found)))}",
            hint=_BY_HAND,
        )


def _refuse_without_identity(mappings: Iterable[Collection]) -> None:
    """Raises: `UsageError` if the rows of elements cannot be distinguished."""
    found = [
        name_of(rule.table) for each in mappings for rule in each.child_rules if not rule.table.primary_key.columns
    ]
    if found:
        raise UsageError(
            "changes of rows of elements cannot be returned to MongoDB without a primary key:"
            f" {', '.join(sorted(found))}",
            hint=f"{_BY_HAND}; or give these tables a primary key.",
        )


def _refuse_shared(mappings: Iterable[Collection]) -> None:
    """Raises: `UsageError` if it is not certain to which mapping a new row belongs, or its document."""
    found = list(mappings)
    if shared := sorted(find_shared_tables(found)):
        raise UsageError(
            f"changes of rows of tables that several collections fill cannot be returned to MongoDB yet:"
            f" {', '.join(shared)}",
            hint=_BY_HAND,
        )
    lost = [each for each in found if each.where is not None and each.where.field not in each.restored_fields]
    if lost:
        fields = sorted(f"{each.name} ({each.where.path})" for each in lost if each.where is not None)
        raise UsageError(
            f"documents of new rows would not have the field that assigns them to their mapping: {', '.join(fields)}",
            hint=f"Add a rule that restores the field, such as imply_field. {_BY_HAND}",
        )


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
