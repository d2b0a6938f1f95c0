"""Checks of integrity, independent of the source: references, tenants, trees, IDs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from bson import ObjectId
from psycopg import sql
from sqlalchemy import Table

from migrator import ids
from migrator.documents.codec import decode, format_id
from migrator.formatting import format_count
from migrator.mapping.collection import Collection, Tree
from migrator.postgres.table_names import name_of
from migrator.postgres.tenancy import tenant_column
from migrator.reconciliation.cycles import find_cycle_heads
from migrator.rows.given_ids import has_derived_ids
from migrator.state import own_transactions
from migrator.verification.model import (
    EXAMPLES,
    NO_DIFFERENCES,
    Check,
    Difference,
    Differences,
    Fault,
    Scope,
    make_check,
    passed_check,
)
from migrator.verification.prescan import (
    CYCLES,
    PARENTS,
    ForeignKeyColumns,
    Prescan,
    dangling_reference,
    foreign_key_columns,
    foreign_tenant,
)

ROOTS = "tree: roots"
FETCH_SIZE = 5000  # ledger entries


def check_foreign_keys(scope: Scope, scan: Prescan) -> Iterator[Check]:
    """Check that every reference leads to a row. An anti-join finds the others, even without a constraint."""
    for table in scope.tables:
        for key in foreign_key_columns(scope, table):
            rows = None
            if scan.has_violation(table, dangling_reference(key.label)):
                rows = sql.SQL("FROM {child} c LEFT JOIN {parent} p ON {joined} WHERE {dangling}").format(
                    **_identifiers_of_key(scope, table, key)
                )
            found = _find_rows(scope, table, key.columns, rows, f"no such row in {key.parent.name}")
            yield make_check("foreign key", f"{name_of(table)}.{key.label}", found, expected=0, actual=found.total)


def check_tenants(scope: Scope, scan: Prescan) -> Iterator[Check]:
    """Check that no row refers to a row of another tenant."""
    for table in scope.tables:
        for key in foreign_key_columns(scope, table):
            column = tenant_column(table)
            if column is None or tenant_column(key.parent) is None:
                continue
            rows = None
            if scan.has_violation(table, foreign_tenant(key.label)):
                rows = sql.SQL("FROM {child} c JOIN {parent} p ON {joined} WHERE p.{tenant} <> c.{tenant}").format(
                    **_identifiers_of_key(scope, table, key), tenant=sql.Identifier(column)
                )
            found = _find_rows(
                scope, table, key.columns, rows, f"the row in {key.parent.name} belongs to another tenant"
            )
            yield make_check("tenant", f"{name_of(table)}.{key.label}", found, expected=0, actual=found.total)


def _identifiers_of_key(scope: Scope, table: Table, key: ForeignKeyColumns) -> dict[str, sql.Composable]:
    return {
        "child": scope.namespace.table(name_of(table)),
        "parent": scope.namespace.table(name_of(key.parent)),
        "joined": key.joins("c", "p"),
        "dangling": key.dangles("c", "p"),
    }


def _find_rows(
    scope: Scope, table: Table, columns: tuple[str, ...], rows: sql.Composed | None, note: str
) -> Differences:
    """Return a difference for each row `c` of a query that starts with FROM; None is a query without rows."""
    if rows is None:
        return NO_DIFFERENCES
    query = sql.SQL("SELECT count(*) OVER (), {row}, {value}, {newer} {rows} ORDER BY 2 LIMIT {most}")
    found = scope.connection.execute(
        query.format(
            row=key_text(table, "c"),
            value=_joined_text(columns, "c"),
            newer=own_transactions.written_after_run(scope.namespace, "c"),
            rows=rows,
            most=sql.Literal(EXAMPLES),
        )
    ).fetchall()
    differences = [
        Difference(row=row, column=", ".join(columns), actual=value, note=note, fault="target" if newer else "")
        for _, row, value, newer in found
    ]
    return Differences(total=int(found[0][0]) if found else 0, first=differences)


def check_trees(scope: Scope, scan: Prescan) -> Iterator[Check]:
    """Check trees: parent and child are in the same group, there is no cycle, and every group has a root."""
    for mapping in scope.chosen.values():
        if mapping.tree is not None:
            table = name_of(mapping.table)
            violations = scan.tables[table].violations
            # If every parent exists, is in its child's group and is older, then each group has a root.
            may_lack_root = violations & {PARENTS, CYCLES, dangling_reference(mapping.tree.parent)}
            yield (
                _check_parents(scope, mapping, mapping.tree)
                if PARENTS in violations
                else passed_check(PARENTS, table, 0)
            )
            yield (
                _check_cycles(scope, mapping, mapping.tree) if CYCLES in violations else passed_check(CYCLES, table, 0)
            )
            yield _check_roots(scope, mapping, mapping.tree) if may_lack_root else passed_check(ROOTS, table, 0)


def key_text(table: Table, alias: str) -> sql.Composable:
    """Compose the text by which a check names a row: the values of its primary key; without one, its place."""
    columns = tuple(each.name for each in table.primary_key.columns)
    return _joined_text(columns, alias) if columns else sql.SQL("{}.ctid::text").format(sql.Identifier(alias))


def _joined_text(columns: tuple[str, ...], alias: str) -> sql.Composable:
    texts = [sql.SQL("{}::text").format(sql.Identifier(alias, name)) for name in columns]
    return texts[0] if len(texts) == 1 else sql.SQL("concat_ws(', ', {})").format(sql.SQL(", ").join(texts))


def _identifiers_of_tree(scope: Scope, mapping: Collection, tree: Tree) -> dict[str, Any]:
    return {
        "table": scope.namespace.table(name_of(mapping.table)),
        "key": sql.Identifier(mapping.key.column),
        "parent": sql.Identifier(tree.parent),
        "within": sql.Identifier(tree.within),
        "order": sql.Identifier(tree.order),
        "newer": own_transactions.written_after_run(scope.namespace, "m"),
    }


def _check_parents(scope: Scope, mapping: Collection, tree: Tree) -> Check:
    rows = sql.SQL(
        "FROM {table} c JOIN {table} p ON p.{key} = c.{parent} WHERE p.{within} <> c.{within} OR p.{key} = c.{key}"
    ).format(**_identifiers_of_tree(scope, mapping, tree))
    found = _find_rows(
        scope, mapping.table, (tree.parent,), rows, f"the parent has another {tree.within}, or is the row itself"
    )
    return make_check(PARENTS, name_of(mapping.table), found, expected=0, actual=found.total)


def _check_cycles(scope: Scope, mapping: Collection, tree: Tree) -> Check:
    # Every cycle has an edge whose parent is not older. Such edges are few, and so are the groups that contain them.
    query = sql.SQL(
        # Ranks instead of values: PostgreSQL has dates that Python cannot represent.
        "SELECT m.{key}, m.{parent}, rank() OVER (ORDER BY m.{order}), {newer} FROM {table} m"
        " WHERE m.{within} IN (SELECT c.{within} FROM {table} c"
        " JOIN {table} p ON p.{key} = c.{parent} WHERE (p.{order}, p.{key}) >= (c.{order}, c.{key}))"
    ).format(**_identifiers_of_tree(scope, mapping, tree))
    rows = scope.connection.execute(query).fetchall()
    heads = find_cycle_heads([(row[0].bytes, row[1] and row[1].bytes, row[2]) for row in rows])
    by_id = {row[0].bytes: row for row in rows}
    note = "the row is its own ancestor"
    found = [
        Difference(
            row=str(by_id[head][0]), column=tree.parent, actual=str(by_id[head][1]), note=note,
            fault="target" if by_id[head][3] else "",
        )
        for head in heads
    ]  # fmt: skip
    return make_check(CYCLES, name_of(mapping.table), Differences.of(found), expected=0, actual=len(heads))


def _check_roots(scope: Scope, mapping: Collection, tree: Tree) -> Check:
    query = sql.SQL(
        "SELECT {within}::text FROM {table} WHERE {within} IS NOT NULL GROUP BY {within}"
        " HAVING bool_and({parent} IS NOT NULL) ORDER BY 1"
    ).format(**_identifiers_of_tree(scope, mapping, tree))
    note = f"no row with this {tree.within} is a root"
    found = [Difference(row=row, column=tree.parent, note=note) for (row,) in scope.connection.execute(query)]
    return make_check(ROOTS, name_of(mapping.table), Differences.of(found), expected=0, actual=len(found))


def check_ids(scope: Scope) -> Iterator[Check]:
    """Check that every UUID derived from an ObjectId `_id` is the UUID of that ObjectId, and converts back to it."""
    derived = {name: mapping for name, mapping in scope.chosen.items() if has_derived_ids(mapping)}
    found = _find_id_differences(scope, list(derived))
    for name, mapping in derived.items():
        expected = "IDs match `_id`"
        actual = f"{format_count(len(found[name]), 'IDs')} not derived from `_id`" if found[name] else expected
        yield make_check("ids", scope.label_of(mapping), Differences.of(found[name]), expected=expected, actual=actual)


def _find_id_differences(scope: Scope, names: list[str]) -> dict[str, list[Difference]]:
    """Return the differences by collection, after one pass over the ledger."""
    query = scope.namespace.sql(
        "SELECT l.collection, l.source_id, coalesce(g.original_id, l.target_id), {newer} FROM {ledger} l"
        " LEFT JOIN {given_ids} g ON g.collection = l.collection AND g.target_id = l.target_id"
        " WHERE l.collection = ANY(%s) AND l.outcome = 'loaded'"
        # A residue that starts with "raw" holds the whole document, which may have two `_id` fields.
        " AND (l.residue IS NULL OR substr(l.residue, 5, 5) <> '\\x0572617700'::bytea)",
        newer=own_transactions.written_after_run(scope.namespace, "l"),
    )
    found: dict[str, list[Difference]] = {name: [] for name in names}
    with scope.connection.transaction(), scope.connection.cursor("ids", binary=True) as cursor:
        cursor.itersize = FETCH_SIZE
        for name, source_id, target_id, newer in cursor.execute(query, (names,)):
            fault: Fault = "target" if newer else "mapper"
            found[name] += _compare_id(scope.mappings[name], bytes(source_id), target_id, fault)
    return found


def _compare_id(mapping: Collection, source_id: bytes, target_id: str, fault: Fault) -> Iterator[Difference]:
    value, named = decode(source_id).get("_id"), mapping.key.collection
    uuid = ids.uuid_of(named, value, objectid=True)
    expected = ids.uuid_text(uuid)
    row = f"{mapping.name} {format_id(source_id)}"
    if expected != target_id:
        yield Difference(row=row, column="target_id", expected=expected, actual=target_id, fault=fault)
    elif isinstance(value, ObjectId) and ids.uuid_to_objectid(uuid) != (value.binary, ids.collection_tag(named)):
        yield Difference(row=row, column="target_id", actual=target_id, note="cannot be converted back to the ObjectId")
