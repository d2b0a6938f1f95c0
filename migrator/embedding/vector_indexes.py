"""Indexes over a column of vectors: which ones exist, and whether they must be rebuilt.

An ivfflat index is trained when it is built. If vectors were added afterwards, it must be rebuilt. The journal records
this, because a rebuild may take long and be interrupted.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from psycopg import sql
from psycopg.types.json import Jsonb

from migrator.embedding.vector_store import STEP
from migrator.mapping.collection import VectorColumn
from migrator.postgres.table_names import name_of
from migrator.state import journal
from migrator.state.records import Connection, Namespace


@dataclass(frozen=True, slots=True)
class VectorIndex:
    """`operator`: the distance operator that the index supports. `lists`: the number of lists of an ivfflat index."""

    name: str
    operator: str
    lists: int


def find_indexes(
    connection: Connection, namespace: Namespace, column: VectorColumn, *, valid: bool = True
) -> list[VectorIndex]:
    """Return the valid vector indexes over the column; with `valid=False`, the invalid ones."""
    query = (
        "SELECT c.relname, CASE WHEN o.opcname LIKE '%%cosine%%' THEN '<=>'"
        " WHEN o.opcname LIKE '%%ip%%' THEN '<#>' WHEN o.opcname LIKE '%%l1%%' THEN '<+>' ELSE '<->' END,"
        " coalesce((SELECT option_value::int FROM pg_options_to_table(c.reloptions) WHERE option_name = 'lists'), 100)"
        " FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_am m ON m.oid = c.relam"
        " JOIN pg_opclass o ON o.oid = i.indclass[0]"
        " JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0]"
        " WHERE i.indrelid = to_regclass(%s) AND a.attname = %s AND i.indisvalid = %s"
        " AND m.amname IN ('ivfflat', 'hnsw')"
    )
    table = namespace.table(name_of(column.table)).as_string(connection)
    found: list[Any] = connection.execute(query, (table, column.vector, valid)).fetchall()
    return [VectorIndex(*row) for row in found]


def mark_stale(connection: Connection, namespace: Namespace, *, stale: bool) -> None:
    """Record whether the indexes must be rebuilt, in the transaction of the change that is the reason."""
    query = namespace.sql("UPDATE {steps} SET detail = jsonb_set(detail, '{{stale}}', %s) WHERE step = %s")
    connection.execute(query, (Jsonb(stale), STEP))


def are_stale(connection: Connection, namespace: Namespace) -> bool:
    """Return whether the indexes must be rebuilt."""
    return bool((journal.step_detail(connection, namespace, STEP) or {}).get("stale"))


def drop_leftovers(connection: Connection, namespace: Namespace, column: VectorColumn) -> None:
    """Drop the invalid indexes that an interrupted REINDEX CONCURRENTLY has left."""
    for index in find_indexes(connection, namespace, column, valid=False):
        if index.name.rpartition("_")[2].startswith(("ccnew", "ccold")):
            connection.execute(sql.SQL("DROP INDEX IF EXISTS {}").format(sql.Identifier(namespace.rows, index.name)))
