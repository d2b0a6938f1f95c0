"""The source read and mapped again, and compared inside PostgreSQL: rows, ledger, rejects, archive, findings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from bson.errors import InvalidBSON
from psycopg import sql

from migrator import vectors
from migrator.checks.base import EXAMPLES, Check
from migrator.exact import decode, encode, is_faithful, show_id
from migrator.journal import Connection, Place
from migrator.mapping import Collection
from migrator.rows import kind_of_column

COMPARED = {
    "ledger": "collection, encode(source_id, 'hex'), target_id, outcome",
    "rejects": "collection, encode(source_id, 'hex'), reason",
    "archive": "collection, encode(source_id, 'hex'), md5(document)",
    "findings": "collection, encode(source_id, 'hex'), code, severity, detail",
}
# BSON whose top-level fields may come in another order: a document that was a row for a while, a residue.
# What a stage adds that no rehearsal has is left out.
APART = {"findings": sql.SQL(" WHERE code <> ALL({})").format(sql.Literal(list(vectors.CODES)))}
UNORDERED = {"ledger": "residue", "rejects": "document"}


def compare_rows(
    connection: Connection, place: Place, again: Place, mappings: Mapping[str, Collection]
) -> Iterator[Check]:
    """Every column of every row against the row that the source gives now."""
    for mapping in mappings.values():
        yield _compare_table(connection, place, again, mapping)


def _compare_table(connection: Connection, place: Place, again: Place, mapping: Collection) -> Check:
    apart = {mapping.key.column, *mapping.later}
    columns = [column for column in mapping.table.columns if column.name not in apart]
    query = sql.SQL(
        "SELECT count(*) OVER (), coalesce(r.ledger_key, s.ledger_key), r.ledger_key IS NULL, s.ledger_key IS NULL,"
        " {differing}"
        " FROM ({real}) r FULL JOIN ({again}) s ON s.ledger_key = r.ledger_key"
        " WHERE r.ledger_key IS NULL OR s.ledger_key IS NULL OR {different} ORDER BY 2 LIMIT %(most)s"
    ).format(
        differing=sql.SQL("array_remove(ARRAY[{}]::text[], NULL)").format(
            sql.SQL(", ").join(_differing(column.name, kind_of_column(column)) for column in columns)
        ),
        different=sql.SQL(" OR ").join(_different(column.name, kind_of_column(column)) for column in columns),
        real=_loaded(place, mapping),
        again=_loaded(again, mapping),
    )
    found = connection.execute(query, {"collection": mapping.name, "most": EXAMPLES}).fetchall()
    differences = int(found[0][0]) if found else 0
    examples = [_describe(*row[1:]) for row in found]
    return Check(
        check="rows", table=mapping.table.name, expected="as the source maps", actual=f"{differences} differ",
        differences=differences, examples=examples,
    )  # fmt: skip


def _loaded(place: Place, mapping: Collection) -> sql.Composed:
    return place.sql(
        "SELECT l.target_id AS ledger_key, t.* FROM {ledger} l LEFT JOIN {table} t ON t.{key}::text = l.target_id"
        " WHERE l.collection = %(collection)s AND l.outcome = 'loaded'",
        table=place.table(mapping.table.name),
        key=sql.Identifier(mapping.key.column),
    )


def _different(column: str, kind: str) -> sql.Composed:
    # jsonb's own equality takes 1 and 1.0 for the same; their text does not.
    cast = sql.SQL("::text" if kind == "jsonb" else "")
    name = sql.Identifier(column)
    return sql.SQL("r.{name}{cast} IS DISTINCT FROM s.{name}{cast}").format(name=name, cast=cast)


def _differing(column: str, kind: str) -> sql.Composed:
    return sql.SQL("CASE WHEN {} THEN {} END").format(_different(column, kind), sql.Literal(column))


def _describe(key: str, missing: bool, unexpected: bool, columns: list[str]) -> str:
    if missing:
        return f"{key}: not in the target"
    if unexpected:
        return f"{key}: not in the source"
    return f"{key}: {', '.join(columns)} differ"


def compare_records(connection: Connection, place: Place, again: Place) -> Iterator[Check]:
    """The records as they are against the records as they would be written now."""
    for relation, columns in COMPARED.items():
        one, other = (
            sql.SQL("SELECT {} FROM {}{}").format(
                sql.SQL(columns), sql.Identifier(each.records, relation), APART.get(relation, sql.SQL(""))
            )
            for each in (place, again)
        )
        query = sql.SQL(
            "SELECT count(*) OVER (), d.* FROM (({one} EXCEPT ALL {other}) UNION ALL ({other} EXCEPT ALL {one})) d"
            " LIMIT {most}"
        ).format(one=one, other=other, most=sql.Literal(EXAMPLES))
        found = connection.execute(query).fetchall()
        differences = int(found[0][0]) if found else 0
        yield Check(
            check=relation, table="migrator", expected="as the source maps", actual=f"{differences} differ",
            differences=differences, examples=[" ".join(map(str, row[1:])) for row in found],
        )  # fmt: skip


def compare_unordered(connection: Connection, place: Place, again: Place) -> Iterator[Check]:
    """Residues and rejected documents, field by field."""
    for relation, column in UNORDERED.items():
        query = sql.SQL(
            "SELECT collection, source_id, array_agg(DISTINCT a.{column}), array_agg(DISTINCT b.{column})"
            " FROM {one} a JOIN {other} b USING (collection, source_id)"
            " GROUP BY 1, 2 HAVING bool_or(a.{column} IS DISTINCT FROM b.{column})"
        ).format(
            one=sql.Identifier(place.records, relation),
            other=sql.Identifier(again.records, relation),
            column=sql.Identifier(column),
        )
        different = [
            f"{collection} {show_id(bytes(source_id))}"
            for collection, source_id, one, other in connection.execute(query, binary=True)
            if _canonical(one) != _canonical(other)
        ]
        yield Check(
            check=f"{relation}: {column}", table="migrator", expected="as the source maps",
            actual=f"{len(different)} differ", differences=len(different), examples=different[:EXAMPLES],
        )  # fmt: skip


def _canonical(values: list[bytes | None]) -> list[bytes]:
    """BSON values in an order of their own, each with its fields sorted; what cannot be decoded stays as it is."""
    return sorted(b"" if value is None else _sorted(bytes(value)) for value in values)


def _sorted(raw: bytes) -> bytes:
    try:
        document = decode(raw)
    except InvalidBSON:
        return raw
    if not is_faithful(document, raw):
        return raw
    if isinstance(document.get("set"), dict):
        document["set"] = dict(sorted(document["set"].items()))
    return encode(dict(sorted(document.items())))
