"""The record `changes`: which rows the application has changed, and what they were."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from psycopg import sql

from migrator.mapping.collection import Collection
from migrator.mapping.context import Row
from migrator.postgres.column_kinds import kind_of_column
from migrator.postgres.copy_format import read_row
from migrator.postgres.table_names import name_of
from migrator.reversing.element_rows import element_rules, find_changes, find_owners
from migrator.reversing.equality import equal
from migrator.rows.store import RowStore
from migrator.state.records import Connection, Namespace

Key = tuple[str, str]  # collection, ID of the row as text
Images = dict[Key, Row | None]  # the columns of rows; None: there is no row


@dataclass(slots=True, kw_only=True)
class Pending:
    """The changes of a batch. `numbers`: of all its records; `before`: the changed rows as they were at the last
    return; `touched`: rows of whose elements rows have changed."""

    numbers: list[int] = field(default_factory=list)
    before: Images = field(default_factory=dict)
    touched: set[Key] = field(default_factory=set)

    @property
    def keys(self) -> list[Key]:
        """The rows that have changed, or of whose elements rows have."""
        return [*self.before, *sorted(self.touched - self.before.keys())]

    def keys_of(self, collection: str) -> list[str]:
        """Return the IDs of these rows of a collection."""
        return [key for name, key in self.keys if name == collection]


def read_pending(rows: RowStore, limit: int, more: Iterable[Key] = (), without: Iterable[int] = ()) -> Pending:
    """Return the oldest changes, about `limit`, and those of the rows `more`. Requires a transaction with one snapshot.

    `without`: numbers of changes that are being returned.

    All changes of a row that the snapshot sees are returned together, with those of all rows that its document depends
    on, or whose documents depend on it.
    """
    query = rows.namespace.sql("SELECT table_name, key FROM {changes} WHERE number <> ALL(%s) ORDER BY number LIMIT %s")
    oldest = rows.connection.execute(query, (list(without), limit)).fetchall()
    names = {name_of(mapping.table): name for name, mapping in rows.mappings.items()}
    keys = dict.fromkeys([*((names[table], key) for table, key in oldest if table in names), *more])
    if any(mapping.children for mapping in rows.mappings.values()):
        keys = dict.fromkeys([*keys, *_find_owners(rows, oldest)])
    if len(oldest) == limit:
        keys = dict.fromkeys([*keys, *close(rows, set(keys))])
    touched, of_elements = _find_touched(rows, set(keys))
    keys = dict.fromkeys([*keys, *sorted(touched)])
    query = rows.namespace.sql(
        "SELECT c.table_name, c.key, array_agg(c.number ORDER BY c.number) FROM {changes} c"
        " JOIN unnest(%s::text[], %s::text[]) AS k (table_name, key) USING (table_name, key)"
        " GROUP BY 1, 2 ORDER BY min(c.number)"
    )
    chosen = {*oldest, *of_elements, *((name_of(rows.mappings[name].table), key) for name, key in keys)}
    found, first = Pending(touched=touched), defaultdict[str, list[int]](list)
    values = ([table for table, _ in chosen], [key for _, key in chosen])
    for table, key, numbers in rows.connection.execute(query, values):
        found.numbers += numbers
        if table in names:
            found.before[names[table], key] = None
            first[names[table]].append(numbers[0])
    for name, numbers in first.items():
        found.before |= _read_old(rows, rows.mappings[name], numbers)
    return found


def _find_owners(rows: RowStore, changed: Iterable[tuple[str, str]]) -> set[Key]:
    """Return the rows of documents to which changed elements belong, now or before."""
    parents: dict[str, set[str]] = defaultdict(set)
    rules, found = element_rules(rows.mappings), set[Key]()
    for table, key in changed:
        if table in rules:
            parents[table].add(key)
    for table, keys in parents.items():
        collection, rule = rules[table]
        found |= {(collection.name, owner) for owner in find_owners(rows, collection, rule, keys)}
    return found


def _find_touched(rows: RowStore, keys: set[Key]) -> tuple[set[Key], set[tuple[str, str]]]:
    """Return the rows of whose elements rows have changed, with those that share such an element; and which changes
    these are: (table, key)."""
    query = rows.namespace.sql(
        "SELECT DISTINCT c.table_name, c.key FROM {changes} c"
        " JOIN unnest(%s::text[], %s::text[]) AS k (table_name, key) USING (table_name, key)"
    )
    touched, found, new = set[Key](), set[tuple[str, str]](), keys
    while new:
        wanted: set[tuple[str, str]] = set()
        for name in {name for name, _ in new}:
            ids = [key for other, key in new if other == name]
            for table, parents in find_changes(rows, rows.mappings[name], ids).items():
                wanted |= {(table, parent) for parent in parents}
        values = ([table for table, _ in wanted], [key for _, key in wanted])
        changed = set(rows.connection.execute(query, values).fetchall()) - found if wanted else set()
        found |= changed
        owners = _find_owners(rows, changed)
        new = owners - keys - touched
        touched |= owners
    return touched, found


def close(rows: RowStore, keys: set[Key]) -> set[Key]:
    """Return changed rows with the rows that they refer to, and the changed rows that refer to one of these rows, now
    or before."""
    found, new = set(keys), set(keys)
    while new:
        more: set[Key] = set()
        for child, column, parent in sorted(_references(rows.mappings)):
            more |= {(parent, each) for each in _find_parents(rows, child, column, new)}
            more |= {(child, each) for each in _changed_children(rows, child, column, parent, new)}
        new = more - found
        found |= new
    return found


def create_indexes(rows: RowStore) -> None:
    """Create the indexes with which a batch is found among many changes: by row, and by what a row referred to.

    Call it while there are no changes. The application pays for these indexes, so there are no others.
    """
    rows.connection.execute(
        rows.namespace.sql("CREATE INDEX IF NOT EXISTS changes_key_idx ON {changes} USING hash (key)")
    )
    for child, column, _ in sorted(_references(rows.mappings)):
        _create_index(rows, name_of(rows.mappings[child].table), column)
    for mapping in rows.mappings.values():
        for rule in mapping.child_rules:
            if rule.nested and rule.key is not None:
                _create_index(rows, name_of(rule.table), rule.key)


def _create_index(rows: RowStore, table: str, column: str) -> None:
    statement = rows.namespace.sql(
        "CREATE INDEX IF NOT EXISTS {index} ON {changes} USING hash ((old->>{name})) WHERE table_name = {table}",
        index=sql.Identifier(f"changes_{table}_{column}_idx"[:63]),
        name=sql.Literal(column),
        table=sql.Literal(table),
    )
    rows.connection.execute(statement)


def _references(mappings: Mapping[str, Collection]) -> set[tuple[str, str, str]]:
    """Return (collection, column, collection that the column refers to) where documents depend on each other."""
    found: set[tuple[str, str, str]] = set()
    for mapping in mappings.values():
        found |= {(mapping.name, here, there) for _, here, there, _ in mapping.carried_columns}
        found |= {(rule.collection, rule.reference_column, mapping.name) for rule in mapping.member_lists}
    return found


def _find_parents(rows: RowStore, child: str, column: str, keys: set[Key]) -> list[str]:
    collection, ids = rows.mappings[child], [key for name, key in keys if name == child]
    query = rows.namespace.sql(
        "SELECT DISTINCT x.id FROM (SELECT old->>{name} AS id FROM {changes} WHERE table_name = {table}"
        " AND key = ANY(%s) UNION SELECT t.{column}::text FROM {rows} t WHERE t.{key} = ANY(%s::{kind}[])) x"
        " WHERE x.id IS NOT NULL",
        **_names(rows, collection, column),
    )
    return [row[0] for row in rows.connection.execute(query, (ids, ids))] if ids else []


def _changed_children(rows: RowStore, child: str, column: str, parent: str, keys: set[Key]) -> list[str]:
    collection, ids = rows.mappings[child], [key for name, key in keys if name == parent]
    query = rows.namespace.sql(
        "SELECT c.key FROM {changes} c WHERE c.table_name = {table} AND c.old->>{name} = ANY(%s)"
        " UNION SELECT c.key FROM {rows} t JOIN {changes} c ON c.key = t.{key}::text AND c.table_name = {table}"
        " WHERE t.{column} = ANY(%s::{kind_of_column}[])",
        **_names(rows, collection, column),
    )
    return [row[0] for row in rows.connection.execute(query, (ids, ids))] if ids else []


def _names(rows: RowStore, collection: Collection, column: str) -> dict[str, sql.Composable]:
    """Return the names in queries about a referring column, as it is now and as it was before a change."""
    return {
        "name": sql.Literal(column),
        "column": sql.Identifier(column),
        "table": sql.Literal(name_of(collection.table)),
        "rows": rows.table(collection),
        "key": sql.Identifier(collection.key.column),
        "kind": _kind(collection),
        "kind_of_column": sql.SQL(kind_of_column(collection.table.c[column])),
    }


def _kind(collection: Collection) -> sql.SQL:
    return sql.SQL(kind_of_column(collection.table.c[collection.key.column]))


def _read_old(rows: RowStore, collection: Collection, numbers: list[int]) -> Images:
    """Return the rows before the changes with these numbers, without those that were inserted."""
    query = rows.namespace.sql(
        "SELECT c.key, {columns} FROM {changes} c CROSS JOIN LATERAL jsonb_populate_record(NULL::{table}, c.old) t"
        " WHERE c.number = ANY(%s) AND c.old IS NOT NULL",
        columns=_columns(collection),
        table=rows.table(collection),
    )
    return _read(rows, collection, query, (numbers,))


def read_present(rows: RowStore, collection: Collection, ids: list[str]) -> Images:
    """Return rows as they are; None for those that do not exist."""
    query = sql.SQL("SELECT t.{key}::text, {columns} FROM {table} t WHERE t.{key} = ANY(%s::{kind}[])").format(
        key=sql.Identifier(collection.key.column),
        columns=_columns(collection),
        table=rows.table(collection),
        kind=_kind(collection),
    )
    return {(collection.name, key): None for key in ids} | (_read(rows, collection, query, (ids,)) if ids else {})


def _columns(collection: Collection) -> sql.Composed:
    return sql.SQL(", ").join(sql.Identifier("t", column.name) for column in collection.columns)


def _read(rows: RowStore, collection: Collection, query: sql.Composed, values: tuple[Any, ...]) -> Images:
    names, kinds = zip(*collection.kinds, strict=True)
    found: Images = {}
    statement = sql.SQL("COPY ({}) TO STDOUT (FORMAT BINARY)").format(query)
    with rows.connection.cursor() as cursor, cursor.copy(statement, values) as stream:
        for key, *fields in stream.rows():
            found[collection.name, bytes(key).decode()] = dict(zip(names, read_row(fields, kinds), strict=True))
    return found


def delete(connection: Connection, namespace: Namespace, numbers: Iterable[int]) -> None:
    """Delete records of changes that are returned."""
    connection.execute(namespace.sql("DELETE FROM {changes} WHERE number = ANY(%s)"), (list(numbers),))


def changed_columns(before: Row | None, after: Row | None) -> set[str]:
    """Return the names of the columns that differ; all of them if there was no row, or is none."""
    if before is None or after is None:
        return set(after or before or ())
    return {name for name in after if not equal(after[name], before.get(name))}
