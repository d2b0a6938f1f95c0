"""What must hold in the target whatever the source says: references, tenants, trees, ids."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from bson import ObjectId
from psycopg import sql
from sqlalchemy import Table

from migrator import ids
from migrator.documents.codec import decode, format_id
from migrator.mapping.collection import Collection, Tree
from migrator.postgres.copy_format import kind_of_column
from migrator.reconciliation.trees import find_cycle_heads
from migrator.state import own_transactions
from migrator.verification.model import EXAMPLES, Check, Difference, Fault, Scope, judged
from migrator.verification.prescan import PARENTS, RINGS, Edge, Prescan, edges_of, orphans, strangers

ROOTS = "tree: roots"
AT_ONCE = 5000  # entries of the ledger


def check_foreign_keys(scope: Scope, survey: Prescan) -> Iterator[Check]:
    """Every reference leads to a row: by anti-join, whether or not there is a constraint that says so."""
    for table in scope.tables:
        for edge in edges_of(scope, table):
            joined = sql.SQL(
                "FROM {child} c LEFT JOIN {parent} p ON p.{there} = c.{here}"
                " WHERE c.{here} IS NOT NULL AND p.{there} IS NULL"
            ).format(**_of_edge(scope, table, edge))
            note = f"no such row in {edge.other.name}"
            clean = survey.is_clean(table, orphans(edge.here))
            yield _edges(scope, "foreign key", table, edge.here, None if clean else joined, note)


def check_tenants(scope: Scope, survey: Prescan) -> Iterator[Check]:
    """No row refers to a row of another tenant."""
    for table in scope.tables:
        for edge in edges_of(scope, table):
            if "tenant_id" not in table.c or "tenant_id" not in edge.other.c:
                continue
            joined = sql.SQL(
                "FROM {child} c JOIN {parent} p ON p.{there} = c.{here} WHERE p.tenant_id <> c.tenant_id"
            ).format(**_of_edge(scope, table, edge))
            note = f"that row of {edge.other.name} is another tenant's"
            clean = survey.is_clean(table, strangers(edge.here))
            yield _edges(scope, "tenant", table, edge.here, None if clean else joined, note)


def _of_edge(scope: Scope, table: Table, edge: Edge) -> dict[str, sql.Composable]:
    return {
        "child": scope.namespace.table(table.name),
        "parent": scope.namespace.table(edge.other.name),
        "here": sql.Identifier(edge.here),
        "there": sql.Identifier(edge.there),
    }


def _edges(scope: Scope, check: str, table: Table, column: str, joined: sql.Composed | None, note: str) -> Check:
    """The rows `c` that a query finds, with where they lead. None: there are none."""
    if joined is None:
        return judged(check, f"{table.name}.{column}", [], expected=0)
    query = sql.SQL("SELECT count(*) OVER (), c.id::text, c.{here}::text, {newer} {joined} ORDER BY 2 LIMIT {most}")
    found = scope.connection.execute(
        query.format(
            here=sql.Identifier(column),
            newer=own_transactions.written_after_run(scope.namespace, "c"),
            joined=joined,
            most=sql.Literal(EXAMPLES),
        )
    ).fetchall()
    told = [
        Difference(row=row, column=column, actual=there, note=note, fault="target" if touched else "")
        for _, row, there, touched in found
    ]
    return judged(check, f"{table.name}.{column}", told, int(found[0][0]) if found else 0, expected=0)


def check_trees(scope: Scope, survey: Prescan) -> Iterator[Check]:
    """A parent is in the same group as its child, no row is its own ancestor, every group with rows has a root."""
    for mapping in scope.chosen.values():
        if mapping.tree is not None:
            wrong = survey.tables[mapping.table.name].doubtful
            # Where every parent is there, in its child's group, and older, each group has a row without a parent.
            rootless = wrong & {PARENTS, RINGS, orphans(mapping.tree.parent)}
            yield _parents(scope, mapping, mapping.tree) if PARENTS in wrong else _sound(PARENTS, mapping)
            yield _rings(scope, mapping, mapping.tree) if RINGS in wrong else _sound(RINGS, mapping)
            yield _roots(scope, mapping, mapping.tree) if rootless else _sound(ROOTS, mapping)


def _sound(check: str, mapping: Collection) -> Check:
    return judged(check, mapping.table.name, [], expected=0, actual=0)


def _names(scope: Scope, mapping: Collection, tree: Tree) -> dict[str, Any]:
    return {
        "table": scope.namespace.table(mapping.table.name),
        "parent": sql.Identifier(tree.parent),
        "within": sql.Identifier(tree.within),
        "order": sql.Identifier(tree.order),
        "newer": own_transactions.written_after_run(scope.namespace, "m"),
    }


def _parents(scope: Scope, mapping: Collection, tree: Tree) -> Check:
    joined = sql.SQL(
        "FROM {table} c JOIN {table} p ON p.id = c.{parent} WHERE p.{within} <> c.{within} OR p.id = c.id"
    ).format(**_names(scope, mapping, tree))
    note = f"that row has another {tree.within}, or is the row itself"
    check = _edges(scope, PARENTS, mapping.table, tree.parent, joined, note)
    return judged(check.check, mapping.table.name, check.found, check.differences, expected=0, actual=check.differences)


def _rings(scope: Scope, mapping: Collection, tree: Tree) -> Check:
    # Only a ring has an edge on which the parent is not older; such edges are few, so the groups they are in are.
    query = sql.SQL(
        # Ranks, not the values: PostgreSQL has dates that Python has not.
        "SELECT m.id, m.{parent}, rank() OVER (ORDER BY m.{order}), {newer} FROM {table} m"
        " WHERE m.{within} IN (SELECT c.{within} FROM {table} c"
        " JOIN {table} p ON p.id = c.{parent} WHERE (p.{order}, p.id) >= (c.{order}, c.id))"
    ).format(**_names(scope, mapping, tree))
    rows = scope.connection.execute(query).fetchall()
    heads = find_cycle_heads([(row[0].bytes, row[1] and row[1].bytes, row[2]) for row in rows])
    told = {row[0].bytes: row for row in rows}
    note = "the row is its own ancestor"
    found = [
        Difference(
            row=str(told[head][0]), column=tree.parent, actual=str(told[head][1]), note=note,
            fault="target" if told[head][3] else "",
        )
        for head in heads
    ]  # fmt: skip
    return judged(RINGS, mapping.table.name, found, expected=0, actual=len(heads))


def _roots(scope: Scope, mapping: Collection, tree: Tree) -> Check:
    query = sql.SQL(
        "SELECT {within}::text FROM {table} WHERE {within} IS NOT NULL GROUP BY {within}"
        " HAVING bool_and({parent} IS NOT NULL) ORDER BY 1"
    ).format(**_names(scope, mapping, tree))
    note = f"no row of this {tree.within} is a root"
    found = [Difference(row=row, column=tree.parent, note=note) for (row,) in scope.connection.execute(query)]
    return judged(ROOTS, mapping.table.name, found, expected=0, actual=len(found))


def check_ids(scope: Scope) -> Iterator[Check]:
    """Ids that come from `_id`: the UUID is that of the ObjectId, and gives it back."""
    asked = {name: mapping for name, mapping in scope.chosen.items() if _comes_from_objectid(mapping)}
    found = _ids(scope, list(asked))
    for name, mapping in asked.items():
        yield judged("ids", mapping.table.name, found[name])


def _comes_from_objectid(mapping: Collection) -> bool:
    given = any(mapping.key.column in rule.columns for rule in mapping.rules)  # by a rule instead
    uuid = kind_of_column(mapping.table.c[mapping.key.column]) == "uuid"
    return mapping.key.path == "_id" and not given and uuid


def _ids(scope: Scope, names: list[str]) -> dict[str, list[Difference]]:
    """By collection; of all in one pass over the ledger."""
    query = scope.namespace.sql(
        "SELECT l.collection, l.source_id, l.target_id, {newer} FROM {ledger} l"
        " WHERE l.collection = ANY(%s) AND l.outcome = 'loaded'"
        # A document that only its bytes give back may have two fields _id.
        " AND (l.residue IS NULL OR substr(l.residue, 5, 5) <> '\\x0572617700'::bytea)",
        newer=own_transactions.written_after_run(scope.namespace, "l"),
    )
    found: dict[str, list[Difference]] = {name: [] for name in names}
    with scope.connection.transaction(), scope.connection.cursor("ids", binary=True) as cursor:
        cursor.itersize = AT_ONCE
        for name, source_id, target_id, touched in cursor.execute(query, (names,)):
            found[name] += _id_differences(name, bytes(source_id), target_id, "target" if touched else "mapper")
    return found


def _id_differences(name: str, source_id: bytes, target_id: str, fault: Fault) -> Iterator[Difference]:
    value = decode(source_id).get("_id")
    wanted = ids.uuid_of(name, value, objectid=True)
    made = ids.uuid_text(wanted)
    row = f"{name} {format_id(source_id)}"
    if made != target_id:
        yield Difference(row=row, column="target_id", expected=made, actual=target_id, fault=fault)
    elif isinstance(value, ObjectId) and ids.uuid_to_objectid(wanted) != (value.binary, ids.collection_tag(name)):
        yield Difference(row=row, column="target_id", actual=target_id, note="does not give the ObjectId back")
