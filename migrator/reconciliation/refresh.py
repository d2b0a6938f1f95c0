"""Rows that were loaded, looked at again after others have come: whom do their documents refer to now?

A row keeps its id and is changed in place. What would not be loaded any more stays as it is: nothing is taken out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from psycopg import sql

from migrator.findings import RETRYABLE
from migrator.mapping.collection import Collection
from migrator.mapping.context import Row
from migrator.reconciliation.conflicts import ConflictResolver
from migrator.reconciliation.dependents import preserve_dependents
from migrator.reconciliation.trees import batches
from migrator.rows.lookup import for_sql
from migrator.rows.rebuild import read_loaded
from migrator.rows.update import add_findings, update_rows
from migrator.translation.interpreter import rebuild_bson
from migrator.translation.outcomes import Finding, Loaded

AT_ONCE = 500
Contested = Mapping[str, set[Any]]  # by collection: ids that may mean another row by now


def refresh_references(claims: ConflictResolver, contested: Contested) -> None:
    """Looks at the rows of one collection that may refer to another row by now, or to one where there was none."""
    ids = sorted({*_with_findings(claims), *_referring(claims, contested)})
    for batch in batches(ids, AT_ONCE):
        with claims.connection.transaction():
            _renew(claims, batch)


def _with_findings(claims: ConflictResolver) -> Iterator[str]:
    query = claims.namespace.sql(
        "SELECT DISTINCT l.target_id FROM {findings} f JOIN {ledger} l USING (collection, source_id)"
        " WHERE f.collection = %s AND f.code = ANY(%s) AND l.outcome = 'loaded'"
    )
    yield from (row[0] for row in claims.connection.execute(query, (claims.collection.name, list(RETRYABLE))))


def _referring(claims: ConflictResolver, contested: Contested) -> Iterator[str]:
    """Our rows that refer to a contested id."""
    for column, parent in _references(claims.collection, claims.mappings):
        query = claims.namespace.sql(
            "SELECT t.{key}::text FROM {table} t WHERE t.{column} = ANY(%s) AND EXISTS (SELECT FROM {ledger} l"
            " WHERE l.collection = %s AND l.outcome = 'loaded' AND l.target_id = t.{key}::text)",
            key=sql.Identifier(claims.collection.key.column),
            table=claims.namespace.table(claims.collection.table.name),
            column=sql.Identifier(column),
        )
        named = [for_sql(each) for each in contested.get(parent, ())]
        if named:
            yield from (row[0] for row in claims.connection.execute(query, (named, claims.collection.name)))


def _references(collection: Collection, mappings: Mapping[str, Collection]) -> Iterator[tuple[str, str]]:
    """(column, the collection whose rows it names), but for those of the collection itself: trees are settled after."""
    for key in collection.table.foreign_keys:
        for mapping in mappings.values():
            if mapping.table is key.column.table and mapping.table is not collection.table:
                yield key.parent.name, mapping.name


def _renew(claims: ConflictResolver, row_ids: list[str]) -> None:
    namespace, collection = claims.namespace, claims.collection
    changes: dict[Any, Row] = {}
    for source_id, row, residue in list(
        read_loaded(claims.connection, namespace, claims.mappings, collection, row_ids)
    ):
        raw = rebuild_bson(collection, source_id, row, residue)
        result, findings = claims.translate(raw, row[collection.key.column])
        if isinstance(result, Loaded):
            if change := dict(_differing(collection, row, result.row)):
                changes[row[collection.key.column]] = change
            _exchange(claims, source_id, [each for each in findings if each.code in RETRYABLE])
    if changes:
        with preserve_dependents(claims.connection, namespace, claims.mappings, collection, list(changes)):
            update_rows(claims.connection, namespace, claims.mappings, collection, changes, None)


def _differing(collection: Collection, before: Row, now: Row) -> Iterator[tuple[str, Any]]:
    """Columns that the document's rules give another value; whose parent a row is, the tree decides."""
    parent = collection.tree.parent if collection.tree else None
    for column in collection.table.columns:
        if column.name in now and column.name != parent and now[column.name] != before[column.name]:
            yield column.name, now[column.name]


def _exchange(claims: ConflictResolver, source_id: bytes, findings: list[Finding]) -> None:
    query = claims.namespace.sql("DELETE FROM {findings} WHERE collection = %s AND source_id = %s AND code = ANY(%s)")
    claims.connection.execute(query, (claims.collection.name, source_id, list(RETRYABLE)))
    add_findings(claims.connection, claims.namespace, findings)
