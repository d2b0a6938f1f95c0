"""The key of rows in SQL: the one place that knows of which columns it consists.

The ledger names a row by the text of its key. That of a key of several columns is composed by `mapping.key_texts`, too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from psycopg import sql

from migrator.mapping.children import Children
from migrator.mapping.collection import Collection
from migrator.mapping.composite_keys import CompositeKey
from migrator.mapping.key_texts import KINDS, parser, split_key
from migrator.postgres.column_kinds import catalog_name, kind_of_column
from migrator.postgres.foreign_keys import ForeignKey

GIVEN: Final = sql.Placeholder()


@dataclass(frozen=True, slots=True)
class RowKey:
    """Columns by which rows are found, with their kinds: those of a key, or those that refer to one.

    `alias` is the name of the table in the query. Without it, the columns are not qualified.
    """

    columns: tuple[str, ...]
    kinds: tuple[str, ...]

    @property
    def is_single(self) -> bool:
        """Whether it is one column. Several have the text of the key as their value."""
        return len(self.columns) == 1

    @property
    def kind(self) -> str:
        """The kind of `value`."""
        return self.kinds[0] if self.is_single else "text"

    @property
    def type(self) -> sql.SQL:
        """The type of `value`."""
        return sql.SQL(self.kind)

    def can_be(self, text: str) -> bool:
        """Return whether a text is that of a key: a damaged entry of the ledger can hold another one."""
        try:
            texts = [text] if self.is_single else split_key(text, len(self.columns))
            for kind, part in zip(self.kinds, texts, strict=True):
                if kind in KINDS:  # a key of one column can have others
                    parser(kind)(part)
        except ValueError:
            return False
        return True

    def value(self, alias: str | None = None) -> sql.Composable:
        """Compose the key of a row as one value; NULL if a column is NULL."""
        if self.is_single:
            return _column(self.columns[0], alias)
        columns = [_column(name, alias) for name in self.columns]
        return sql.SQL("CASE WHEN {} THEN pg_catalog.jsonb_build_array({})::pg_catalog.text END").format(
            sql.SQL(" AND ").join(sql.SQL("{} IS NOT NULL").format(each) for each in columns),
            sql.SQL(", ").join(sql.SQL("{}::pg_catalog.text").format(each) for each in columns),
        )

    def text(self, alias: str | None = None) -> sql.Composable:
        """Compose the key of a row as the ledger stores it."""
        return sql.SQL("{}::text").format(self.value(alias)) if self.is_single else self.value(alias)

    def names(self, alias: str | None = None) -> sql.Composable:
        """Compose the list of the columns."""
        return sql.SQL(", ").join([_column(name, alias) for name in self.columns])

    def is_text(self, alias: str | None, text: sql.Composable) -> sql.Composable:
        """Compose the condition that a row has a key, given as text. An index of the key serves it."""
        if self.is_single:
            return sql.SQL("{} OPERATOR(pg_catalog.=) {}::{}").format(self.value(alias), text, self.type)
        equal = [
            sql.SQL("{} OPERATOR(pg_catalog.=) {}").format(_column(name, alias), part)
            for name, part in zip(self.columns, self._parts(text), strict=True)
        ]
        return sql.SQL("({})").format(sql.SQL(" AND ").join(equal))

    def is_in(self, alias: str | None = None, texts: sql.Composable = GIVEN) -> sql.Composable:
        """Compose the condition that a row has one of several keys, given as texts. An index of the key serves it."""
        if self.is_single:
            return sql.SQL("{} OPERATOR(pg_catalog.=) ANY({}::{}[])").format(self.value(alias), texts, self.type)
        query = sql.SQL("({}) OPERATOR(pg_catalog.=) ANY (SELECT {} FROM pg_catalog.unnest({}::text[]) k (id))")
        return query.format(self.names(alias), sql.SQL(", ").join(self._parts(sql.SQL("k.id"))), texts)

    def is_same(self, alias: str, other: RowKey, other_alias: str) -> sql.Composable:
        """Compose the condition that a row has the key of another row."""
        pairs = zip(self.columns, other.columns, strict=True)
        equal = [
            sql.SQL("{} OPERATOR(pg_catalog.=) {}").format(_column(one, alias), _column(two, other_alias))
            for one, two in pairs
        ]
        return sql.SQL(" AND ").join(equal)

    def _parts(self, text: sql.Composable) -> list[sql.Composed]:
        """Compose the values of the columns from the text of a key."""
        return [
            sql.SQL("({}::pg_catalog.jsonb OPERATOR(pg_catalog.->>) {})::{}").format(
                text, sql.Literal(place), sql.SQL(catalog_name(kind))
            )
            for place, kind in enumerate(self.kinds)
        ]


def key_of(collection: Collection) -> RowKey:
    """Return the key of the rows of a collection."""
    return column_of(collection, collection.key.column)


def column_of(collection: Collection, name: str) -> RowKey:
    """Return a column of the rows of a collection, or its key, as the columns by which rows are found."""
    key = collection.key
    if isinstance(key, CompositeKey) and name == key.column:
        return RowKey(key.key_columns, key.kinds)
    return RowKey((name,), (kind_of_column(collection.table.c[name]),))


def parent_of(rule: Children) -> RowKey:
    """Return the columns of the rows of elements that have the key of the parent."""
    return RowKey(rule.parent_columns, tuple(kind_of_column(rule.table.c[name]) for name in rule.parent_columns))


def referring_columns(collection: Collection, key: ForeignKey) -> RowKey:
    """Return the columns of another table that refer to the rows of a collection by a foreign key to the whole key."""
    there = key_of(collection)
    if there.is_single:
        place = key.parent_columns.index(there.columns[0]) if there.columns[0] in key.parent_columns else 0
        return RowKey((key.child_columns[place],), there.kinds)
    places = [key.parent_columns.index(name) for name in there.columns]
    return RowKey(tuple(key.child_columns[place] for place in places), there.kinds)


def _column(name: str, alias: str | None) -> sql.Identifier:
    return sql.Identifier(name) if alias is None else sql.Identifier(alias, name)
