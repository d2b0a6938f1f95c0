"""Compares the vectors that the run loaded from the source with those that the source gives now, bit by bit.

Rows without a vector in the scratch run got theirs from the stage embed: `embeddings` checks those. Not here: the other
columns (`row_diff`), which need no column filled later.
"""

from __future__ import annotations

from collections.abc import Iterator

import sqlalchemy as sa
from psycopg import sql

from migrator.formatting import format_count
from migrator.mapping.collection import Collection
from migrator.postgres.column_kinds import kind_of_column
from migrator.postgres.table_names import name_of
from migrator.state import own_transactions
from migrator.state.records import Namespace
from migrator.verification import attribution
from migrator.verification.model import EXAMPLES, Check, Difference, Differences, Scope, count_differing, make_check


def compare_vectors(scope: Scope, scratch: Namespace, mapping: Collection) -> Iterator[Check]:
    """Compare the vectors of one table with those of the scratch run. There is no check if the source has none.

    Yields one check per column of vectors that a later stage fills where documents have none.
    """
    for name in sorted(mapping.filled_later):
        column = mapping.table.c[name]
        expected = _count(scope, scratch, column) if kind_of_column(column) == "vector" else 0
        if expected:
            yield _compare_column(scope, scratch, mapping, column, expected)


def _count(scope: Scope, scratch: Namespace, column: sa.Column[object]) -> int:
    query = sql.SQL("SELECT count({}) FROM {}").format(
        sql.Identifier(column.name), scratch.table(name_of(column.table))
    )  # fmt: skip
    found = scope.connection.execute(query).fetchone()
    assert found is not None  # an aggregate returns a row
    return int(found[0])


def _compare_column(
    scope: Scope, scratch: Namespace, mapping: Collection, column: sa.Column[object], expected: int
) -> Check:
    # Not pgvector's operators: they may be in a schema outside the search path, and -0 equals 0 for them.
    query = sql.SQL(
        "SELECT count(*) OVER (), t.{key}::text, t.{vector} IS NULL, {newer} FROM {scratch} s JOIN {table} t"
        " ON t.{key} = s.{key} WHERE s.{vector} IS NOT NULL"
        " AND array_send(t.{vector}::real[]) IS DISTINCT FROM array_send(s.{vector}::real[]) ORDER BY 2 LIMIT %s"
    ).format(
        key=sql.Identifier(mapping.key.column),
        vector=sql.Identifier(column.name),
        newer=own_transactions.written_after_run(scope.namespace, "t"),
        scratch=scratch.table(name_of(column.table)),
        table=scope.namespace.table(name_of(column.table)),
    )
    rows = scope.connection.execute(query, (EXAMPLES,)).fetchall()
    causes = attribution.attribute_rows(
        scope, scratch, mapping, [row[1] for row in rows], [row[1] for row in rows if row[3]]
    )
    found = [
        Difference(
            row=key, column=column.name, note="missing in the target" if missing else "another vector than the source",
            fault=causes[key],
        )
        for _, key, missing, _ in rows
    ]  # fmt: skip
    total = int(rows[0][0]) if rows else 0
    goal = f"{format_count(expected, 'vectors')} equal to the source"
    actual = f"{count_differing(total, 'vector')} from the source" if total else goal
    return make_check(
        "vectors: source", name_of(column.table), Differences(total=total, first=found), expected=goal, actual=actual
    )
