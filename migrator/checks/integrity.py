"""What must hold in the target whatever the source says: references, tenants, trees, ids."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from bson import ObjectId
from psycopg import sql
from sqlalchemy import ForeignKeyConstraint, Table

from migrator import ids
from migrator.checks import faults
from migrator.checks.base import EXAMPLES, Check, Difference, Fault, Scope, judged
from migrator.mapping import Collection, Tree
from migrator.settling.tree import heads_of_rings
from migrator.translation.exact import decode, show_id
from migrator.translation.rows import kind_of_column


def check_foreign_keys(scope: Scope) -> Iterator[Check]:
    """Every reference leads to a row: by anti-join, whether or not there is a constraint that says so."""
    for table in scope.tables:
        for constraint in table.foreign_key_constraints:
            if constraint.elements[0].column.table.name not in scope.unusable:
                yield _foreign_key(scope, table, constraint)


def _foreign_key(scope: Scope, table: Table, constraint: ForeignKeyConstraint) -> Check:
    column, other = constraint.elements[0].parent, constraint.elements[0].column
    joined = sql.SQL(
        "FROM {child} c LEFT JOIN {parent} p ON p.{there} = c.{here} WHERE c.{here} IS NOT NULL AND p.{there} IS NULL"
    ).format(
        child=scope.place.table(table.name),
        parent=scope.place.table(other.table.name),
        here=sql.Identifier(column.name),
        there=sql.Identifier(other.name),
    )
    return _edges(scope, "foreign key", table, column.name, joined, f"no such row in {other.table.name}")


def check_tenants(scope: Scope) -> Iterator[Check]:
    """No row refers to a row of another tenant."""
    for table in scope.tables:
        for constraint in table.foreign_key_constraints:
            other = constraint.elements[0].column.table
            if other.name in scope.unusable or "tenant_id" not in table.c or "tenant_id" not in other.c:
                continue
            column = constraint.elements[0].parent.name
            joined = sql.SQL(
                "FROM {child} c JOIN {parent} p ON p.id = c.{here} WHERE p.tenant_id <> c.tenant_id"
            ).format(
                child=scope.place.table(table.name),
                parent=scope.place.table(other.name),
                here=sql.Identifier(column),
            )
            yield _edges(scope, "tenant", table, column, joined, f"that row of {other.name} is another tenant's")


def _edges(scope: Scope, check: str, table: Table, column: str, joined: sql.Composed, note: str) -> Check:
    """The rows `c` that a query finds, with where they lead."""
    query = sql.SQL("SELECT count(*) OVER (), c.id::text, c.{here}::text, {newer} {joined} ORDER BY 2 LIMIT {most}")
    found = scope.connection.execute(
        query.format(
            here=sql.Identifier(column),
            newer=faults.newer(scope.place, "c"),
            joined=joined,
            most=sql.Literal(EXAMPLES),
        )
    ).fetchall()
    told = [
        Difference(row=row, column=column, actual=there, note=note, fault="target" if touched else "")
        for _, row, there, touched in found
    ]
    return judged(check, f"{table.name}.{column}", told, int(found[0][0]) if found else 0, expected=0)


def check_trees(scope: Scope) -> Iterator[Check]:
    """A parent is in the same group as its child, no row is its own ancestor, every group with rows has a root."""
    for mapping in scope.chosen.values():
        if mapping.tree is not None:
            yield _parents(scope, mapping, mapping.tree)
            yield _rings(scope, mapping, mapping.tree)
            yield _roots(scope, mapping, mapping.tree)


def _names(scope: Scope, mapping: Collection, tree: Tree) -> dict[str, Any]:
    return {
        "table": scope.place.table(mapping.table.name),
        "parent": sql.Identifier(tree.parent),
        "within": sql.Identifier(tree.within),
        "order": sql.Identifier(tree.order),
        "newer": faults.newer(scope.place, "m"),
    }


def _parents(scope: Scope, mapping: Collection, tree: Tree) -> Check:
    joined = sql.SQL(
        "FROM {table} c JOIN {table} p ON p.id = c.{parent} WHERE p.{within} <> c.{within} OR p.id = c.id"
    ).format(**_names(scope, mapping, tree))
    note = f"that row has another {tree.within}, or is the row itself"
    check = _edges(scope, "tree: parents", mapping.table, tree.parent, joined, note)
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
    heads = heads_of_rings([(row[0].bytes, row[1] and row[1].bytes, row[2]) for row in rows])
    told = {row[0].bytes: row for row in rows}
    note = "the row is its own ancestor"
    found = [
        Difference(
            row=str(told[head][0]), column=tree.parent, actual=str(told[head][1]), note=note,
            fault="target" if told[head][3] else "",
        )
        for head in heads
    ]  # fmt: skip
    return judged("tree: rings", mapping.table.name, found, expected=0, actual=len(heads))


def _roots(scope: Scope, mapping: Collection, tree: Tree) -> Check:
    query = sql.SQL(
        "SELECT {within}::text FROM {table} WHERE {within} IS NOT NULL GROUP BY {within}"
        " HAVING bool_and({parent} IS NOT NULL) ORDER BY 1"
    ).format(**_names(scope, mapping, tree))
    note = f"no row of this {tree.within} is a root"
    found = [Difference(row=row, column=tree.parent, note=note) for (row,) in scope.connection.execute(query)]
    return judged("tree: roots", mapping.table.name, found, expected=0, actual=len(found))


def check_ids(scope: Scope) -> Iterator[Check]:
    """Ids that come from `_id`: the UUID is that of the ObjectId, and gives it back."""
    for name, mapping in scope.chosen.items():
        given = any(mapping.key.column in rule.columns for rule in mapping.rules)  # by a rule instead
        if mapping.key.path == "_id" and not given and kind_of_column(mapping.table.c[mapping.key.column]) == "uuid":
            found = list(_ids(scope, name))
            yield judged("ids", mapping.table.name, found)


def _ids(scope: Scope, name: str) -> Iterator[Difference]:
    query = scope.place.sql(
        "SELECT l.source_id, l.target_id, {newer} FROM {ledger} l WHERE l.collection = %s AND l.outcome = 'loaded'"
        # A document that only its bytes give back may have two fields _id.
        " AND (l.residue IS NULL OR substr(l.residue, 5, 5) <> '\\x0572617700'::bytea)",
        newer=faults.newer(scope.place, "l"),
    )
    tag = ids.collection_tag(name)
    for source_id, target_id, touched in scope.connection.execute(query, (name,)):
        value = decode(bytes(source_id)).get("_id")
        wanted = ids.uuid_of(name, value, objectid=True)
        fault: Fault = "target" if touched else "mapper"
        row = f"{name} {show_id(bytes(source_id))}"
        if ids.uuid_text(wanted) != target_id:
            made = ids.uuid_text(wanted)
            yield Difference(row=row, column="target_id", expected=made, actual=target_id, fault=fault)
        elif isinstance(value, ObjectId) and ids.uuid_to_objectid(wanted) != (value.binary, tag):
            yield Difference(row=row, column="target_id", actual=target_id, note="does not give the ObjectId back")
