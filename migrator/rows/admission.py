"""Which rows of a translated batch may be loaded: not what claims an id or a unique value that is taken, nor what an
index could not take. It is rejected at once; `claims` decides between the claimants when all have been seen.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, LiteralString

import psycopg
from psycopg import sql

from migrator.documents import raw_bson
from migrator.mapping.collection import Collection
from migrator.rows.copy import copy_rows
from migrator.rows.lookup import array_for_sql, plain
from migrator.state.journal import Namespace
from migrator.translation.encoder import Output, drop
from migrator.translation.outcomes import Reject
from migrator.translation.translator import Translator

Connection = psycopg.Connection[Any]


class Admission:
    """Lets the rows of one collection into their table, batch by batch.

    Nearly always nothing is taken, and asking costs as much as a tenth of loading. So rows are sent as they are; once
    the table has refused one, it is asked before.
    """

    def __init__(self, connection: Connection, namespace: Namespace, translator: Translator) -> None:
        self._connection, self._namespace, self._translator = connection, namespace, translator
        self._collection = translator.collection
        self._asks_first = False

    def bring(self, output: Output, data: bytes, starts: list[int]) -> None:
        """Loads the rows of a batch, whose documents begin at `starts` of `data`; what claims a taken value, or holds
        what an index could not take, is rejected.

        Raises `UniqueViolation` where the table refuses a row: then the whole transaction is to be done again. (In a
        savepoint, rows would not bear the transaction's own number, which `journal.sign` keeps.)
        """
        self._refuse(output, data, starts, overlong(self._connection, self._collection, output))
        if self._asks_first or self._claims_twice(output):
            self._refuse(output, data, starts, self._taken(output))
        try:
            copy_rows(self._connection, self._namespace, self._translator.encoder, output.rows)
        except psycopg.errors.UniqueViolation:
            self._asks_first = True
            raise

    def _refuse(self, output: Output, data: bytes, starts: list[int], reasons: Iterator[tuple[int, Reject]]) -> None:
        refused: dict[int, Reject] = {}
        for index, reject in reasons:
            refused.setdefault(index, reject)  # the first reason counts
        for index, reject in refused.items():
            raw = raw_bson.document_at(data, starts[output.places[index]])
            self._translator.reject(output, raw, reject)
        if refused:
            drop(output, refused.keys())

    def _claims(self, output: Output) -> Iterator[tuple[str, str, list[Any]]]:
        """(column, reason, the value of each row)."""
        yield self._collection.key.column, "duplicate_id", output.ids
        for number, (column, reason) in enumerate(self._collection.unique.items()):
            yield column, reason, [values[number] for values in output.uniques]

    def _claims_twice(self, output: Output) -> bool:
        """Whether two rows of the batch are in each other's way."""
        present = ([value for value in values if value is not None] for _, _, values in self._claims(output))
        return any(len(set(values)) < len(values) for values in present)

    def _taken(self, output: Output) -> Iterator[tuple[int, Reject]]:
        """The rows whose claims are taken, by the table or by an earlier row of the batch."""
        table = self._namespace.table(self._collection.table.name)
        for column, reason, values in self._claims(output):
            taken = existing(self._connection, table, column, values)
            for index, value in enumerate(values):
                if value is None:
                    continue
                if value in taken:
                    yield index, Reject(reason=reason, detail=column)
                taken.add(value)


def overlong(connection: Connection, collection: Collection, output: Output) -> Iterator[tuple[int, Reject]]:
    """The rows (by their place) that hold a text which an index could not take."""
    for index, column, text in output.probes:
        if not passes(connection, collection.probes[column], text):
            yield index, Reject(reason="too_long", detail=f"{column}: too long for its full-text index")


def existing(connection: Connection, table: sql.Identifier, column: str, values: list[Any]) -> set[Any]:
    """Which of these values rows have already."""
    asked = [value for value in values if value is not None]
    if not asked:
        return set()
    uuids = isinstance(asked[0], bytes)
    query = sql.SQL("SELECT {column} FROM {table} WHERE {column} = ANY(%s{cast})").format(
        column=sql.Identifier(column), table=table, cast=sql.SQL("::uuid[]" if uuids else "::text[]")
    )
    return {plain(value) for (value,) in connection.execute(query, (array_for_sql(asked),), binary=True)}


def passes(connection: Connection, probe: str, text: str) -> bool:
    """Whether an index will be able to take a text: an expression over it does not fail."""
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
