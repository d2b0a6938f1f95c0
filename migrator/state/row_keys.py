"""The key of rows in SQL: the one place that knows of which columns it consists.

The ledger names a row by the text of its key.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from psycopg import sql

from migrator.mapping.collection import Collection
from migrator.postgres.column_kinds import kind_of_column

GIVEN: Final = sql.Placeholder()


@dataclass(frozen=True, slots=True)
class RowKey:
    """Columns by which rows are found, with their kinds: those of a key, or those that refer to one.

    `alias` is the name of the table in the query. Without it, the columns are not qualified.
    """

    columns: tuple[str, ...]
    kinds: tuple[str, ...]

    @property
    def kind(self) -> str:
        """The kind of `value`."""
        return self.kinds[0]

    @property
    def type(self) -> sql.SQL:
        """The type of `value`."""
        return sql.SQL(self.kind)

    def value(self, alias: str | None = None) -> sql.Composable:
        """Compose the key of a row as one value."""
        return _column(self.columns[0], alias)

    def text(self, alias: str | None = None) -> sql.Composable:
        """Compose the key of a row as the ledger stores it."""
        return sql.SQL("{}::text").format(self.value(alias))

    def names(self, alias: str | None = None) -> sql.Composable:
        """Compose the list of the columns."""
        return sql.SQL(", ").join([_column(name, alias) for name in self.columns])

    def is_text(self, alias: str | None, text: sql.Composable) -> sql.Composable:
        """Compose the condition that a row has a key, given as text. An index of the key serves it."""
        return sql.SQL("{} OPERATOR(pg_catalog.=) {}::{}").format(self.value(alias), text, self.type)

    def is_in(self, alias: str | None = None, texts: sql.Composable = GIVEN) -> sql.Composable:
        """Compose the condition that a row has one of several keys, given as texts. An index of the key serves it."""
        return sql.SQL("{} OPERATOR(pg_catalog.=) ANY({}::{}[])").format(self.value(alias), texts, self.type)

    def is_same(self, alias: str, other: RowKey, other_alias: str) -> sql.Composable:
        """Compose the condition that a row has the key of another row."""
        pairs = zip(self.columns, other.columns, strict=True)
        equal = [
            sql.SQL("{} OPERATOR(pg_catalog.=) {}").format(_column(one, alias), _column(two, other_alias))
            for one, two in pairs
        ]
        return sql.SQL(" AND ").join(equal)


def key_of(collection: Collection) -> RowKey:
    """Return the key of the rows of a collection."""
    return column_of(collection, collection.key.column)


def column_of(collection: Collection, name: str) -> RowKey:
    """Return a column of the rows of a collection, or its key, as the columns by which rows are found."""
    return RowKey((name,), (kind_of_column(collection.table.c[name]),))


def _column(name: str, alias: str | None) -> sql.Identifier:
    return sql.Identifier(name) if alias is None else sql.Identifier(alias, name)
