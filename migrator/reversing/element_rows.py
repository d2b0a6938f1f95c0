"""The rows of elements of changed documents: as they were at the last return, and as they are now.

A change of such a row is recorded with the key of the row that it belongs to. An element keeps its identity, the
primary key of its row, whatever else of it changes; a row that gets another key or parent is a new element.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from typing import Any, Final, LiteralString, NamedTuple

from psycopg import sql

from migrator.mapping.children import Children
from migrator.mapping.collection import Collection
from migrator.mapping.context import Row
from migrator.postgres.column_kinds import kind_of_column
from migrator.postgres.copy_format import read_row
from migrator.postgres.table_names import name_of
from migrator.rows.children import chain_to, read_columns
from migrator.rows.store import RowStore

IDENTITY: Final = "="  # the name under which a row has its identity; no column can be restored from it
Fields = dict[str, list[Row]]  # row key of a field → rows of its elements


class _Element(NamedTuple):
    identity: str
    parent: str
    key: str | None
    row: Row


class _Read(NamedTuple):
    """The rows of one field of some parents, by parent: before and after."""

    before: dict[str, list[_Element]]
    after: dict[str, list[_Element]]


def read_elements(
    rows: RowStore, collection: Collection, ids: Iterable[str]
) -> tuple[dict[str, Fields], dict[str, Fields]]:
    """Return the fields of some rows before the changes, and after them, by the ID of the row."""
    wanted = list(dict.fromkeys(ids))
    before: dict[str, Fields] = {each: {} for each in wanted}
    after: dict[str, Fields] = {each: {} for each in wanted}
    for rule in collection.children:
        old, new = _read_fields(rows, rule, wanted, wanted)
        for each in wanted:
            before[each][rule.row_key], after[each][rule.row_key] = old.get(each, []), new.get(each, [])
    return before, after


def _read_fields(
    rows: RowStore, rule: Children, old: Iterable[str], new: Iterable[str]
) -> tuple[dict[str, list[Row]], dict[str, list[Row]]]:
    """Return the rows of elements with those of their own elements, by parent, on each side.

    `old`, `new`: the parents on each side.
    """
    found = _read(rows, rule, list(dict.fromkeys([*old, *new])))
    for nested in rule.nested:
        sides = [[each.key for one in side.values() for each in one if each.key is not None] for side in found]
        inner = _read_fields(rows, nested, *sides)
        for side, gathered in zip(found, inner, strict=True):
            for each in chain.from_iterable(side.values()):
                each.row[nested.row_key] = gathered.get(each.key or "", [])
    old_rows, new_rows = ({parent: [each.row for each in one] for parent, one in side.items()} for side in found)
    return old_rows, new_rows


def _read(rows: RowStore, rule: Children, parents: list[str]) -> _Read:
    names = _names(rows, rule)
    present = sql.SQL("SELECT '' AS operation, {columns} FROM {table} t WHERE t.{parent} = ANY(%s::{kind}[])")
    after = [each for _, each in _fetch(rows, rule, present.format(**names), (parents,))]
    recorded = rows.namespace.sql(
        "SELECT DISTINCT ON ({identity}, c.key) c.operation, {columns} FROM {changes} c"
        " CROSS JOIN LATERAL jsonb_populate_record(NULL::{table}, c.old) t"
        " WHERE c.table_name = {name} AND c.key = ANY(%s) ORDER BY {identity}, c.key, c.number",
        **names,
    )
    changed = list(_fetch(rows, rule, recorded, (parents,)))
    known = {(each.identity, each.parent) for _, each in changed}
    same = (each for each in after if (each.identity, each.parent) not in known)
    before = [each._replace(row=dict(each.row)) for each in same]  # its own elements may have changed
    before += [each for operation, each in changed if operation != "I"]
    return _Read(_by_parent(rule, before), _by_parent(rule, after))


def _fetch(
    rows: RowStore, rule: Children, query: sql.Composed, values: tuple[Any, ...]
) -> Iterator[tuple[str, _Element]]:
    columns = read_columns(rule)
    kinds = ["text", "text", "text", "text", *(kind_of_column(rule.table.c[name]) for name in columns)]
    statement = sql.SQL("COPY ({}) TO STDOUT (FORMAT BINARY)").format(query)
    with rows.connection.cursor() as cursor, cursor.copy(statement, values) as stream:
        for fields in stream.rows():
            operation, identity, parent, key, *plain = read_row(fields, kinds)
            yield (
                operation,
                _Element(identity, parent, key, {**dict(zip(columns, plain, strict=True)), IDENTITY: identity}),
            )


def _names(rows: RowStore, rule: Children) -> dict[str, sql.Composable]:
    identity = sql.SQL("jsonb_build_array({})::text").format(
        sql.SQL(", ").join(sql.Identifier("t", column.name) for column in rule.table.primary_key)
    )
    key = sql.NULL if rule.key is None else sql.SQL("{}::text").format(sql.Identifier("t", rule.key))
    own = [identity, sql.SQL("{}::text").format(sql.Identifier("t", rule.parent_columns[0])), key]
    return {
        "columns": sql.SQL(", ").join([*own, *(sql.Identifier("t", name) for name in read_columns(rule))]),
        "identity": identity,
        "table": rows.namespace.table(name_of(rule.table)),
        "name": sql.Literal(name_of(rule.table)),
        "parent": sql.Identifier(rule.parent_columns[0]),
        "kind": sql.SQL(kind_of_column(rule.table.c[rule.parent_columns[0]])),
    }


def _by_parent(rule: Children, elements: Iterable[_Element]) -> dict[str, list[_Element]]:
    found: dict[str, list[_Element]] = defaultdict(list)
    for each in sorted(elements, key=lambda each: (rule.order_of(each.row), each.identity)):
        found[each.parent].append(each)
    return found


# --- the changes that belong to documents -----------------------------------------------------------------------------


def element_rules(mappings: Mapping[str, Collection]) -> dict[str, tuple[Collection, Children]]:
    """Return the rules of elements by the name of their table."""
    return {name_of(rule.table): (each, rule) for each in mappings.values() for rule in each.child_rules}


def find_owners(rows: RowStore, collection: Collection, rule: Children, parents: Iterable[str]) -> set[str]:
    """Return the IDs of the rows of documents to which the parents of changed elements belong, now or before."""
    found = set(parents) - {""}
    for upper in reversed(chain_to(collection.children, rule)[:-1]):
        found = _select(
            rows, upper, "t.{parent}::text", "t.{key} = ANY(%s::uuid[])", "c.key", "c.old->>{key_name}", found
        )
    return found


def find_changes(rows: RowStore, collection: Collection, ids: Iterable[str]) -> dict[str, set[str]]:
    """Return, by table, the parents whose elements may have changes that belong to some rows of documents."""
    found: dict[str, set[str]] = {}
    for rule in collection.children:
        _find_changes(rows, rule, set(ids), found)
    return found


def _find_changes(rows: RowStore, rule: Children, parents: set[str], found: dict[str, set[str]]) -> None:
    found[name_of(rule.table)] = parents
    for nested in rule.nested:
        keys = _select(
            rows, rule, "t.{key}::text", "t.{parent} = ANY(%s::{kind}[])", "c.old->>{key_name}", "c.key", parents
        )
        _find_changes(rows, nested, keys, found)


def _select(
    rows: RowStore,
    rule: Children,
    present: LiteralString,
    among: LiteralString,
    recorded: LiteralString,
    by: LiteralString,
    values: set[str],
) -> set[str]:
    """Return an expression of the rows of one table, present ones and recorded ones, chosen by another expression."""
    if not values:
        return set()
    names = {
        "parent": sql.Identifier(rule.parent_columns[0]),
        "kind": sql.SQL(kind_of_column(rule.table.c[rule.parent_columns[0]])),
        "key": sql.Identifier(rule.key or ""),
        "key_name": sql.Literal(rule.key or ""),
    }
    query = rows.namespace.sql(
        "SELECT {present} FROM {table} t WHERE {among} UNION SELECT {recorded} FROM {changes} c"
        " WHERE c.table_name = {name} AND {by} = ANY(%s)",
        table=rows.namespace.table(name_of(rule.table)),
        name=sql.Literal(name_of(rule.table)),
        present=sql.SQL(present).format(**names),
        among=sql.SQL(among).format(**names),
        recorded=sql.SQL(recorded).format(**names),
        by=sql.SQL(by).format(**names),
    )
    chosen = list(values)
    return {each for (each,) in rows.connection.execute(query, (chosen, chosen)) if each}
