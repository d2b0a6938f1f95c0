"""Counts the rows of elements: those that belong to rows of loaded documents."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Set

from psycopg import sql

from migrator.mapping.children import Children
from migrator.mapping.collection import Collection
from migrator.postgres.table_names import name_of
from migrator.rows.children import chain_joins, chain_to
from migrator.state.records import Connection, Namespace
from migrator.state.row_keys import parent_of


def count_elements(
    connection: Connection, namespace: Namespace, mappings: Mapping[str, Collection], created: Set[str]
) -> dict[str, int]:
    """Return table → number of rows of elements. `created`: the tables of the migration, whose rows are all counted.

    A join with the ledger takes as long as the load of these rows, so it is made for other tables only.
    """
    counts: dict[str, int] = defaultdict(int)
    for name, mapping in mappings.items():
        for rule in (each for child in mapping.children for each in child.with_nested()):
            table = name_of(rule.table)
            if table in created:
                counts[table] = _count(connection, sql.SQL("SELECT count(*) FROM {}").format(namespace.table(table)))
            else:
                counts[table] += _count(connection, _of_loaded(namespace, mapping, rule), name)
    return dict(counts)


def _of_loaded(namespace: Namespace, mapping: Collection, rule: Children) -> sql.Composed:
    chain = chain_to(mapping.children, rule)
    return namespace.sql(
        "SELECT count(*) FROM {table} {alias}{joins} JOIN {ledger} l ON l.target_id = {parent}"
        " WHERE l.collection = %s AND l.outcome = 'loaded'",
        table=namespace.table(name_of(rule.table)),
        alias=sql.Identifier(f"c{len(chain) - 1}"),
        joins=chain_joins(namespace, chain),
        parent=parent_of(chain[0]).text("c0"),
    )


def _count(connection: Connection, query: sql.Composed, *values: str) -> int:
    found = connection.execute(query, values).fetchone()
    assert found is not None  # an aggregate returns a row
    return int(found[0])
