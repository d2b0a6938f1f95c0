"""Reads the sizes of tables and indexes from the target's catalog. Needs no privileges on the tables."""

from __future__ import annotations

from collections.abc import Sequence

from migrator.postgres.table_names import catalog_query
from migrator.report.content import TableSize, total_size
from migrator.state.records import Connection, Namespace

QUERY = catalog_query(
    "SELECT CASE WHEN n.nspname = %(records)s THEN c.relname::text ELSE TABLE_NAME(c) END,"
    " n.nspname = %(records)s, c.reltuples::bigint, pg_relation_size(c.oid),"
    " pg_table_size(c.oid) - pg_relation_size(c.oid),"
    " coalesce((SELECT json_object_agg(x.relname, pg_relation_size(x.oid)) FROM pg_index i"
    " JOIN pg_class x ON x.oid = i.indexrelid WHERE i.indrelid = c.oid), '{}')"
    " FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind = 'r'"
    " AND (n.nspname = %(records)s OR TABLE_NAME(c) = ANY(%(tables)s))"
)


def read_sizes(connection: Connection, namespace: Namespace, tables: Sequence[str]) -> list[TableSize]:
    """Return the sizes of the migration's tables and of the records, the largest first."""
    names = {"records": namespace.records, "tables": list(tables)}
    found = [
        TableSize(
            name=name, of_tool=of_tool, rows=rows if rows >= 0 else None, table=main, toast=toast, indexes=indexes
        )
        for name, of_tool, rows, main, toast, indexes in connection.execute(QUERY.encode(), names)
    ]
    return sorted(found, key=lambda size: (-total_size(size), size["name"]))
