"""Compares the rows of embedded documents with those of the scratch run: by the checksum of each parent's rows.

A difference names the key of the parent and, in brackets, the place of the element.
"""

from __future__ import annotations

from psycopg import sql

from migrator.formatting import format_count
from migrator.mapping.children import Children, child_columns
from migrator.mapping.collection import Collection
from migrator.postgres.column_kinds import is_exact, kind_of_column
from migrator.postgres.table_names import name_of
from migrator.rows.children import chain_joins, chain_to
from migrator.state import own_transactions
from migrator.state.records import Namespace
from migrator.state.row_keys import parent_of
from migrator.verification.model import (
    EXAMPLES,
    MISSING,
    NOT_PRODUCED,
    Check,
    Difference,
    Differences,
    Fault,
    Scope,
    count_differing,
    make_check,
)
from migrator.verification.row_diff import describe_column


def compare_elements(scope: Scope, scratch: Namespace, collection: Collection, rule: Children, *, every: bool) -> Check:
    """Compare one table of elements. Without `every`, only rows that belong to rows of loaded documents."""
    sides = {
        "actual": _checksums(scope.namespace, collection, rule, every=every),
        "expected": _checksums(scratch, collection, rule, every=True),
    }
    query = sql.SQL(
        "SELECT coalesce(a.owner, b.owner)::text, count(*) OVER ()"
        " FROM ({actual}) a FULL JOIN ({expected}) b ON b.owner = a.owner"
        " WHERE a.rows IS DISTINCT FROM b.rows OR a.checksum IS DISTINCT FROM b.checksum ORDER BY 1 LIMIT {most}"
    )
    owners = scope.connection.execute(query.format(**sides, most=sql.Literal(EXAMPLES))).fetchall()
    count = scope.connection.execute(sql.SQL("SELECT sum(rows) FROM ({expected}) b").format(**sides)).fetchone()
    goal = f"{format_count(int(count[0] or 0) if count else 0, 'rows')} equal to the source"
    if not owners:
        return make_check("rows", name_of(rule.table), Differences(total=0, first=[]), expected=goal, actual=goal)
    total = int(owners[0][1])
    found = _read_differences(scope, scratch, rule, [owner for owner, _ in owners])
    actual = f"{count_differing(total, 'parent')} from the source"
    return make_check(
        "rows", name_of(rule.table), Differences(total=total, first=found[:EXAMPLES]), expected=goal, actual=actual
    )


def _checksums(namespace: Namespace, collection: Collection, rule: Children, *, every: bool) -> sql.Composed:
    """Compose `SELECT owner, rows, checksum`: the number and checksum of the rows of each parent."""
    chain = chain_to(collection.children, rule)
    alias = f"c{len(chain) - 1}"
    loaded = namespace.sql(
        " WHERE EXISTS (SELECT FROM {ledger} l WHERE l.collection = {name} AND l.outcome = 'loaded'"
        " AND l.target_id = {parent})",
        name=sql.Literal(collection.name),
        parent=parent_of(chain[0]).text("c0"),
    )
    return sql.SQL(
        "SELECT {owner} AS owner, count(*) AS rows, bit_xor(hash_record_extended(ROW({columns}), 0)) AS checksum"
        " FROM {table} {alias}{joins}{loaded} GROUP BY 1"
    ).format(
        owner=parent_of(rule).value(alias),
        columns=sql.SQL(", ").join(_comparable(alias, rule)),
        table=namespace.table(name_of(rule.table)),
        alias=sql.Identifier(alias),
        joins=sql.SQL("") if every else chain_joins(namespace, chain),
        loaded=sql.SQL("") if every else loaded,
    )


def _comparable(alias: str, rule: Children) -> list[sql.Composable]:
    return [
        sql.SQL("{}{}").format(
            sql.Identifier(alias, column.name), sql.SQL("" if is_exact(kind_of_column(column)) else "::text")
        )
        for column in child_columns(rule)
    ]


def _read_differences(scope: Scope, scratch: Namespace, rule: Children, owners: list[str]) -> list[Difference]:
    """Return the differences of the rows of some parents, in their order."""
    place = sql.SQL("0") if rule.position is None else sql.Identifier(rule.position)
    query = sql.SQL(
        "SELECT coalesce(r.owner, s.owner), coalesce(r.place, s.place), r.owner IS NULL, s.owner IS NULL, r.newer,"
        " r.texts, s.texts FROM ({actual}) r FULL JOIN ({expected}) s ON s.owner = r.owner AND s.place = r.place"
        " WHERE r.texts IS DISTINCT FROM s.texts ORDER BY 1, 2 LIMIT {most}"
    )
    columns = child_columns(rule)

    def rows_of(namespace: Namespace, newer: sql.Composable) -> sql.Composed:
        return sql.SQL(
            "SELECT {parent} AS owner, {place} AS place, {newer} AS newer, ARRAY[{texts}] AS texts"
            " FROM {table} t WHERE {parent} = ANY(%(owners)s)"
        ).format(
            parent=parent_of(rule).text("t"),
            place=place,
            newer=newer,
            texts=sql.SQL(", ").join(sql.SQL("{}::text").format(sql.Identifier("t", each.name)) for each in columns),
            table=namespace.table(name_of(rule.table)),
        )

    found: list[Difference] = []
    rows = scope.connection.execute(
        query.format(
            actual=rows_of(scope.namespace, own_transactions.written_after_run(scope.namespace, "t")),
            expected=rows_of(scratch, sql.SQL("false")),
            most=sql.Literal(EXAMPLES),
        ),
        {"owners": owners},
    )
    for owner, number, missing, unexpected, newer, actual, expected in rows:
        row = f"{owner}[{number}]"
        fault: Fault = "target" if newer or missing else ""
        if missing or unexpected:
            found.append(Difference(row=row, note=MISSING if missing else NOT_PRODUCED, fault=fault))
            continue
        found += [
            describe_column(column, row, wanted, value, scope.show, fault)
            for column, value, wanted in zip(columns, actual, expected, strict=True)
            if value != wanted
        ]
    return found
