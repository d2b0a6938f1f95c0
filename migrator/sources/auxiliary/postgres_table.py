"""A table of a PostgreSQL database (Supabase): one document a row, in the order of its id, all its columns.

A value that BSON has no type for, or not exactly, comes as PostgreSQL's text of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from psycopg import sql

from migrator.documents.codec import encode
from migrator.errors import UsageError
from migrator.sources.auxiliary.postgres_reader import Connection, Reader, columns_of, fingerprint_of, stream, table_of
from migrator.sources.auxiliary.values import parse

KINDS = {
    16: "boolean", 20: "integer", 21: "integer", 23: "integer", 700: "float", 701: "float", 1700: "number",
    114: "json", 3802: "json", 1114: "timestamp", 1184: "timestamp",
}  # fmt: skip


class Table:
    """`columns`: our name of a column → the table's, where that is another one."""

    section = "recordings"

    def __init__(self, name: str, url: str, table: str, columns: Mapping[str, str]) -> None:
        self.name, self._table, self._columns = name, table, columns
        self._reader = Reader(url, self.section)
        self.label = f"{self._reader.label}, {table}"

    def fingerprint(self) -> str:
        with self._reader.transaction() as connection:
            names = [sql.Identifier(theirs) for theirs in self._kinds(connection)]
            return fingerprint_of(connection, sql.SQL(", ").join(names), table_of(self._table))

    def read(self, skip: int) -> Iterator[bytes]:
        ours = {theirs: ours for ours, theirs in self._columns.items()}
        with self._reader.transaction() as connection:
            kinds = self._kinds(connection)
            names = [(theirs, ours.get(theirs, theirs), kind) for theirs, kind in kinds.items()]
            for row in stream(connection, self._query(list(kinds)), skip):
                document = {"_id": None} | {
                    "_id" if name == "id" else name: None if text is None else parse(text, kind)
                    for (_, name, kind), text in zip(names, row, strict=True)
                }
                yield encode(document)

    def close(self) -> None:
        """Nothing stays open."""

    def _kinds(self, connection: Connection) -> dict[str, str]:
        """The table's columns and the kinds of their values."""
        found = columns_of(connection, table_of(self._table), self._table, self.section)
        missing = [f"{theirs} (for {ours})" for ours, theirs in self._columns.items() if theirs not in found]
        if missing or self._columns.get("id", "id") not in found:
            raise UsageError(
                f"{self.label} has no column {', '.join(missing) or 'id'}; it has {', '.join(found)}",
                hint='[recordings] columns = { id = "NAME" } says which column is which.',
            )
        return {name: KINDS.get(oid, "text") for name, oid in found.items()}

    def _query(self, names: list[str]) -> sql.Composed:
        texts = [sql.SQL("{}::text").format(sql.Identifier(name)) for name in names]
        key = sql.Identifier(self._columns.get("id", "id"))
        return sql.SQL("SELECT {} FROM {} ORDER BY {}").format(
            sql.SQL(", ").join(texts), table_of(self._table), key
        )  # fmt: skip
