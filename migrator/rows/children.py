"""Reads the rows that belong to the rows of documents, together with these: one aggregate for each field."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from itertools import pairwise

from psycopg import sql

from migrator.mapping.children import Children, child_columns
from migrator.mapping.collection import Collection
from migrator.mapping.context import Row
from migrator.postgres.column_kinds import kind_of_column
from migrator.postgres.copy_format import reader, split_array
from migrator.postgres.table_names import name_of
from migrator.state.records import Namespace
from migrator.state.row_keys import RowKey, parent_of

_COUNT = struct.Struct(">i")
_FIELD = struct.Struct(">Ii")  # OID of the type, and length of the value; -1 is NULL


def children_query(namespace: Namespace, rule: Children, alias: str = "c", *, all_rows: bool) -> sql.Composed:
    """Return the query `SELECT owner, rows`: the rows of each parent as an array of records, in their order.

    The caller adds a WHERE clause, if any, and `GROUP BY 1`. With `all_rows`, the rows of elements inside elements are
    aggregated once for the whole table; otherwise for each element, with the index.
    """
    columns = [sql.Identifier(alias, name) for name in order_columns(rule)]
    order: list[sql.Composable] = [*columns] if columns else [sql.SQL("1")]
    return sql.SQL(
        "SELECT {parent} AS owner, pg_catalog.array_agg(ROW({columns}) ORDER BY {order}) AS rows"
        " FROM {table} {alias}{joins}"
    ).format(
        parent=parent_of(rule).value(alias),
        columns=sql.SQL(", ").join(_record(rule, alias)),
        order=sql.SQL(", ").join(order),
        table=namespace.table(name_of(rule.table)),
        alias=sql.Identifier(alias),
        joins=sql.SQL("").join(_joins(namespace, rule, alias, all_rows=all_rows)),
    )


def _record(rule: Children, alias: str) -> Iterator[sql.Composable]:
    for name in read_columns(rule):
        yield sql.Identifier(alias, name)
    for number, _ in enumerate(rule.nested):
        yield sql.Identifier(f"{alias}{number}", "rows")


def _joins(namespace: Namespace, rule: Children, alias: str, *, all_rows: bool) -> Iterator[sql.Composable]:
    for number, nested in enumerate(rule.nested):
        assert rule.key is not None  # validated
        inner = f"{alias}{number}"
        gathered = children_query(namespace, nested, f"{inner}x", all_rows=all_rows)
        names = {"inner": sql.Identifier(inner), "key": sql.Identifier(alias, rule.key)}
        if all_rows:
            query = " LEFT JOIN ({} GROUP BY 1) {inner} ON {inner}.owner OPERATOR(pg_catalog.=) {key}"
            yield sql.SQL(query).format(gathered, **names)
        else:
            query = " LEFT JOIN LATERAL ({} WHERE {parent} OPERATOR(pg_catalog.=) {key} GROUP BY 1) {inner} ON true"
            yield sql.SQL(query).format(gathered, parent=parent_of(nested).value(f"{inner}x"), **names)


def order_columns(rule: Children) -> list[str]:
    """Return the columns by which the rows of a parent are ordered: an application may give two the same position."""
    names = [rule.position, *(column.name for column in rule.table.primary_key)]
    return [name for name in dict.fromkeys(names) if name is not None and name not in rule.parent_columns]


def read_columns(rule: Children) -> list[str]:
    """Return the columns that make an element, in the order of the table."""
    return [column.name for column in child_columns(rule) if column.name not in (*rule.parent_columns, rule.key)]


def owners_query(namespace: Namespace, collection: Collection, rule: Children, columns: RowKey) -> sql.Composed:
    """Return the query for the IDs, as text, of the rows with an element whose `columns` have one of some keys."""
    chain = chain_to(collection.children, rule)
    return sql.SQL("SELECT {parent} FROM {table} {alias}{joins} WHERE {chosen}").format(
        parent=parent_of(chain[0]).text("c0"),
        table=namespace.table(name_of(rule.table)),
        alias=sql.Identifier(f"c{len(chain) - 1}"),
        joins=chain_joins(namespace, chain),
        chosen=columns.is_in(f"c{len(chain) - 1}"),
    )


def chain_joins(namespace: Namespace, chain: list[Children]) -> sql.Composed:
    """Compose the joins from the table of the last rule of a chain up to that of the first, with the alias `c0`."""
    joins = [
        sql.SQL(" JOIN {table} {alias} ON {alias}.{key} OPERATOR(pg_catalog.=) {parent}").format(
            table=namespace.table(name_of(upper.table)),
            alias=sql.Identifier(f"c{depth}"),
            key=sql.Identifier(upper.key or ""),
            parent=parent_of(lower).value(f"c{depth + 1}"),
        )
        for depth, (upper, lower) in reversed(list(enumerate(pairwise(chain))))
    ]
    return sql.SQL("").join(joins)


def chain_to(rules: tuple[Children, ...], wanted: Children) -> list[Children]:
    """Return the rules from a field of the document down to `wanted`; none if it is not below."""
    for rule in rules:
        if rule == wanted:
            return [rule]
        if below := chain_to(rule.nested, wanted):
            return [rule, *below]
    return []


class ChildReader:
    """Decodes the rows of one field."""

    def __init__(self, rule: Children) -> None:
        self._columns = [(name, reader(kind_of_column(rule.table.c[name]))) for name in read_columns(rule)]
        self._nested = [(nested.row_key, ChildReader(nested)) for nested in rule.nested]

    def read(self, data: bytes | None) -> list[Row]:
        """Return the rows in an array of records; none for NULL."""
        if data is None:
            return []
        return [self._read_row(record) for record in split_array(bytes(data)) if record is not None]

    def _read_row(self, record: bytes) -> Row:
        fields = _split_record(record)
        row: Row = {
            name: None if field is None else read(field)
            for (name, read), field in zip(self._columns, fields, strict=False)
        }
        for (row_key, nested), field in zip(self._nested, fields[len(self._columns) :], strict=True):
            row[row_key] = nested.read(field)
        return row


def _split_record(data: bytes) -> list[bytes | None]:
    (count,) = _COUNT.unpack_from(data)
    fields: list[bytes | None] = []
    place = _COUNT.size
    for _ in range(count):
        _, size = _FIELD.unpack_from(data, place)
        place += _FIELD.size
        fields.append(None if size < 0 else data[place : place + size])
        place += max(size, 0)
    return fields
