"""Updates loaded rows together with their ledger rows, residues and findings. The caller opens the transaction."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

from psycopg import sql

from migrator.documents.residue import raw_document_of
from migrator.mapping.children import Children
from migrator.mapping.collection import Collection
from migrator.mapping.context import Row
from migrator.postgres.column_kinds import kind_of_column
from migrator.postgres.copy import copy
from migrator.postgres.session import owner_search_path
from migrator.postgres.table_names import name_of
from migrator.rows.copy import copy_tuples, delete_elements
from migrator.rows.plain_values import as_parameter
from migrator.rows.rebuild import LoadedRow, read_loaded, rebuild_document
from migrator.rows.store import Connection, RowStore
from migrator.state.own_transactions import record_transaction
from migrator.state.records import Namespace
from migrator.state.row_keys import key_of
from migrator.translation.encoder import ChildEncoder, child_tuples, finding_tuple, format_target_id
from migrator.translation.interpreter import residue_of
from migrator.translation.outcomes import Finding

BATCH_SIZE = 1000  # rows


def batched(items: Iterable[Any], size: int) -> Iterator[list[Any]]:
    """Yield lists of at most `size` items."""
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch


def update_rows(rows: RowStore, collection: Collection, changes: Mapping[Any, Row], code: str | None) -> None:
    """Set columns of rows, by plain ID, and update the residues so that the documents stay the same.

    With a `code`, every changed document gets a finding with this code."""
    record_transaction(rows.connection, rows.namespace)
    ids = [format_target_id(row_id) for row_id in changes]
    found = list(read_loaded(rows, collection, ids))
    write_changes(rows, collection, found, changes)
    if code is not None:
        add_findings(rows.connection, rows.namespace, _findings(collection, code, found, changes))


def _findings(
    collection: Collection, code: str, found: Iterable[LoadedRow], changes: Mapping[Any, Row]
) -> Iterator[Finding]:
    for source_id, row, _ in found:
        detail = ", ".join(changes[row[collection.key.column]])
        yield Finding(collection=collection.name, code=code, source_id=source_id, detail=detail)


def write_changes(
    rows: RowStore, collection: Collection, found: Iterable[LoadedRow], changes: Mapping[Any, Row]
) -> None:
    """Set columns of rows that `read_loaded` has returned, and update their residues.

    A change can also have the rows of the elements of a field.
    """
    fields = {rule.row_key: rule for rule in collection.children}
    query = rows.namespace.sql(
        "UPDATE {ledger} SET residue = %s WHERE collection OPERATOR(pg_catalog.=) %s::pg_catalog.text"
        " AND target_id OPERATOR(pg_catalog.=) %s::pg_catalog.text"
    )
    with rows.connection.pipeline(), owner_search_path(rows.connection):  # without waiting for each answer
        for source_id, row, before in found:
            row_id = row[collection.key.column]
            change = changes[row_id]
            document = rebuild_document(collection, source_id, row, before)
            residue = residue_of(collection, document, {**row, **change}) if raw_document_of(before) is None else before
            if columns := {name: value for name, value in change.items() if name not in fields}:
                update_row(rows, collection, row_id, columns)
            rows.connection.execute(query, (residue, collection.name, format_target_id(row_id)))

    for row_id, change in changes.items() if fields else ():
        if elements := {fields[name]: change[name] for name in change if name in fields}:
            replace_elements(rows, collection, row_id, elements)


def replace_elements(
    rows: RowStore, collection: Collection, row_id: Any, elements: Mapping[Children, Sequence[Row]]
) -> None:
    """Replace the rows of the elements of some fields of one row."""
    encoders = {name_of(rule.table): ChildEncoder(rule) for rule in collection.child_rules}
    for rule, found in elements.items():
        delete_elements(rows.connection, rows.namespace, rule, [format_target_id(row_id)])
        tuples = list(child_tuples(encoders, rule, found, row_id))
        for each in rule.with_nested():
            name = name_of(each.table)
            chosen = [data for table, data in tuples if table == name]
            copy_tuples(rows.connection, rows.namespace.table(name), encoders[name].columns, chosen)


def update_row(rows: RowStore, collection: Collection, row_id: Any, change: Row) -> None:
    """Set columns of one row, by the search path of the owner. Values are plain."""
    assignments, values = [], list[Any]()
    for name, value in change.items():
        expression, given = as_parameter(value, kind_of_column(collection.table.c[name]))
        assignments.append(sql.SQL("{} = {}").format(sql.Identifier(name), expression))
        values.append(given)
    query = sql.SQL("UPDATE {} SET {} WHERE {}").format(
        rows.table(collection),
        sql.SQL(", ").join(assignments),
        key_of(collection).is_in(),
    )
    rows.connection.execute(query, (*values, [format_target_id(row_id)]))


def add_findings(connection: Connection, namespace: Namespace, findings: Iterable[Finding]) -> None:
    """Insert findings."""
    copy(connection, namespace.sql("{findings}"), [finding_tuple(finding) for finding in findings])
