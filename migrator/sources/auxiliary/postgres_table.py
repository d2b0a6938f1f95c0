"""A table of a PostgreSQL database: one document per row with all columns, in the order of the ID.

A value that no BSON type represents exactly becomes PostgreSQL's text form of the value.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from psycopg import sql

from migrator.documents.codec import encode
from migrator.errors import UsageError
from migrator.sources.auxiliary.base import Origin
from migrator.sources.auxiliary.postgres_reader import (
    Connection,
    PostgresReader,
    fingerprint_rows,
    read_columns,
    stream_rows,
    table_identifier,
)
from migrator.sources.auxiliary.values import parse

KINDS = {
    16: "boolean", 20: "integer", 21: "integer", 23: "integer", 700: "float", 701: "float", 1700: "number",
    114: "json", 3802: "json", 1114: "timestamp", 1184: "timestamp",
}  # fmt: skip


class PostgresTable:
    """The rows of a table. `columns`: name of a column in the mapping → name in the table, if they differ."""

    def __init__(self, origin: Origin, url: str, table: str, columns: Mapping[str, str]) -> None:
        self.name, self.section = origin
        self._table, self._columns = table, columns
        self._reader = PostgresReader(url, self.section)
        self.label = f"{self._reader.label}, {table}"

    def fingerprint(self) -> str:
        with self._reader.transaction() as connection:
            names = [sql.Identifier(name) for name in self._kinds(connection)]
            return fingerprint_rows(connection, sql.SQL(", ").join(names), table_identifier(self._table))

    def read(self, skip: int) -> Iterator[bytes]:
        renamed = {in_table: name for name, in_table in self._columns.items()}
        with self._reader.transaction() as connection:
            kinds = self._kinds(connection)
            names = [(renamed.get(in_table, in_table), kind) for in_table, kind in kinds.items()]
            for row in stream_rows(connection, self._query(list(kinds)), skip):
                document = {"_id": None} | {
                    "_id" if name == "id" else name: None if text is None else parse(text, kind)
                    for (name, kind), text in zip(names, row, strict=True)
                }
                yield encode(document)

    def close(self) -> None:
        """Do nothing: no connection stays open."""

    def _kinds(self, connection: Connection) -> dict[str, str]:
        """Return column of the table → kind of its values. Raises: `UsageError` if a column does not exist."""
        found = read_columns(connection, table_identifier(self._table), self._table, self.section)
        missing = [f"{in_table} (for {name})" for name, in_table in self._columns.items() if in_table not in found]
        if missing or self._columns.get("id", "id") not in found:
            raise UsageError(
                f"{self.label} has no column {', '.join(missing) or 'id'}; columns found: {', '.join(found)}",
                hint=f'Set [{self.section}] columns = {{ id = "NAME" }} for columns with other names.',
            )
        return {name: KINDS.get(oid, "text") for name, oid in found.items()}

    def _query(self, names: list[str]) -> sql.Composed:
        texts = [sql.SQL("{}::text").format(sql.Identifier(name)) for name in names]
        key = sql.Identifier(self._columns.get("id", "id"))
        return sql.SQL("SELECT {} FROM {} ORDER BY {}").format(
            sql.SQL(", ").join(texts), table_identifier(self._table), key
        )  # fmt: skip
