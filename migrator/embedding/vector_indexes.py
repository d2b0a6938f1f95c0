"""The indexes over a column of vectors: which there are, and whether they know the vectors that came after them.

An ivfflat index is trained when it is built. One that is older than the vectors must be built anew, which the journal
remembers, because it may take long and be interrupted.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from psycopg import sql
from psycopg.types.json import Jsonb

from migrator.embedding.vector_store import STEP
from migrator.mapping.collection import VectorColumn
from migrator.state import journal
from migrator.state.records import Connection, Namespace


@dataclass(frozen=True, slots=True)
class VectorIndex:
    """`operator` orders a search that it serves; `lists` is how many an ivfflat has."""

    name: str
    operator: str
    lists: int


def find_indexes(
    connection: Connection, namespace: Namespace, embedded: VectorColumn, *, valid: bool = True
) -> list[VectorIndex]:
    """The vector indexes over the column that are ready for use; or those that are not."""
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
    table = namespace.table(embedded.table.name).as_string(connection)
    found: list[Any] = connection.execute(query, (table, embedded.vector, valid)).fetchall()
    return [VectorIndex(*row) for row in found]


def mark(connection: Connection, namespace: Namespace, *, stale: bool) -> None:
    """Whether the indexes have to be built anew; in the transaction of what makes it so."""
    query = namespace.sql("UPDATE {steps} SET detail = jsonb_set(detail, '{{stale}}', %s) WHERE step = %s")
    connection.execute(query, (Jsonb(stale), STEP))


def are_stale(connection: Connection, namespace: Namespace) -> bool:
    return bool((journal.step_detail(connection, namespace, STEP) or {}).get("stale"))


def drop_leftovers(connection: Connection, namespace: Namespace, embedded: VectorColumn) -> None:
    """What PostgreSQL leaves behind when it is killed while it builds an index beside the old one."""
    for index in find_indexes(connection, namespace, embedded, valid=False):
        if index.name.rpartition("_")[2].startswith("ccnew") or index.name.rpartition("_")[2].startswith("ccold"):
            connection.execute(sql.SQL("DROP INDEX IF EXISTS {}").format(sql.Identifier(namespace.rows, index.name)))
