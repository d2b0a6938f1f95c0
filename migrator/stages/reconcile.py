"""Puts right, after a collection is loaded, what only all of its documents together can tell.

Claims on ids and unique values, the tree of rows, the newest of what belongs to a row. Each part can be repeated.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any
from uuid import UUID

import psycopg
import sqlalchemy as sa
from psycopg import sql

from migrator.events import Emit, StepAdvanced, StepFinished, StepStarted
from migrator.findings import severity_of
from migrator.mapping.collection import Collection, ExpectedRows, LatestOf
from migrator.reconciliation import membership
from migrator.reconciliation.conflicts import ConflictResolver
from migrator.reconciliation.trees import Trees
from migrator.rows.ledger_indexes import ensure_ledger_indexes
from migrator.rows.store import RowStore
from migrator.state import journal
from migrator.state.own_transactions import record_transaction
from migrator.state.records import Namespace

Connection = psycopg.Connection[Any]


def reconcile(
    connection: Connection,
    namespace: Namespace,
    mappings: Mapping[str, Collection],
    claims: ConflictResolver,
    *,
    tenant: UUID,
    run: int,
    emit: Emit,
    settled: Callable[[str], None] = lambda table: None,
) -> None:
    """Settles one collection, once. `settled` is told its table when that has all its rows, though not their last
    values."""
    rows, collection = claims.rows, claims.collection
    step = f"reconcile {collection.name}"
    if step in journal.finished_steps(connection, namespace):
        return
    began = journal.read_clock(connection)
    pending = claims.pending_rejects()
    if pending:
        ensure_ledger_indexes(connection, namespace)
        membership.forget(connection, namespace, collection.name)  # some of what was loaded will give way
    emit(StepStarted(step=step, total=len(pending), unit="ID conflicts"))
    done = 0
    for done, _ in enumerate(claims.resolve_all(pending), start=1):
        emit(StepAdvanced(step=step, done=min(done, len(pending))))
    _analyze(connection, namespace, collection)  # first: an index that is being built would keep it out
    settled(collection.table.name)
    if collection.tree is not None:
        trees = Trees(rows=rows, collection=collection, tenant=tenant, run=run)
        trees.resolve()
    membership.compact_all(rows, collection.name)
    with connection.transaction():
        set_all_newest(connection, namespace, mappings, collection, tenant)
        for expected in collection.expected:
            report_missing(connection, namespace, mappings, collection, expected)
        membership.forget(connection, namespace, collection.name)
        journal.finish_long_step(connection, namespace, run, step, began)
    emit(StepFinished(step=step, note=f"{done:,} ID conflicts resolved"))


def reconcile_again(
    connection: Connection,
    namespace: Namespace,
    mappings: Mapping[str, Collection],
    collection: Collection,
    *,
    tenant: UUID,
    run: int,
) -> None:
    """The same for a collection that got more rows after it was settled."""
    rows = RowStore(connection, namespace, mappings)
    if collection.tree is not None:
        trees = Trees(rows=rows, collection=collection, tenant=tenant, run=run)
        trees.reattach()
        trees.forget_disagreements()
        trees.resolve()
    with connection.transaction():
        set_all_newest(connection, namespace, mappings, collection, tenant)
    for expected in collection.expected:
        report_missing(connection, namespace, mappings, collection, expected)
    _analyze(connection, namespace, collection)
    membership.compact_all(rows, collection.name)


def set_all_newest(
    connection: Connection,
    namespace: Namespace,
    mappings: Mapping[str, Collection],
    collection: Collection,
    tenant: UUID,
) -> None:
    for newest in collection.latest_values:
        set_newest(connection, namespace, collection, newest, tenant)
        there = next(mapping.table for mapping in mappings.values() if mapping.table.name == newest.table)
        analyze(connection, namespace, there)


def _analyze(connection: Connection, namespace: Namespace, collection: Collection) -> None:
    # Without statistics the planner takes a table just filled by COPY for a small one, and joins it by nested loops.
    # The first queries of the application are planned well with these, too: little changes after.
    analyze(connection, namespace, collection.table)
    connection.execute(namespace.sql("ANALYZE {ledger}"))
    connection.execute(namespace.sql("ANALYZE {links}"))


def report_missing(
    connection: Connection,
    namespace: Namespace,
    mappings: Mapping[str, Collection],
    collection: Collection,
    expected: ExpectedRows,
) -> None:
    """Says, of rows elsewhere that want rows here, which have none now. Can be repeated."""
    there = mappings[expected.collection]
    names = {
        "collection": sql.Literal(there.name),
        "code": sql.Literal(expected.code),
        "detail": sql.Literal(expected.flag),
    }
    missing = namespace.sql(
        "INSERT INTO {findings} (collection, code, severity, source_id, detail)"
        " SELECT {collection}, {code}, {severity}, l.source_id, {detail} FROM {ledger} l"
        " JOIN {there} t ON t.{key}::text = l.target_id WHERE l.collection = {collection} AND l.outcome = 'loaded'"
        " AND t.{says} AND NOT EXISTS (SELECT FROM {here} h WHERE h.{by} = t.{key})",
        severity=sql.Literal(severity_of(expected.code)),
        there=namespace.table(there.table.name),
        here=namespace.table(collection.table.name),
        key=sql.Identifier(there.key.column),
        says=sql.Identifier(expected.flag),
        by=sql.Identifier(expected.reference_column),
        **names,
    )
    with connection.transaction():
        query = namespace.sql("DELETE FROM {findings} WHERE collection = {collection} AND code = {code}", **names)
        connection.execute(query)
        connection.execute(missing)


def set_newest(
    connection: Connection, namespace: Namespace, collection: Collection, newest: LatestOf, tenant: UUID
) -> None:
    """Rows of another table get the newest value of a column of the rows that refer to them. In a transaction only."""
    record_transaction(connection, namespace)
    query = sql.SQL(
        "UPDATE {there} t SET {column} = n.newest FROM (SELECT {by} AS id, max({of}) AS newest FROM {here}"
        " WHERE tenant_id = %(tenant)s GROUP BY 1) n"
        " WHERE t.id = n.id AND t.tenant_id = %(tenant)s AND t.{column} IS DISTINCT FROM n.newest"
    ).format(
        there=namespace.table(newest.table),
        here=namespace.table(collection.table.name),
        column=sql.Identifier(newest.column),
        by=sql.Identifier(newest.reference_column),
        of=sql.Identifier(newest.value_column),
    )
    connection.execute(query, {"tenant": tenant})


def analyze(connection: Connection, namespace: Namespace, table: sa.Table) -> None:
    """Statistics of a table's columns.

    With columns named, expressions in indexes are left out: to_tsvector over a sample takes longer than all else, and
    without its statistics a full-text query goes by its index, as it should.
    """
    columns = sql.SQL(", ").join(sql.Identifier(column.name) for column in table.columns)
    connection.execute(sql.SQL("ANALYZE {} ({})").format(namespace.table(table.name), columns))
