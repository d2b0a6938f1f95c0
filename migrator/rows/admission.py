"""Which rows of a translated batch may be loaded.

A row is rejected here if its ID or a unique value is already in use, or if an index cannot store one of its texts.
Conflict resolution (`reconciliation`) decides between the documents after all of them have been read.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any, LiteralString

import psycopg
from psycopg import sql

from migrator.documents import raw_bson
from migrator.mapping.collection import Collection
from migrator.postgres.table_names import name_of
from migrator.rows.copy import copy_children, copy_rows
from migrator.rows.plain_values import array_parameter, plain_cursor
from migrator.rows.refusals import REASON, find_refused, is_refusal, read_known_refusals, reject_for
from migrator.state.records import Namespace
from migrator.state.row_keys import RowKey, column_of
from migrator.translation.encoder import Encoder, Output, remove_loaded
from migrator.translation.outcomes import Reject

Connection = psycopg.Connection[Any]


class Admission:
    """Loads the rows of one collection into their table, batch by batch.

    In most batches there is no conflict, and checking for one costs up to a tenth of the loading time. Therefore rows
    are sent unchecked until the table has refused one; from then on, every batch is checked first. With `checks_first`,
    this applies to the first batch, too.
    """

    def __init__(
        self, connection: Connection, namespace: Namespace, encoder: Encoder, *, checks_first: bool = False
    ) -> None:
        self._connection, self._namespace, self._encoder = connection, namespace, encoder
        self._collection = encoder.collection
        self._checks_first = checks_first

    @cached_property
    def _known_refusals(self) -> dict[bytes, str]:
        return read_known_refusals(self._connection, self._namespace, self._collection.name)

    def load(self, output: Output, data: bytes, starts: list[int], refused: Mapping[int, Reject]) -> None:
        """Load the rows of a batch and reject those that cannot be stored.

        `data` is the BSON of the batch; its documents begin at the byte offsets `starts`. `refused`: documents that the
        target has refused, by index (`find_refused`).

        Raises: `UniqueViolation` if the table refuses a row; the caller must repeat the whole transaction. (A savepoint
        is no alternative: its rows would not have the transaction ID that `journal.record_transaction` records.)
        """
        if refused or self._known_refusals:
            self._reject(output, data, starts, self._find_refused_before(output, data, starts, refused))
        self._reject(output, data, starts, find_overlong(self._connection, self._collection, output))
        if self._checks_first or self._has_duplicates(output):
            self._reject(output, data, starts, self._find_taken(output))
        try:
            copy_rows(self._connection, self._namespace, self._encoder, output.rows)
            copy_children(self._connection, self._namespace, self._encoder, output)
        except psycopg.errors.UniqueViolation:
            self._checks_first = True
            raise

    def find_refused(self, output: Output, error: psycopg.Error) -> dict[int, Reject]:
        """Return the documents, by index, that the target refuses; `output` is what `load` could not load.

        Raises: `error` if it does not mean that a row is refused.
        """
        if not is_refusal(self._connection, self._collection, error):
            raise error

        def write(start: int, stop: int) -> None:
            copy_rows(self._connection, self._namespace, self._encoder, output.rows[start:stop])
            copy_children(self._connection, self._namespace, self._encoder, output, start, stop)

        found = {}
        for row, cause in find_refused(self._connection, self._namespace, len(output.rows), write):
            if not is_refusal(self._connection, self._collection, cause):
                raise cause
            found[output.indexes[row]] = reject_for(cause)
        return found

    def _find_refused_before(
        self, output: Output, data: bytes, starts: list[int], refused: Mapping[int, Reject]
    ) -> Iterator[tuple[int, Reject]]:
        for row, index in enumerate(output.indexes):
            if index in refused:
                yield row, refused[index]
            elif self._known_refusals:
                source_id = raw_bson.source_id(raw_bson.document_at(data, starts[index]))
                if source_id in self._known_refusals:
                    yield row, Reject(reason=REASON, detail=self._known_refusals[source_id])

    def _reject(self, output: Output, data: bytes, starts: list[int], found: Iterator[tuple[int, Reject]]) -> None:
        rejects: dict[int, Reject] = {}
        for index, reject in found:
            rejects.setdefault(index, reject)  # the first reason is recorded
        for index, reject in rejects.items():
            raw = raw_bson.document_at(data, starts[output.indexes[index]])
            self._encoder.add_reject(output, raw_bson.source_id(raw), raw, reject)
        if rejects:
            remove_loaded(output, rejects.keys())

    def _unique_columns(self, output: Output) -> Iterator[tuple[str, str, list[Any]]]:
        """Yield (column, reject reason, value of each row) of every column whose values must be unique."""
        yield self._collection.key.column, "duplicate_id", output.ids
        for number, (column, reason) in enumerate(self._collection.unique.items()):
            yield column, reason, [values[number] for values in output.uniques]

    def _has_duplicates(self, output: Output) -> bool:
        """Return whether two rows of the batch have the same unique value."""
        present = ([value for value in values if value is not None] for _, _, values in self._unique_columns(output))
        return any(len(set(values)) < len(values) for values in present)

    def _find_taken(self, output: Output) -> Iterator[tuple[int, Reject]]:
        """Yield the rows with a unique value that an earlier row of the batch has already, or the table.

        The table is asked only after it has refused a row: its key may be made later (`stages/document_keys.py`).
        """
        table = self._namespace.table(name_of(self._collection.table))
        for column, reason, values in self._unique_columns(output):
            found = column_of(self._collection, column)
            taken = find_existing(self._connection, table, found, values) if self._checks_first else set()
            for index, value in enumerate(values):
                if value is None:
                    continue
                if value in taken:
                    yield index, Reject(reason=reason, detail=column)
                taken.add(value)


def find_overlong(connection: Connection, collection: Collection, output: Output) -> Iterator[tuple[int, Reject]]:
    """Yield the rows (index in the batch) with a text that is too long for an index."""
    for index, column, text in output.probes:
        if not fits_index(connection, collection.probes[column], text):
            yield index, Reject(reason="too_long", detail=f"{column}: too long for its full-text index")


def find_existing(connection: Connection, table: sql.Identifier, column: RowKey, values: list[Any]) -> set[Any]:
    """Return those of the values that a column of the table, or the key of its rows, has already."""
    wanted = [value for value in values if value is not None]
    if not wanted:
        return set()
    query = sql.SQL("SELECT {} FROM {} WHERE {}").format(column.value(), table, column.is_in())
    with plain_cursor(connection) as cursor:
        return {value for (value,) in cursor.execute(query, (array_parameter(wanted, column.kind),))}


def fits_index(connection: Connection, probe: str, text: str) -> bool:
    """Return whether an index can store a text: the index expression `probe`, applied to it, does not fail."""
    query = sql.SQL("SELECT {} IS NULL").format(sql.SQL(_literal(probe)).format(sql.Placeholder()))
    try:
        with connection.transaction():
            connection.execute(query, (text,))
    except psycopg.errors.ProgramLimitExceeded:
        return False
    return True


def _literal(text: str) -> LiteralString:
    # Probes are part of the mapping, written by the author of the schema. They are code, not data.
    return text
