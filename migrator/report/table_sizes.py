"""What tables and indexes take on disk, from the target's catalog; needs no right to any table."""

from __future__ import annotations

from collections.abc import Sequence

from migrator.report.content import Size, total_size
from migrator.state.records import Connection, Namespace

QUERY = (
    "SELECT c.relname, n.nspname = %(records)s, c.reltuples::bigint, pg_relation_size(c.oid),"
    " pg_table_size(c.oid) - pg_relation_size(c.oid),"
    " coalesce((SELECT json_object_agg(x.relname, pg_relation_size(x.oid)) FROM pg_index i"
    " JOIN pg_class x ON x.oid = i.indexrelid WHERE i.indrelid = c.oid), '{}')"
    " FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind = 'r'"
    " AND (n.nspname = %(records)s OR n.nspname = %(rows)s AND c.relname = ANY(%(tables)s))"
)


def read_sizes(connection: Connection, namespace: Namespace, tables: Sequence[str]) -> list[Size]:
    """The target's tables (those of others in the same schema left out) and the tool's own, the largest first."""
    names = {"records": namespace.records, "rows": namespace.rows, "tables": list(tables)}
    found = [
        Size(name=name, of_tool=of_tool, rows=rows if rows >= 0 else None, table=main, beside=beside, indexes=indexes)
        for name, of_tool, rows, main, beside, indexes in connection.execute(QUERY, names)
    ]
    return sorted(found, key=lambda size: (-total_size(size), size["name"]))
