"""Refreshes the references of loaded rows after other documents have been loaded.

A row keeps its ID and is updated in place. A row whose document would no longer be loaded stays as it is.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from migrator.documents.codec import decode
from migrator.findings import RETRYABLE
from migrator.mapping.collection import Collection
from migrator.mapping.context import Row
from migrator.postgres.foreign_keys import from_metadata
from migrator.reconciliation.dependents import preserve_dependents
from migrator.reconciliation.document_writer import DocumentWriter
from migrator.rows.rebuild import read_loaded, rebuild_raw
from migrator.rows.update import add_findings, batched, update_rows
from migrator.state.row_keys import RowKey, key_of, referring_columns
from migrator.translation.encoder import format_target_id
from migrator.translation.outcomes import Finding, Loaded

BATCH_SIZE = 500  # rows
Contested = Mapping[str, set[Any]]  # collection → IDs that may mean another row than before


def refresh_references(writer: DocumentWriter, contested: Contested) -> None:
    """Update the rows of one collection that may now refer to another row, or to a row that did not exist before."""
    ids = sorted({*_rows_with_findings(writer), *_rows_referring(writer, contested)})
    for batch in batched(ids, BATCH_SIZE):
        with writer.rows.connection.transaction():
            _refresh_batch(writer, batch)


def _rows_with_findings(writer: DocumentWriter) -> Iterator[str]:
    """Yield the rows with a finding that a retry may resolve."""
    query = writer.rows.namespace.sql(
        "SELECT DISTINCT l.target_id FROM {findings} f JOIN {ledger} l USING (collection, source_id)"
        " WHERE f.collection = %s AND f.code = ANY(%s) AND l.outcome = 'loaded'"
    )
    values = (writer.collection.name, list(RETRYABLE))
    yield from (row[0] for row in writer.rows.connection.execute(query, values))


def _rows_referring(writer: DocumentWriter, contested: Contested) -> Iterator[str]:
    """Yield the loaded rows that refer to a contested ID."""
    for columns, parent in _references(writer.collection, writer.rows.mappings):
        query = writer.rows.namespace.sql(
            "SELECT {key} FROM {table} t WHERE {refers} AND EXISTS (SELECT FROM {ledger} l"
            " WHERE l.collection = %s AND l.outcome = 'loaded' AND l.target_id = {key})",
            key=key_of(writer.collection).text("t"),
            table=writer.rows.table(writer.collection),
            refers=columns.is_in("t"),
        )
        wanted = [format_target_id(each) for each in contested.get(parent, ())]
        if wanted:
            yield from (row[0] for row in writer.rows.connection.execute(query, (wanted, writer.collection.name)))


def _references(collection: Collection, mappings: Mapping[str, Collection]) -> Iterator[tuple[RowKey, str]]:
    """Yield (columns, referenced collection), without references within a table: `trees` resolves those later."""
    for constraint in collection.table.foreign_key_constraints:
        for mapping in mappings.values():
            if mapping.table is constraint.referred_table and mapping.table is not collection.table:
                yield referring_columns(mapping, from_metadata(constraint)), mapping.name


def _refresh_batch(writer: DocumentWriter, row_ids: list[str]) -> None:
    collection = writer.collection
    changes: dict[Any, Row] = {}
    for source_id, row, residue in list(read_loaded(writer.rows, collection, row_ids)):
        raw = rebuild_raw(collection, source_id, row, residue)
        result, findings = writer.translate(raw, decode(raw), row[collection.key.column])
        if isinstance(result, Loaded):
            if change := dict(_differing(collection, row, result.row)):
                changes[row[collection.key.column]] = change
            _replace_findings(writer, source_id, [each for each in findings if each.code in RETRYABLE])
            if collection.children:
                _add_missing_findings(writer, source_id, findings)
    if changes:
        with preserve_dependents(writer.rows, collection, list(changes)):
            update_rows(writer.rows, collection, changes, None)


def _differing(collection: Collection, before: Row, now: Row) -> Iterator[tuple[str, Any]]:
    """Yield the columns whose value has changed, without the parent column, which `trees` sets."""
    parent = collection.tree.parent if collection.tree else None
    for column in collection.columns:
        if column.name in now and column.name != parent and now[column.name] != before[column.name]:
            yield column.name, now[column.name]
    for rule in collection.children:
        if len(now[rule.row_key]) != len(before[rule.row_key]):  # other rows can be referred to now
            yield rule.row_key, now[rule.row_key]


def _add_missing_findings(writer: DocumentWriter, source_id: bytes, findings: list[Finding]) -> None:
    """Add the findings about values of elements that have become rows."""
    query = writer.rows.namespace.sql("SELECT code, detail FROM {findings} WHERE collection = %s AND source_id = %s")
    present = set(writer.rows.connection.execute(query, (writer.collection.name, source_id)).fetchall())
    missing = [each for each in findings if (each.code, each.detail) not in present]
    add_findings(writer.rows.connection, writer.rows.namespace, missing)


def _replace_findings(writer: DocumentWriter, source_id: bytes, findings: list[Finding]) -> None:
    query = writer.rows.namespace.sql(
        "DELETE FROM {findings} WHERE collection = %s AND source_id = %s AND code = ANY(%s)"
    )
    writer.rows.connection.execute(query, (writer.collection.name, source_id, list(RETRYABLE)))
    add_findings(writer.rows.connection, writer.rows.namespace, findings)
