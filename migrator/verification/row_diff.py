"""Compares every row of the target with the row that the source gives now, inside PostgreSQL.

Checksums of ranges are compared first, then the rows of the ranges that differ. A range is half-open, by primary key.
If the number and the checksum of a range are equal on both sides, its rows are equal. The checksum combines 64 bits of
each row's hash with XOR; the primary key makes every row different.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from psycopg import sql

from migrator.formatting import format_count
from migrator.mapping.collection import Collection
from migrator.postgres.column_kinds import is_exact, kind_of_column
from migrator.postgres.table_names import name_of
from migrator.state import own_transactions
from migrator.state.records import Connection, Namespace
from migrator.state.row_keys import key_of
from migrator.verification import attribution
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
    passed_check,
)
from migrator.verification.value_diff import describe_pair, kind_of_value

RANGE_ROWS = 4000  # approximate
SAMPLE_PERCENT = 5  # of the table's pages, read to choose the bounds of ranges
MAX_INDEXED_RANGES = 8  # up to this number, ranges are read by index; above it, the whole table is read


@dataclass(frozen=True, slots=True, kw_only=True)
class RangeChecksums:
    """Number and checksum of the target's rows in each range.

    With `every`, they cover all rows of the table; otherwise only rows of loaded documents.
    """

    bounds: list[Any]
    every: bool
    ranges: dict[int, tuple[int, int]]


def checksum_ranges(scope: Scope, mapping: Collection, every: bool) -> RangeChecksums:
    """Compute the checksums of one table of the target."""
    bounds = _choose_bounds(scope.connection, scope.namespace, mapping)
    ranges = _checksum(scope.connection, scope.namespace, mapping, bounds, every)
    return RangeChecksums(bounds=bounds, every=every, ranges=ranges)


def compare_table(scope: Scope, scratch: Namespace, mapping: Collection, here: RangeChecksums) -> list[Check]:
    """Compare one table of the target, whose checksums are `here`, with the same table of the scratch run."""
    actual, expected = here.ranges, _checksum(scope.connection, scratch, mapping, here.bounds, here.every)
    if here.every and _count(actual) != _count(expected):
        # The scratch tables of an interrupted verification may contain rows of other clients.
        return compare_table(scope, scratch, mapping, checksum_ranges(scope, mapping, every=False))
    table = scope.label_of(mapping)
    ranges = sorted(each for each in actual.keys() | expected.keys() if actual.get(each) != expected.get(each))
    goal = f"{format_count(_count(expected), 'rows')} equal to the source"
    if not ranges:
        return [passed_check("rows", table, goal)]
    rows = _read_differing_rows(scope, scratch, mapping, here, ranges)
    total = int(rows[0][0]) if rows else 0
    found = Differences(total=total, first=_describe_rows(scope, scratch, mapping, rows)[:EXAMPLES])
    result = f"{count_differing(total, 'row')} from the source" if total else goal
    return [make_check("rows", table, found, expected=goal, actual=result)]


def compared_columns(mapping: Collection) -> list[sa.Column[Any]]:
    """Return the columns whose values come from documents only. `vector_diff` compares those that are filled later."""
    return [column for column in mapping.columns if column.name not in mapping.filled_later]


def _count(ranges: dict[int, tuple[int, int]]) -> int:
    return sum(count for count, _ in ranges.values())


def _choose_bounds(connection: Connection, namespace: Namespace, mapping: Collection) -> list[Any]:
    """Return the keys at which ranges begin. The first range begins before all keys."""
    # A sample of pages is enough: the number of rows in a range matters little.
    query = sql.SQL(
        "SELECT k FROM (SELECT {key} AS k, row_number() OVER (ORDER BY {key}) AS n FROM {table}"
        " TABLESAMPLE SYSTEM ({percent}) REPEATABLE (1)) t WHERE n % {step} = 0 ORDER BY k"
    ).format(
        key=key_of(mapping).value(), table=namespace.table(name_of(mapping.table)),
        percent=sql.Literal(SAMPLE_PERCENT), step=sql.Literal(RANGE_ROWS * SAMPLE_PERCENT // 100),
    )  # fmt: skip
    return [row[0] for row in connection.execute(query)]


def _rows(namespace: Namespace, mapping: Collection, every: bool) -> sql.Composed:
    """Return `FROM … t WHERE …`: all rows, or the rows of loaded documents."""
    query = sql.SQL("FROM {} t").format(namespace.table(name_of(mapping.table)))
    if every:
        return query + sql.SQL(" WHERE true")
    return query + namespace.sql(
        " WHERE EXISTS (SELECT FROM {ledger} l WHERE l.collection = {name} AND l.outcome = 'loaded'"
        " AND l.target_id = {key})",
        name=sql.Literal(mapping.name),
        key=key_of(mapping).text("t"),
    )


def _checksum(
    connection: Connection, namespace: Namespace, mapping: Collection, bounds: list[Any], every: bool
) -> dict[int, tuple[int, int]]:
    """Return the number and the checksum of the rows in each range."""
    # OFFSET 0 makes PostgreSQL group two numbers per row. Without it, it sorts complete rows.
    query = sql.SQL(
        "SELECT n, count(*), bit_xor(h) FROM (SELECT width_bucket({key}, %s::{type}[]) AS n,"
        " hash_record_extended(ROW({columns}), 0) AS h {rows} OFFSET 0) hashed GROUP BY 1"
    ).format(
        key=key_of(mapping).value("t"),
        type=key_of(mapping).type,
        columns=sql.SQL(", ").join(_comparable("t", column) for column in compared_columns(mapping)),
        rows=_rows(namespace, mapping, every),
    )
    return {number: (count, checksum) for number, count, checksum in connection.execute(query, (bounds,))}


def _comparable(side: str, column: sa.Column[Any]) -> sql.Composed:
    """Return an expression that is equal only for identical values."""
    cast = sql.SQL("" if is_exact(kind_of_column(column)) else "::text")
    return sql.SQL("{}{}").format(sql.Identifier(side, column.name), cast)


def _read_differing_rows(
    scope: Scope, scratch: Namespace, mapping: Collection, sums: RangeChecksums, ranges: list[int]
) -> list[tuple[Any, ...]]:
    """Read the first rows that differ.

    Returns tuples: number of all differing rows, key, missing, unexpected, written after the run, names of the columns
    that differ, their values in the target, their values from the source. The last three are arrays with NULL for
    columns that do not differ.
    """
    key = key_of(mapping)
    columns = [column for column in compared_columns(mapping) if column.name not in key.columns]
    differs = [
        sql.SQL("{} IS DISTINCT FROM {}").format(*(_comparable(side, column) for side in "rs")) for column in columns
    ]

    def if_different(values: list[sql.Composed]) -> sql.Composed:
        picked = (sql.SQL("CASE WHEN {} THEN {} END").format(*pair) for pair in zip(differs, values, strict=True))
        return sql.SQL("ARRAY[{}]::text[]").format(sql.SQL(", ").join(picked))

    actual, expected = (
        [sql.SQL("{}::text").format(sql.Identifier(side, column.name)) for column in columns] for side in "rs"
    )
    query = sql.SQL(
        "SELECT count(*) OVER (), coalesce(r.row_key, s.row_key)::text, r.row_key IS NULL, s.row_key IS NULL,"
        " r.newer, {names}, {actual}, {expected}"
        " FROM (SELECT t.*, {key} AS row_key, {newer} AS newer {target}{within}) r"
        " FULL JOIN (SELECT t.*, {key} AS row_key {scratch}{within}) s ON s.row_key = r.row_key"
        " WHERE r.row_key IS NULL OR s.row_key IS NULL OR {different} ORDER BY 2 LIMIT %(most)s"
    ).format(
        key=key.value("t"),
        names=if_different([sql.SQL("{}").format(sql.Literal(column.name)) for column in columns]),
        actual=if_different(actual),
        expected=if_different(expected),
        newer=own_transactions.written_after_run(scope.namespace, "t"),
        target=_rows(scope.namespace, mapping, sums.every),
        scratch=_rows(scratch, mapping, sums.every),
        within=_within(mapping, sums.bounds, ranges),
        different=sql.SQL(" OR ").join(differs),
    )
    return scope.connection.execute(query, {"most": EXAMPLES}).fetchall()


def _within(mapping: Collection, bounds: list[Any], ranges: list[int]) -> sql.Composable:
    """Return the SQL condition that a key is in one of the ranges; empty if an index would not help."""
    if len(ranges) > MAX_INDEXED_RANGES or not bounds:
        return sql.SQL("")
    key = key_of(mapping).value("t")
    parts = []
    for number in ranges:
        ends = [sql.SQL("{} >= {}").format(key, sql.Literal(bounds[number - 1]))] if number else []
        ends += [sql.SQL("{} < {}").format(key, sql.Literal(bounds[number]))] if number < len(bounds) else []
        parts.append(sql.SQL(" AND ").join(ends))
    return sql.SQL(" AND ({})").format(sql.SQL(" OR ").join(parts))


def _describe_rows(
    scope: Scope, scratch: Namespace, mapping: Collection, rows: list[tuple[Any, ...]]
) -> list[Difference]:
    newer = [row[1] for row in rows if row[4]]
    causes = attribution.attribute_rows(scope, scratch, mapping, [row[1] for row in rows], newer)
    found: list[Difference] = []
    for _, key, missing, unexpected, _, names, actual, expected in rows:
        if missing or unexpected:
            note = MISSING if missing else NOT_PRODUCED
            found.append(Difference(row=key, note=note, fault=causes[key]))
            continue
        found += [
            describe_column(mapping.table.c[name], key, wanted, value, scope.show, causes[key])
            for name, value, wanted in zip(names, actual, expected, strict=True)
            if name is not None
        ]
    return found


def describe_column(
    column: sa.Column[Any], row: str, expected: str | None, actual: str | None, show: bool, fault: Fault
) -> Difference:
    """Return the difference of one column of a row, whose values are PostgreSQL's texts."""
    pair = describe_pair(kind_of_value(column), expected, actual, show)
    return Difference(
        row=row, column=column.name, expected=pair.expected, actual=pair.actual, note=pair.note, fault=fault
    )
