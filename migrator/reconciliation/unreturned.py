"""Sets values of rows again that no document can hold, after a switch of the application back to the source.

While PostgreSQL was in use, such values were recorded (`unreturned`). A row that is translated from its document again
gets them back, unless the document gives another value than it did then: it has been changed in MongoDB since.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection as Names
from collections.abc import Iterable, Iterator
from typing import Any
from uuid import UUID

from migrator.documents import jsonb
from migrator.ids import canonical_uuid
from migrator.mapping.collection import Collection, LatestOf
from migrator.mapping.context import Row
from migrator.postgres.column_kinds import kind_of_column
from migrator.postgres.table_names import name_of
from migrator.reconciliation.latest_values import LatestValue, mapping_of
from migrator.reconciliation.membership import compact_some
from migrator.rows.rebuild import read_loaded
from migrator.rows.selection import values_of
from migrator.rows.store import RowStore
from migrator.rows.update import batched, write_changes
from migrator.state.own_transactions import record_transaction
from migrator.state.records import Namespace
from migrator.translation.encoder import format_target_id

BATCH_SIZE = 1000  # rows
Holders = dict[tuple[str, LatestOf], set[str]]  # collection with its latest value → IDs of the rows that hold it
Recorded = dict[str, dict[str, tuple[Any, Any]]]  # ID of the row → column → its value, and what the document gives


def has_unreturned(rows: RowStore) -> bool:
    """Return whether there are such values."""
    found = rows.connection.execute(rows.namespace.sql("SELECT EXISTS (SELECT FROM {unreturned})")).fetchone()
    return found == (True,)


def apply_unreturned(rows: RowStore, documents: Iterable[tuple[str, bytes]], tenant: UUID) -> None:
    """Set the values of the rows of some documents: (collection, source_id). Requires a recorded transaction.

    Latest values of rows that change are set again before the rows that hold them get their own values.
    """
    source_ids: dict[str, set[bytes]] = defaultdict(set)
    for name, source_id in documents:
        source_ids[name].add(source_id)
    query = rows.namespace.sql(
        "SELECT target_id, column_name, value::text, returned::text FROM {unreturned}"
        " WHERE collection = %s AND source_id = ANY(%s)"
    )
    for collection in sorted(rows.mappings.values(), key=lambda each: not each.latest_values):
        if found := sorted(source_ids[collection.name]):
            values = rows.connection.execute(query, (collection.name, found))
            changed = _apply(rows, collection, _group(collection, values))
            for other, parents in _set_latest(rows, collection, changed, tenant):
                source_ids[other] |= _source_ids(rows, other, parents)


def find_holders(rows: RowStore, documents: Iterable[tuple[str, bytes]]) -> Holders:
    """Return the rows whose latest values depend on the rows of some documents."""
    source_ids: dict[str, list[bytes]] = defaultdict(list)
    for name, source_id in documents:
        source_ids[name].append(source_id)
    query = rows.namespace.sql(
        "SELECT target_id FROM {ledger} WHERE collection = %s AND source_id = ANY(%s) AND outcome = 'loaded'"
    )
    found: Holders = defaultdict(set)
    for name, some in source_ids.items():
        collection = rows.mappings[name]
        for latest in collection.latest_values:
            ids = [row_id for (row_id,) in rows.connection.execute(query, (name, some))]
            found[name, latest] |= values_of(rows, collection, latest.reference_column, ids) if ids else set()
    return found


def update_holders(rows: RowStore, holders: Holders, tenant: UUID) -> set[tuple[str, bytes]]:
    """Set the latest values of rows, whatever the application had set; return their documents. Requires a recorded
    transaction."""
    documents: set[tuple[str, bytes]] = set()
    for (name, latest), ids in holders.items():
        LatestValue(rows=rows, collection=rows.mappings[name], latest=latest, tenant=tenant).update_some(sorted(ids))
        other = mapping_of(rows, latest.table).name
        documents |= {(other, source_id) for source_id in _source_ids(rows, other, sorted(ids))}
    return documents


def apply_all_unreturned(rows: RowStore, records: Namespace, tables: Names[str], tenant: UUID) -> None:
    """Set the values that another namespace has recorded: of all rows of some tables, in a transaction."""
    query = records.sql(
        "SELECT target_id, column_name, value::text, returned::text FROM {unreturned} WHERE collection = %s"
    )
    for collection in sorted(rows.mappings.values(), key=lambda each: not each.latest_values):
        if name_of(collection.table) in tables:
            with rows.connection.transaction():
                found = _group(collection, rows.connection.execute(query, (collection.name,)))
                if found:
                    record_transaction(rows.connection, rows.namespace)
                    changed = _apply(rows, collection, found)
                    _set_latest(rows, collection, changed, tenant)


def copy_unreturned(rows: RowStore, records: Namespace) -> None:
    """Copy what another namespace has recorded, so that rows that change later get their values, too."""
    query = rows.namespace.sql(
        "INSERT INTO {unreturned} SELECT * FROM {source} ON CONFLICT DO NOTHING", source=records.sql("{unreturned}")
    )
    rows.connection.execute(query)


def _group(collection: Collection, values: Iterable[tuple[str, str, str | None, str | None]]) -> Recorded:
    found: Recorded = defaultdict(dict)
    for target_id, name, value, returned in values:
        column = collection.table.c.get(name)
        # A reference may lead nowhere now, and a unique value may be in use.
        if column is not None and not column.foreign_keys and name not in collection.unique:
            kind = kind_of_column(column)
            found[target_id][name] = _read(kind, value), _read(kind, returned)
    return found


def _read(kind: str, text: str | None) -> Any:
    if text is None:
        return None
    value = jsonb.from_text(text.encode())
    return canonical_uuid(value) if kind == "uuid" else value


def _set_latest(
    rows: RowStore, collection: Collection, changed: list[str], tenant: UUID
) -> list[tuple[str, list[str]]]:
    """Set the latest values of changed rows again; return the collections with the IDs of the rows that hold them."""
    holders = []
    for latest in collection.latest_values if changed else ():
        parents = sorted(values_of(rows, collection, latest.reference_column, changed))
        LatestValue(rows=rows, collection=collection, latest=latest, tenant=tenant).update_some(parents)
        holders.append((mapping_of(rows, latest.table).name, parents))
    return holders


def _source_ids(rows: RowStore, name: str, row_ids: list[str]) -> set[bytes]:
    query = rows.namespace.sql(
        "SELECT source_id FROM {ledger} WHERE collection = %s AND target_id = ANY(%s) AND outcome = 'loaded'"
    )
    return {bytes(found) for (found,) in rows.connection.execute(query, (name, row_ids), binary=True)}


def _apply(rows: RowStore, collection: Collection, recorded: Recorded) -> list[str]:
    """Set recorded values, and return the IDs of the rows that have changed."""
    all_changed: list[str] = []
    for ids in batched(sorted(recorded), BATCH_SIZE):
        loaded = list(read_loaded(rows, collection, ids))
        changes: dict[Any, Row] = {}
        for _, row, _ in loaded:
            row_id = row[collection.key.column]
            if change := dict(_changes(collection, row, recorded[format_target_id(row_id)])):
                changes[row_id] = change
        chosen = [each for each in loaded if each[1][collection.key.column] in changes]
        write_changes(rows, collection, chosen, changes)
        for rule in collection.member_lists if changes else ():
            compact_some(rows, collection, rule, [format_target_id(row_id) for row_id in changes])
        all_changed += map(format_target_id, changes)
    return all_changed


def _changes(collection: Collection, row: Row, recorded: dict[str, tuple[Any, Any]]) -> Iterator[tuple[str, Any]]:
    for name, (value, returned) in recorded.items():
        present = row.get(name)
        if kind_of_column(collection.table.c[name]) == "timestamp" and present is not None:
            found = present // 1000 * 1000  # documents have milliseconds; a latest value may have been set again
        else:
            found = present
        if _is_same(found, returned) and not _is_same(present, value):
            yield name, value


def _is_same(one: Any, other: Any) -> bool:
    return bool(one == other) or (
        isinstance(one, dict | list) and other is not None and jsonb.to_text(one) == jsonb.to_text(other)
    )
