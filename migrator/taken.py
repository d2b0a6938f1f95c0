"""What of a translated batch claims an id or a unique value that is taken, or holds what an index could not take.

It is rejected at once; `claims` decides between the claimants when all have been seen.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, LiteralString

import psycopg
from psycopg import sql

from migrator.encode import Output, drop
from migrator.handover import Reject
from migrator.journal import Place
from migrator.mapping import Collection
from migrator.resolve import plain
from migrator.translator import Translator

Connection = psycopg.Connection[Any]


def set_aside(connection: Connection, place: Place, translator: Translator, output: Output, raws: list[bytes]) -> None:
    """Rejects what claims an id or a unique value that is taken, and what an index could not take."""
    refused: dict[int, Reject] = {}
    for index, reject in _taken(connection, place, translator.collection, output):
        refused.setdefault(index, reject)
    for index, column, text in output.probes:
        if index not in refused and not _passes(connection, translator.collection.probes[column], text):
            refused[index] = Reject(reason="too_long", detail=f"{column}: too long for its full-text index")
    for index, reject in refused.items():
        translator.reject(output, raws[output.places[index]], reject)
    if refused:
        drop(output, refused.keys())


def _taken(
    connection: Connection, place: Place, collection: Collection, output: Output
) -> Iterator[tuple[int, Reject]]:
    claims: list[tuple[str, str, list[Any]]] = [(collection.key.column, "duplicate_id", output.ids)]
    for number, (column, reason) in enumerate(collection.unique.items()):
        claims.append((column, reason, [values[number] for values in output.uniques]))
    for column, reason, values in claims:
        taken = _existing(connection, place.table(collection.table.name), column, values)
        for index, value in enumerate(values):
            if value is None:
                continue
            if value in taken:
                yield index, Reject(reason=reason, detail=column)
            taken.add(value)


def _existing(connection: Connection, table: sql.Identifier, column: str, values: list[Any]) -> set[Any]:
    asked = [value for value in values if value is not None]
    if not asked:
        return set()
    uuids = isinstance(asked[0], bytes)
    query = sql.SQL("SELECT {column} FROM {table} WHERE {column} = ANY(%s{cast})").format(
        column=sql.Identifier(column), table=table, cast=sql.SQL("::uuid[]" if uuids else "::text[]")
    )
    # 5,000 UUID objects take psycopg longer to write than the server takes to look them up: one literal instead.
    parameter = "{" + ",".join([value.hex() for value in asked]) + "}" if uuids else asked
    return {plain(value) for (value,) in connection.execute(query, (parameter,), binary=True)}


def _passes(connection: Connection, probe: str, text: str) -> bool:
    query = sql.SQL("SELECT {} IS NULL").format(sql.SQL(_literal(probe)).format(sql.Placeholder()))
    try:
        with connection.transaction():
            connection.execute(query, (text,))
    except psycopg.errors.ProgramLimitExceeded:
        return False
    return True


def _literal(text: str) -> LiteralString:
    # Probes are written in mappings, by the engineer who writes the schema; they are code, not data.
    return text
