"""Reads loaded rows from PostgreSQL together with their entries in the ledger, as binary COPY sends them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from psycopg import sql

from migrator.documents import native
from migrator.documents.residue import read_changes, remainder_marker, split_changes, variant_parts
from migrator.mapping.children import Children
from migrator.mapping.collection import Collection
from migrator.mapping.composite_keys import CompositeKey
from migrator.mapping.context import Row
from migrator.mapping.references import MemberList
from migrator.postgres import copy_format
from migrator.postgres.column_kinds import kind_of_column
from migrator.postgres.copy import read_rows
from migrator.rows.children import ChildReader, children_query
from migrator.rows.members import batch_members_query, members_query, read_list
from migrator.rows.plain_values import bytes_array
from migrator.rows.store import RowStore
from migrator.state.row_keys import key_of, parent_of
from migrator.translation.interpreter import add_changes
from migrator.translation.restoring import Fields, Restorer, compile_restore

MANY = 100  # rows whose members are gathered at once
MOST_LAYOUTS = 64  # kept: those of all collections of one or two migrations


@dataclass(frozen=True, slots=True)
class Choice:
    """Some loaded rows: those of the entries of the ledger with these target IDs (text) or source IDs."""

    by: Literal["target_id", "source_id"]
    ids: Sequence[Any]


@dataclass(frozen=True, slots=True)
class Pages:
    """The loaded rows whose entries of the ledger are in some of its pages: from `start` to before `stop`."""

    start: int
    stop: int


class RowLayout:
    """The fields that `read_fields` returns for the rows of a collection, and how they become rows and documents."""

    def __init__(self, rows: RowStore, collection: Collection) -> None:
        unread = collection.filled_later - _late_columns(collection).keys()
        kinds = {name: kind for name, kind in collection.kinds if name not in unread}
        kinds |= {
            key: kind_of_column(rows.mappings[there].table.c[name])
            for key, _, there, name in collection.carried_columns
        }
        lists = [(rule.row_key, read_list) for rule in collection.member_lists]
        children = [(rule.row_key, ChildReader(rule).read) for rule in collection.children]
        self.kinds, self._others = kinds, [*lists, *children]
        self._variant_rules, self._has_children = collection.variant_rules, bool(collection.children)
        self._variant_inputs = (
            []
            if collection.children
            else [
                (name, copy_format.reader(kinds[name]), list(kinds).index(name))
                for name in dict.fromkeys(name for rule in collection.variant_rules for name in rule.inputs)
            ]
        )
        self._composite = collection.key if isinstance(collection.key, CompositeKey) else None
        self._keys = [(list(kinds).index(name), copy_format.reader(kinds[name])) for name in collection.key.key_columns]
        self._restorer = _compile(collection, {**kinds, **dict(self._others)}, self.read_row)

    def read_row(self, fields: Fields) -> Row:
        """Return the row, with the values that it carries from the rows it refers to, its member lists and elements."""
        count = len(self.kinds)
        row = dict(zip(self.kinds, copy_format.read_row(fields[:count], [*self.kinds.values()]), strict=True))
        row.update((key, read(field)) for (key, read), field in zip(self._others, fields[count:], strict=True))
        if self._composite is not None:
            row[self._composite.column] = self.key_of(fields)
        return row

    def key_of(self, fields: Fields) -> Any:
        """Return the plain value of the key of a row."""
        values = [read(bytes(fields[place] or b"")) for place, read in self._keys]
        return values[0] if self._composite is None else self._composite.join(*values)

    def rebuild(self, source_id: bytes, fields: Fields, residue: bytes | None) -> bytes | None:
        """Return the document of a usual row as BSON; None for any other row, and for one that is damaged.

        It equals `interpreter.rebuild_bson`.
        """
        restored = self._restore(fields, residue)
        return None if restored is None else native.assemble(source_id, restored, residue)

    def restores(self, raw: bytes, source_id: bytes, fields: Fields, residue: bytes | None) -> bool:
        """Return whether `rebuild` returns a document with the same fields as `raw`, in any order."""
        restored = self._restore(fields, residue)
        return restored is not None and native.restores(raw, source_id, restored, residue)

    def _restore(self, fields: Fields, residue: bytes | None) -> bytes | None:
        """Return the fields that a row restores, with the variants and remainders of its residue; None if damaged."""
        if self._restorer is None:
            return None
        try:
            found = None if residue is None else variant_parts(residue)
            if found is None or self._restorer.makes_changes:
                document, moved = self._restorer.compute(fields, None if found is None else split_changes(found))
            else:
                document, _ = self._restorer.compute(fields, None)
                inputs = self._read_variant_inputs(fields)
                moved = add_changes(self._variant_rules, inputs, document, read_changes(found))
            return self._restorer.encode(fields, document, moved)
        except Exception:  # noqa: BLE001  # the caller finds the cause, with the interpreter
            return None

    def _read_variant_inputs(self, fields: Fields) -> Row:
        """Return what the rules of fields with variants need of a row."""
        if self._has_children:
            return self.read_row(fields)
        return {
            name: None if (field := fields[place]) is None else read(field)
            for name, read, place in self._variant_inputs
        }


def _compile(collection: Collection, readers: dict[str, Any], read_row: Callable[[Fields], Row]) -> Restorer | None:
    """Return what restores documents; None if a rule reads a column that is not read."""
    try:
        return compile_restore(collection, readers, read_row)
    except KeyError:
        return None


_layouts: dict[int, tuple[Collection, Any, RowLayout]] = {}


def layout_of(rows: RowStore, collection: Collection) -> RowLayout:
    """Return the layout of a collection, which is made once: it takes a millisecond."""
    found = _layouts.get(id(collection))
    if found is None or found[0] is not collection or found[1] is not rows.mappings:
        if len(_layouts) >= MOST_LAYOUTS:
            _layouts.clear()
        found = _layouts[id(collection)] = collection, rows.mappings, RowLayout(rows, collection)
    return found[2]


def read_fields(
    rows: RowStore, collection: Collection, choice: Choice | Pages | None = None
) -> Iterator[tuple[bytes, bytes | None, Fields]]:
    """Yield (source_id, residue, fields) of the loaded documents of a collection, all or some."""
    statement = sql.SQL("COPY ({}) TO STDOUT (FORMAT BINARY)").format(_query(rows, collection, choice))
    values: tuple[Any, ...] = ()
    if isinstance(choice, Choice):
        values = (bytes_array(choice.ids) if choice.by == "source_id" else choice.ids,)
    with rows.connection.cursor() as cursor, cursor.copy(statement, (collection.name, *values)) as stream:
        for source_id, residue, *fields in read_rows(rows.connection, stream):
            yield source_id, residue, fields


def _query(rows: RowStore, collection: Collection, choice: Choice | Pages | None) -> sql.Composable:
    columns: list[sql.Composable] = [sql.SQL("l.source_id"), sql.SQL("l.residue")]
    late = _late_columns(collection)
    for each in collection.columns:
        if each.name in late:
            columns.append(_if_restored(each.name, late[each.name]))
        elif each.name not in collection.filled_later:
            columns.append(sql.Identifier("t", each.name))
    joins: dict[str, sql.Composable] = {}
    for _, here, there, name in collection.carried_columns:
        joins[here] = sql.SQL(" LEFT JOIN {} {alias} ON {alias}.{key} = t.{here}").format(
            rows.table(rows.mappings[there]),
            key=sql.Identifier(rows.mappings[there].key.column),
            alias=sql.Identifier(f"r_{here}"),
            here=sql.Identifier(here),
        )
        columns.append(sql.Identifier(f"r_{here}", name))
    for rule in collection.member_lists:
        columns.append(sql.Identifier(f"k_{rule.path}", "members"))
        joins[rule.row_key] = _join_members(rows, collection, rule, choice)
    for child in collection.children:
        columns.append(sql.Identifier(f"n_{child.path}", "rows"))
        joins[child.row_key] = _join_children(rows, collection, child, all_rows=not isinstance(choice, Choice))
    return rows.namespace.sql(
        "WITH chosen AS {materialized}"
        " (SELECT * FROM {ledger} l WHERE l.collection = %s AND l.outcome = 'loaded'{which})"
        " SELECT {columns} FROM chosen l JOIN {table} t ON {joined} {joins}",
        materialized=sql.SQL("MATERIALIZED" if _is_batch(collection, choice) else "NOT MATERIALIZED"),
        which=_which(choice),
        columns=sql.SQL(", ").join(columns),
        table=rows.table(collection),
        joined=key_of(collection).is_text("t", sql.SQL("l.target_id")),
        joins=sql.SQL("").join(joins.values()),
    )


def _which(choice: Choice | Pages | None) -> sql.Composable:
    """Return the condition of the chosen entries of the ledger."""
    if choice is None:
        return sql.SQL("")
    if isinstance(choice, Pages):
        bounds = (sql.Literal(f"({page},0)") for page in (choice.start, choice.stop))
        return sql.SQL(" AND l.ctid >= {}::tid AND l.ctid < {}::tid").format(*bounds)
    return sql.SQL(" AND l.target_id = ANY(%s)" if choice.by == "target_id" else " AND l.source_id = ANY(%s::bytea[])")


def _is_batch(collection: Collection, choice: Choice | Pages | None) -> bool:
    """Return whether so many rows with member lists are chosen that the members of all are gathered at once."""
    return isinstance(choice, Choice) and bool(collection.member_lists) and len(choice.ids) >= MANY


def _late_columns(collection: Collection) -> dict[str, str]:
    """Return the columns that a later stage fills where documents have no value, with the field that they restore."""
    return {
        name: rule.path for rule in collection.variant_rules for name in rule.inputs if name in collection.filled_later
    }


def _if_restored(column: str, field: str) -> sql.Composable:
    """Return the column of those rows whose document had the field; reading it from the others would be slow."""
    return sql.SQL("CASE WHEN position({} IN l.residue) > 0 THEN {} END").format(
        sql.Literal(remainder_marker(field)), sql.Identifier("t", column)
    )


def _join_members(
    rows: RowStore, collection: Collection, rule: MemberList, choice: Choice | Pages | None
) -> sql.Composable:
    """Return the join with the members of the rows.

    For all rows, one aggregate over the whole table; for many rows, one over the rows that name them; for few rows, a
    lateral join, which is planned sooner.
    """
    alias, key = sql.Identifier(f"k_{rule.path}"), sql.Identifier("t", collection.key.column)
    gathered = members_query(rows.namespace, rows.mappings, rule)
    if not isinstance(choice, Choice):
        return sql.SQL(" LEFT JOIN ({} GROUP BY 1) {a} ON {a}.owner = {}::text").format(gathered, key, a=alias)
    if _is_batch(collection, choice):
        cast = sql.SQL(kind_of_column(collection.table.c[collection.key.column]))
        owners = sql.SQL("ARRAY(SELECT c.target_id::{} FROM chosen c)").format(cast)
        batch = batch_members_query(rows.namespace, rows.mappings, rule, owners)
        return sql.SQL(" LEFT JOIN ({}) {a} ON {a}.owner = {}::text").format(batch, key, a=alias)
    one = sql.SQL("{} WHERE m.{} = {} GROUP BY 1").format(gathered, sql.Identifier(rule.reference_column), key)
    return sql.SQL(" LEFT JOIN LATERAL ({}) {} ON true").format(one, alias)


def _join_children(rows: RowStore, collection: Collection, rule: Children, *, all_rows: bool) -> sql.Composable:
    """Return the join with the rows that belong to the rows: as `_join_members`."""
    alias, key, parent = sql.Identifier(f"n_{rule.path}"), key_of(collection), parent_of(rule)
    gathered = children_query(rows.namespace, rule, all_rows=all_rows)
    if all_rows:
        return sql.SQL(" LEFT JOIN ({} GROUP BY 1) {a} ON {a}.owner OPERATOR(pg_catalog.=) {}").format(
            gathered, key.value("t"), a=alias
        )
    one = sql.SQL("{} WHERE {} GROUP BY 1").format(gathered, parent.is_same("c", key, "t"))
    return sql.SQL(" LEFT JOIN LATERAL ({}) {} ON true").format(one, alias)
