"""Changes to rows that are loaded already, with ledger, residue and findings in step. Callers open the transaction."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import psycopg
from psycopg import sql

from migrator.documents.codec import decode
from migrator.documents.jsonb import to_text
from migrator.documents.residue import whole_of
from migrator.mapping.collection import Collection
from migrator.mapping.context import Row
from migrator.postgres.copy import copy
from migrator.postgres.copy_format import kind_of_column
from migrator.postgres.foreign_keys import ForeignKey, Relation, find_keys
from migrator.rows.lookup import for_sql
from migrator.rows.rebuild import read_loaded
from migrator.state import journal
from migrator.state.journal import Namespace
from migrator.translation.encoder import finding_tuple, spell_id
from migrator.translation.interpreter import rebuild, residue_of
from migrator.translation.outcomes import Finding

Connection = psycopg.Connection[Any]
Loaded = tuple[bytes, Row, bytes | None]  # source_id, row, residue
AT_ONCE = 1000


LONGEST = 2000  # bytes of an `_id` that any B-tree takes: its entries have 2,704 at most


def ensure_ledger_index(connection: Connection, namespace: Namespace) -> None:
    """The ways to a ledger entry, by row and by `_id`; made when first needed: every load after pays for them."""
    index_rows(connection, namespace)
    _index_ids(connection, namespace, "hash")  # what is still to come may have an `_id` of any length


def index_rows(connection: Connection, namespace: Namespace) -> None:
    """The way by row. What tells apart comes first: with the collection's name before it, sorting takes twice that."""
    connection.execute(
        namespace.sql("CREATE INDEX IF NOT EXISTS ledger_target_idx ON {ledger} (target_id, collection)")
    )


def index_ids(connection: Connection, namespace: Namespace) -> None:
    """The way by `_id`, when all documents are in the ledger: a B-tree, half the work, unless one is too long."""
    there = connection.execute("SELECT to_regclass(%s)", (f"{namespace.records}.ledger_source_idx",)).fetchone()
    if there and there[0] is not None:
        return  # looking at every `_id` takes as long as a small index
    longest = connection.execute(namespace.sql("SELECT max(octet_length(source_id)) FROM {ledger}")).fetchone()
    _index_ids(connection, namespace, "btree" if longest and (longest[0] or 0) <= LONGEST else "hash")


def _index_ids(connection: Connection, namespace: Namespace, method: str) -> None:
    query = "CREATE INDEX IF NOT EXISTS ledger_source_idx ON {ledger} USING {method} (source_id)"
    connection.execute(namespace.sql(query, method=sql.Identifier(method)))


def update_rows(
    connection: Connection,
    namespace: Namespace,
    mappings: Mapping[str, Collection],
    collection: Collection,
    changes: Mapping[Any, Row],
    code: str | None,
) -> None:
    """Gives rows (by plain id) other column values; what these no longer give back goes to the residue.

    With a `code`, each changed document gets a finding."""
    journal.record_transaction(connection, namespace)
    ids = [spell_id(row_id) for row_id in changes]
    found = list(read_loaded(connection, namespace, mappings, collection, ids))
    write_changes(connection, namespace, collection, found, changes)
    if code is not None:
        add_findings(connection, namespace, _findings(collection, code, found, changes))


def _findings(
    collection: Collection, code: str, found: Iterable[Loaded], changes: Mapping[Any, Row]
) -> Iterator[Finding]:
    for source_id, row, _ in found:
        detail = ", ".join(changes[row[collection.key.column]])
        yield Finding(collection=collection.name, code=code, source_id=source_id, detail=detail)


def write_changes(
    connection: Connection,
    namespace: Namespace,
    collection: Collection,
    found: Iterable[Loaded],
    changes: Mapping[Any, Row],
) -> None:
    """Gives rows that were read (`read_loaded`) other column values; the residues follow."""
    query = namespace.sql("UPDATE {ledger} SET residue = %s WHERE collection = %s AND target_id = %s")
    with connection.pipeline():  # two statements a row, and nobody waits for their answers
        for source_id, row, kept in found:
            row_id = row[collection.key.column]
            change = changes[row_id]
            document = rebuild(collection, decode(source_id), row, kept)
            residue = residue_of(collection, document, {**row, **change}) if whole_of(kept) is None else kept
            update_row(connection, namespace, collection, row_id, change)
            connection.execute(query, (residue, collection.name, spell_id(row_id)))


def update_row(connection: Connection, namespace: Namespace, collection: Collection, row_id: Any, change: Row) -> None:
    """Sets columns of one row; values are plain."""
    assignments, values = [], list[Any]()
    for name, value in change.items():
        expression, given = as_parameters(value, kind_of_column(collection.table.c[name]))
        assignments.append(sql.SQL("{} = {}").format(sql.Identifier(name), expression))
        values += given
    query = sql.SQL("UPDATE {} SET {} WHERE {} = %s").format(
        namespace.table(collection.table.name),
        sql.SQL(", ").join(assignments),
        sql.Identifier(collection.key.column),
    )
    connection.execute(query, (*values, for_sql(row_id)))


def as_parameters(value: Any, kind: str) -> tuple[sql.SQL, tuple[Any, ...]]:
    """An expression for a plain value of a column, and its parameters."""
    if value is None or kind not in ("jsonb", "timestamp"):
        return sql.SQL("%s"), (for_sql(value),)
    if kind == "jsonb":
        return sql.SQL("%s::jsonb"), (to_text(value),)
    # In two steps, because intervals are multiplied as doubles; and PostgreSQL has dates that Python has not.
    whole = "timestamp 'epoch' + %s::bigint * interval '1 day' + %s::bigint * interval '1 microsecond'"
    return sql.SQL(whole), divmod(value, 86_400_000_000)


def add_findings(connection: Connection, namespace: Namespace, findings: Iterable[Finding]) -> None:
    copy(connection, namespace.sql("{findings}"), [finding_tuple(finding) for finding in findings])


def referring(connection: Connection, namespace: Namespace, collection: Collection) -> list[ForeignKey]:
    """The keys by which rows of other tables refer to rows of a collection."""
    relation = Relation(namespace.rows, collection.table.name)
    found = find_keys(connection, collection.table.metadata, namespace.rows)
    wanted = (collection.key.column,)
    return [key for key in found if key.parent == relation and key.parent_columns == wanted and key.child != relation]
