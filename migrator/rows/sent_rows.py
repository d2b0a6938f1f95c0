"""Restores documents from the rows that a load sends, and finds those that a row does not restore.

If PostgreSQL has the same rows at the end (`verification.proven_documents`), they need not be read for this again.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import groupby

from psycopg import sql

from migrator.documents import raw_bson
from migrator.mapping.collection import Collection
from migrator.postgres import copy_format
from migrator.postgres.copy import read_rows
from migrator.postgres.native import split_row
from migrator.rows.loaded_rows import layout_of
from migrator.rows.plain_values import array_parameter
from migrator.rows.store import RowStore
from migrator.state.row_keys import key_of
from migrator.translation.encoder import Output
from migrator.translation.restoring import Fields

MOST_CARRIED = 40_000  # rows whose values are kept
MOST_OTHERS = 10_000  # documents that no row restores; with more, a proof of the others is not worth its memory


@dataclass(slots=True)
class RestoredCounts:
    """The number of documents of a collection that were sent, and the source IDs of those that no row restores.

    At most one ID more than `MOST_OTHERS` is kept.
    """

    collection: str
    documents: int = 0
    others: list[bytes] = field(default_factory=list)

    def add(self, other: RestoredCounts) -> None:
        self.documents += other.documents
        self.others += other.others[: MOST_OTHERS + 1 - len(self.others)]


class SentRows:
    """Restores the documents of one collection. `rows`: where the rows are to which those that are sent refer."""

    def __init__(self, rows: RowStore, collection: Collection) -> None:
        self._layout = layout_of(rows, collection)
        self._carried = _carried_columns(rows, collection)
        self._counts = RestoredCounts(collection.name)

    def restore(self, output: Output, data: bytes, starts: list[int]) -> None:
        """Restore the documents of a batch, which begin at the offsets `starts` of `data`."""
        restores, others = self._layout.restores, list[bytes]()
        rows = [split_row(each) for each in output.rows]
        for carried in self._carried:
            carried.append_to(rows)
        ends = [*starts[1:], len(data)]
        for fields, entry, index in zip(rows, output.ledger, output.indexes, strict=True):
            _, source_id, _, _, residue = split_row(entry)
            raw = data[starts[index] : ends[index]]
            if source_id is None or not restores(raw, source_id, fields, residue):
                others.append(raw_bson.source_id(raw))
        for index in set(range(len(starts))).difference(output.indexes):
            others.append(raw_bson.source_id(data[starts[index] : ends[index]]))
        self._counts.add(RestoredCounts(self._counts.collection, len(starts), others))

    def take(self) -> RestoredCounts:
        """Return the counts since the last call."""
        counts, self._counts = self._counts, RestoredCounts(self._counts.collection)
        return counts


class _CarriedColumns:
    """Values of the rows to which rows refer by the column at `place`, which has the type of their key."""

    def __init__(self, rows: RowStore, collection: str, place: int, columns: list[str]) -> None:
        mapping = rows.mappings[collection]
        key = key_of(mapping)
        self._connection, self._place, self._kind = rows.connection, place, key.kind
        self._read_key = copy_format.reader(key.kind)
        self._none: Fields = [None] * len(columns)
        self._known: dict[bytes, Fields] = {}
        self._query = sql.SQL("COPY (SELECT {key}, {columns} FROM {table} t WHERE {chosen}) TO STDOUT BINARY").format(
            key=key.value("t"),
            columns=sql.SQL(", ").join(sql.Identifier("t", name) for name in columns),
            table=rows.table(mapping),
            chosen=key.is_in("t"),
        )

    def append_to(self, rows: list[Fields]) -> None:
        """Append the values to each row; NULLs to one that refers to no row."""
        place, found = self._place, self._known
        new = {row[place] for row in rows} - found.keys()
        if len(found) + len(new) > MOST_CARRIED:
            found.clear()
            new = {row[place] for row in rows}
        self._read([key for key in new if key is not None])
        for row in rows:
            key = row[place]
            row += self._none if key is None else found[key]

    def _read(self, keys: list[bytes]) -> None:
        if not keys:
            return
        wanted = array_parameter([self._read_key(key) for key in keys], self._kind)
        self._known.update(dict.fromkeys(keys, self._none))
        with self._connection.cursor() as cursor, cursor.copy(self._query, (wanted,)) as stream:
            for key, *values in read_rows(self._connection, stream):
                self._known[key] = values


def _carried_columns(rows: RowStore, collection: Collection) -> list[_CarriedColumns]:
    """Return what reads the columns of other tables, in the order of the layout."""
    places = {name: place for place, (name, _) in enumerate(collection.kinds)}
    groups = groupby(collection.carried_columns, key=lambda carried: carried[1:3])
    return [
        _CarriedColumns(rows, there, places[here], [name for *_, name in carried]) for (here, there), carried in groups
    ]
