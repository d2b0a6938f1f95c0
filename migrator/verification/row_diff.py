"""Every row against the row that the source gives now, inside PostgreSQL: checksums of ranges, then the rows of some.

A range is half-open, by key. Where count and checksum of a range are the same on both sides (64 bits of each row's
hash, combined by XOR; a key makes each row unlike every other), its rows are; else they are compared value by value.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from psycopg import sql

from migrator.mapping.collection import Collection
from migrator.postgres.copy_format import kind_of_column
from migrator.state import own_transactions
from migrator.state.records import Connection, Namespace
from migrator.verification import attribution
from migrator.verification.model import EXAMPLES, Check, Difference, Scope, judged
from migrator.verification.value_diff import describe_pair, kind_to_tell

RANGE = 4000  # rows, about
SAMPLED = 5  # percent of the table's pages that tell where ranges begin
FEW = 8  # so many ranges are read by index; more by reading the table
AS_TEXT = frozenset({"jsonb", "vector"})  # jsonb's own equality takes 1 and 1.0 for the same; vectors have no hash


@dataclass(frozen=True, slots=True, kw_only=True)
class RangeChecksums:
    """Number and checksum of the target's rows in each range. `every`: of all rows, not only those of documents."""

    bounds: list[Any]
    every: bool
    ranges: dict[int, tuple[int, int]]


def checksum_ranges(scope: Scope, mapping: Collection, every: bool) -> RangeChecksums:
    """One table of the target."""
    bounds = _bounds(scope.connection, scope.namespace, mapping)
    ranges = _checksums(scope.connection, scope.namespace, mapping, bounds, every)
    return RangeChecksums(bounds=bounds, every=every, ranges=ranges)


def compare_table(scope: Scope, again: Namespace, mapping: Collection, here: RangeChecksums) -> list[Check]:
    """One table, of which `here` was summed up in the target."""
    one, other = here.ranges, _checksums(scope.connection, again, mapping, here.bounds, here.every)
    if here.every and _count(one) != _count(other):  # what a stopped verification left may know rows of others
        return compare_table(scope, again, mapping, checksum_ranges(scope, mapping, every=False))
    ranges = sorted(each for each in one.keys() | other.keys() if one.get(each) != other.get(each))
    rows = _count(other)
    if not ranges:
        told = f"{rows:,} rows as the source maps"
        return [judged("rows", mapping.table.name, [], expected=told, actual="the same")]
    found = _differing(scope, again, mapping, here, ranges)
    total = int(found[0][0]) if found else 0
    differences = _differences(scope, again, mapping, found)
    return [judged("rows", mapping.table.name, differences, total, expected="as the source maps")]


def compared(mapping: Collection) -> list[sa.Column[Any]]:
    """The columns that documents fill."""
    return [column for column in mapping.table.columns if column.name not in mapping.filled_later]


def _count(sums: dict[int, tuple[int, int]]) -> int:
    return sum(count for count, _ in sums.values())


def _bounds(connection: Connection, namespace: Namespace, mapping: Collection) -> list[Any]:
    """The keys at which a range begins; the first begins before all."""
    # Of some pages, not of all rows: how many rows a range has matters little.
    query = sql.SQL(
        "SELECT k FROM (SELECT {key} AS k, row_number() OVER (ORDER BY {key}) AS n FROM {table}"
        " TABLESAMPLE SYSTEM ({percent}) REPEATABLE (1)) t WHERE n % {step} = 0 ORDER BY k"
    ).format(
        key=sql.Identifier(mapping.key.column), table=namespace.table(mapping.table.name),
        percent=sql.Literal(SAMPLED), step=sql.Literal(RANGE * SAMPLED // 100),
    )  # fmt: skip
    return [row[0] for row in connection.execute(query)]


def _rows(namespace: Namespace, mapping: Collection, every: bool) -> sql.Composed:
    """`FROM … t`: the rows that documents became."""
    query = sql.SQL("FROM {} t").format(namespace.table(mapping.table.name))
    if every:
        return query + sql.SQL(" WHERE true")
    return query + namespace.sql(
        " WHERE EXISTS (SELECT FROM {ledger} l WHERE l.collection = {name} AND l.outcome = 'loaded'"
        " AND l.target_id = t.{key}::text)",
        name=sql.Literal(mapping.name),
        key=sql.Identifier(mapping.key.column),
    )


def _checksums(
    connection: Connection, namespace: Namespace, mapping: Collection, bounds: list[Any], every: bool
) -> dict[int, tuple[int, int]]:
    """Number and checksum of the rows of each range."""
    # OFFSET 0: two numbers a row are grouped. Else PostgreSQL expects many ranges, and sorts the rows, texts and all.
    query = sql.SQL(
        "SELECT n, count(*), bit_xor(h) FROM (SELECT width_bucket(t.{key}, %s::{type}[]) AS n,"
        " hash_record_extended(ROW({columns}), 0) AS h {rows} OFFSET 0) hashed GROUP BY 1"
    ).format(
        key=sql.Identifier(mapping.key.column),
        type=_type(mapping),
        columns=sql.SQL(", ").join(
            _exact("t", column.name, kind_of_column(column)) for column in mapping.table.columns
        ),
        rows=_rows(namespace, mapping, every),
    )
    return {number: (count, checksum) for number, count, checksum in connection.execute(query, (bounds,))}


def _type(mapping: Collection) -> sql.SQL:
    key = mapping.table.c[mapping.key.column]
    return sql.SQL("uuid" if kind_of_column(key) == "uuid" else "text")


def _exact(side: str, column: str, kind: str) -> sql.Composed:
    """A value in a form in which equal is the same."""
    cast = sql.SQL("::text" if kind in AS_TEXT else "")
    return sql.SQL("{}{}").format(sql.Identifier(side, column), cast)


def _differing(
    scope: Scope, again: Namespace, mapping: Collection, sums: RangeChecksums, ranges: list[int]
) -> list[tuple[Any, ...]]:
    """Of some rows that differ: how many there are in all, key, missing, unexpected, touched, then the columns that
    differ, with their values there and here."""
    columns = [column for column in compared(mapping) if column.name != mapping.key.column]
    different = [
        sql.SQL("{} IS DISTINCT FROM {}").format(*(_exact(side, c.name, kind_of_column(c)) for side in "rs"))
        for c in columns
    ]
    gone = sql.SQL("r.{key} IS NULL OR s.{key} IS NULL").format(key=sql.Identifier(mapping.key.column))

    def some(values: list[sql.Composed]) -> sql.Composed:
        picked = (sql.SQL("CASE WHEN {} THEN {} END").format(*pair) for pair in zip(different, values, strict=True))
        return sql.SQL("ARRAY[{}]::text[]").format(sql.SQL(", ").join(picked))

    sides = ([sql.SQL("{}::text").format(sql.Identifier(side, c.name)) for c in columns] for side in "rs")
    here, there = sides
    query = sql.SQL(
        "SELECT count(*) OVER (), coalesce(r.{key}, s.{key})::text, r.{key} IS NULL, s.{key} IS NULL, r.touched,"
        " {names}, {here}, {there} FROM (SELECT t.*, {touched} AS touched {real}{within}) r"
        " FULL JOIN (SELECT t.* {rehearsed}{within}) s ON s.{key} = r.{key}"
        " WHERE {gone} OR {different} ORDER BY 2 LIMIT %(most)s"
    ).format(
        key=sql.Identifier(mapping.key.column),
        names=some([sql.SQL("{}").format(sql.Literal(column.name)) for column in columns]),
        here=some(here),
        there=some(there),
        touched=own_transactions.written_after_run(scope.namespace, "t"),
        real=_rows(scope.namespace, mapping, sums.every),
        rehearsed=_rows(again, mapping, sums.every),
        within=_within(mapping, sums.bounds, ranges),
        gone=gone,
        different=sql.SQL(" OR ").join(different),
    )
    return scope.connection.execute(query, {"most": EXAMPLES}).fetchall()


def _within(mapping: Collection, bounds: list[Any], ranges: list[int]) -> sql.Composable:
    """The condition on a key to be in one of some ranges."""
    if len(ranges) > FEW or not bounds:
        return sql.SQL("")
    key = sql.Identifier("t", mapping.key.column)
    parts = []
    for number in ranges:
        ends = [sql.SQL("{} >= {}").format(key, sql.Literal(bounds[number - 1]))] if number else []
        ends += [sql.SQL("{} < {}").format(key, sql.Literal(bounds[number]))] if number < len(bounds) else []
        parts.append(sql.SQL(" AND ").join(ends))
    return sql.SQL(" AND ({})").format(sql.SQL(" OR ").join(parts))


def _differences(scope: Scope, again: Namespace, mapping: Collection, found: list[tuple[Any, ...]]) -> list[Difference]:
    blamed = attribution.attribute_rows(
        scope, again, mapping, [row[1] for row in found], [row[1] for row in found if row[4]]
    )
    told: list[Difference] = []
    for _, key, missing, unexpected, _, names, here, there in found:
        if missing or unexpected:
            note = "the row is missing" if missing else "the source does not give this row"
            told.append(Difference(row=key, note=note, fault=blamed[key]))
            continue
        for name, actual, expected in zip(names, here, there, strict=True):
            if name is not None:
                kind = kind_to_tell(mapping.table.c[name])
                want, have, note = describe_pair(kind, expected, actual, scope.show)
                told.append(Difference(row=key, column=name, expected=want, actual=have, note=note, fault=blamed[key]))
    return told
