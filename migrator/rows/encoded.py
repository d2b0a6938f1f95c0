"""Rows as the fields of binary COPY: decoded only where a value is asked for, compared as they are."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from psycopg import sql

from migrator.documents import jsonb
from migrator.mapping.collection import Collection
from migrator.mapping.composite_keys import CompositeKey
from migrator.postgres.column_kinds import kind_of_column
from migrator.postgres.copy_format import reader
from migrator.rows.store import RowStore
from migrator.state.row_keys import key_of

Fields = Sequence[bytes | None]


class RowFormat:
    """The columns of encoded rows of one collection."""

    def __init__(self, collection: Collection, columns: Sequence[str]) -> None:
        self.columns = list(columns)
        self._kinds = [kind_of_column(collection.table.c[name]) for name in columns]
        self._readers = [reader(kind) for kind in self._kinds]
        self._places = {name: place for place, name in enumerate(columns)}
        self._composite = collection.key if isinstance(collection.key, CompositeKey) else None

    def value(self, fields: Fields, column: str) -> Any:
        """Return the plain value of a column, or of the key."""
        if self._composite is not None and column == self._composite.column:
            return self._composite.join(*(self.value(fields, name) for name in self._composite.key_columns))
        place = self._places[column]
        data = fields[place]
        return None if data is None else self._readers[place](data)

    def place(self, column: str) -> int:
        """Return the place of a column in the fields."""
        return self._places[column]

    def differs(self, column: str, fields: Fields, other: bytes | None) -> bool:
        """Return whether a column has another value than `other`, a field of the same kind."""
        one = fields[self._places[column]]
        if one == other:
            return False
        if self._kinds[self._places[column]] != "jsonb" or one is None or other is None:
            return True
        texts = [jsonb.to_text(jsonb.from_text(bytes(data[1:]))) for data in (one, other)]  # without blanks
        return texts[0] != texts[1]


def read_fields(
    rows: RowStore, collection: Collection, columns: Sequence[str], ids: list[str]
) -> Iterator[tuple[bytes, bytes | None, list[bytes | None]]]:
    """Yield (source_id, residue, fields) of those rows `ids` that this migration loaded."""
    query = rows.namespace.sql(
        "SELECT l.source_id, l.residue, {columns} FROM {ledger} l JOIN {table} t ON {joined}"
        " WHERE l.collection = %s AND l.outcome = 'loaded' AND l.target_id = ANY(%s)",
        columns=sql.SQL(", ").join(sql.Identifier("t", each) for each in columns),
        table=rows.table(collection),
        joined=key_of(collection).is_text("t", sql.SQL("l.target_id")),
    )
    statement = sql.SQL("COPY ({}) TO STDOUT (FORMAT BINARY)").format(query)
    with rows.connection.cursor() as cursor, cursor.copy(statement, (collection.name, ids)) as stream:
        for source_id, residue, *fields in stream.rows():
            yield bytes(source_id), None if residue is None else bytes(residue), fields
