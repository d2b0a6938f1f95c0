"""What must hold in the target whatever the source says: references, tenants, trees, the catalog."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from psycopg import sql
from sqlalchemy import ForeignKeyConstraint, MetaData, Table

from migrator import catalog, comparison
from migrator.checks.base import EXAMPLES, Check
from migrator.journal import Connection, Place
from migrator.mapping import Collection, Tree
from migrator.tree import heads_of_rings


def check_catalog(connection: Connection, metadata: MetaData, rls: bool) -> Check:
    """Tables, columns, constraints, indexes, enums and policies equal what the schema says."""
    wanted = catalog.read_wanted(connection, metadata, rls)
    different = comparison.compare(catalog.read(connection), wanted)
    missing = [each for each in different if each.wanted is not None]
    examples = [str(each) for each in missing[:EXAMPLES]]
    return Check(
        check="catalog", table="", expected="as defined", actual=f"{len(missing)} differences",
        differences=len(missing), examples=examples,
    )  # fmt: skip


def check_foreign_keys(connection: Connection, place: Place, metadata: MetaData) -> Iterator[Check]:
    """Every reference leads to a row: by anti-join, whether or not there is a constraint that says so."""
    for table in metadata.sorted_tables:
        for constraint in table.foreign_key_constraints:
            yield _foreign_key(connection, place, table, constraint)


def _foreign_key(connection: Connection, place: Place, table: Table, constraint: ForeignKeyConstraint) -> Check:
    column, other = constraint.elements[0].parent, constraint.elements[0].column
    query = sql.SQL(
        "SELECT count(*), (array_agg(c.id::text ORDER BY c.id))[:%s] FROM {child} c LEFT JOIN {parent} p"
        " ON p.{there} = c.{here} WHERE c.{here} IS NOT NULL AND p.{there} IS NULL"
    ).format(
        child=place.table(table.name),
        parent=place.table(other.table.name),
        here=sql.Identifier(column.name),
        there=sql.Identifier(other.name),
    )
    return _count(connection, query, "foreign key", f"{table.name}.{column.name}", (EXAMPLES,))


def check_tenants(connection: Connection, place: Place, metadata: MetaData) -> Iterator[Check]:
    """No row refers to a row of another tenant."""
    for table in metadata.sorted_tables:
        for constraint in table.foreign_key_constraints:
            other = constraint.elements[0].column.table
            if "tenant_id" not in table.c or "tenant_id" not in other.c:
                continue
            column = constraint.elements[0].parent.name
            query = sql.SQL(
                "SELECT count(*), (array_agg(c.id::text ORDER BY c.id))[:%s] FROM {child} c JOIN {parent} p"
                " ON p.id = c.{here} WHERE p.tenant_id <> c.tenant_id"
            ).format(child=place.table(table.name), parent=place.table(other.name), here=sql.Identifier(column))
            yield _count(connection, query, "tenant", f"{table.name}.{column}", (EXAMPLES,))


def _count(connection: Connection, query: sql.Composed, check: str, table: str, values: tuple[object, ...]) -> Check:
    found = connection.execute(query, values).fetchone()
    assert found is not None  # an aggregate always answers
    differences, examples = int(found[0]), found[1] or []
    return Check(check=check, table=table, expected=0, actual=differences, differences=differences, examples=examples)


def check_trees(connection: Connection, place: Place, mappings: Mapping[str, Collection]) -> Iterator[Check]:
    """A parent is in the same group as its child, and no row is its own ancestor."""
    for mapping in mappings.values():
        if mapping.tree is None:
            continue
        names = {
            "table": place.table(mapping.table.name),
            "parent": sql.Identifier(mapping.tree.parent),
            "within": sql.Identifier(mapping.tree.within),
        }
        query = sql.SQL(
            "SELECT count(*), (array_agg(c.id::text ORDER BY c.id))[:%s] FROM {table} c JOIN {table} p"
            " ON p.id = c.{parent} WHERE p.{within} <> c.{within} OR p.id = c.id"
        ).format(**names)
        yield _count(connection, query, "tree: parents", mapping.table.name, (EXAMPLES,))
        yield _rings(connection, place, mapping, mapping.tree)


def _rings(connection: Connection, place: Place, mapping: Collection, tree: Tree) -> Check:
    # Only a ring has an edge on which the parent is not older; such edges are few, so the groups they are in are.
    query = sql.SQL(
        # Ranks, not the values: PostgreSQL has dates that Python has not.
        "SELECT m.id, m.{parent}, rank() OVER (ORDER BY m.{order}) FROM {table} m"
        " WHERE m.{within} IN (SELECT c.{within} FROM {table} c"
        " JOIN {table} p ON p.id = c.{parent} WHERE (p.{order}, p.id) >= (c.{order}, c.id))"
    ).format(
        table=place.table(mapping.table.name),
        parent=sql.Identifier(tree.parent),
        within=sql.Identifier(tree.within),
        order=sql.Identifier(tree.order),
    )
    edges = [(row[0].bytes, row[1] and row[1].bytes, row[2]) for row in connection.execute(query)]
    heads = heads_of_rings(edges)
    examples = [head.hex() for head in heads[:EXAMPLES]]
    return Check(
        check="tree: rings", table=mapping.table.name, expected=0, actual=len(heads),
        differences=len(heads), examples=examples,
    )  # fmt: skip
