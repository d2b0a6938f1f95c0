"""Reads the blocks of an archive once: collections are interleaved; each has its own batches and its own checksum.

A block is a header {db, collection, EOF, CRC}, documents, a terminator. A collection is complete only with its EOF
block, which contains the CRC-64 of all its documents. Without it, the dump was interrupted.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import bson
from bson.errors import InvalidBSON
from fastcrc import crc64

from migrator.documents.raw_bson import scalar_fields
from migrator.errors import DamagedSourceError
from migrator.sources.base import Batch
from migrator.sources.bson_stream import MAX_DOCUMENT_BYTES, BatchLimits, BsonStream, OpenBatch, format_count

TERMINATOR: Final = -1  # 0xFFFFFFFF in place of a document length
_UNLIMITED: Final = 1 << 62
_LARGEST_FIELDS: Final = 4 << 20  # metadata of a collection with 64 indexes, MongoDB's maximum, take about 30 KB
_MOST_FIELDS: Final = 100  # of a header or of the metadata; mongodump writes five


@dataclass(frozen=True, slots=True, kw_only=True)
class _Header:
    namespace: tuple[str, str]  # database, collection
    eof: bool
    crc: int
    offset: int


class _CollectionState:
    """The state of one collection during the read."""

    def __init__(self, collection: str, start: int, limits: BatchLimits) -> None:
        self.collection = collection
        self.start = start
        self.to_skip = start  # bytes left before the position to read from
        self.crc = 0
        self.delivered = 0  # documents
        self.batch = OpenBatch(collection, start, limits)

    @property
    def complete(self) -> int:
        return self.delivered + self.batch.count

    def skip(self, data: bytes) -> None:
        # The checksum covers the entire collection, so skipped data count too.
        self.crc = crc64.xz(data, self.crc)
        self.to_skip -= len(data)

    def cut(self, *, last: bool = False) -> Batch:
        self.delivered += self.batch.count
        batch = self.batch.cut(last=last)
        self.crc = crc64.xz(batch.data, self.crc)
        return batch


class BlockReader:
    """Reads the blocks of one database. It holds at most one batch per open collection.

    `views` lists all collections of the database and whether each is a view, which has no documents.
    """

    def __init__(self, stream: BsonStream, database: str, views: Mapping[str, bool]) -> None:
        self._stream = stream
        self._database = database
        self._views = views
        self._open: dict[str, _CollectionState] = {}
        self._closed: set[tuple[str, str]] = set()

    def read(self, starts: Mapping[str, int], limits: BatchLimits) -> Iterator[Batch]:
        """Yield the batches of the collections in `starts`, each from its offset, until all are complete.

        Raises: `DamagedSourceError` after the complete documents before the damage.
        """
        self._open = {name: _CollectionState(name, start, limits) for name, start in starts.items()}
        try:
            while self._open:
                yield from self._read_block()
        except DamagedSourceError:
            # Complete documents before the damage are valid. None of these batches is marked as the last one.
            yield from [state.cut() for state in self._open.values() if state.batch.count]
            raise

    def _read_block(self) -> Iterator[Batch]:
        header = self._read_header()
        state = self._find_state(header)
        if header.eof:
            self._end_block(state)
            self._closed.add(header.namespace)
            if state:
                yield self._complete(state, header)
        elif state:
            yield from self._read_documents(state)
            self._end_block(state)
        else:
            self._skip_documents(header)
            self._end_block(None)

    def _read_header(self) -> _Header:
        stream = self._stream
        if stream.ended():
            names = ", ".join(sorted(self._open))
            raise stream.damage_here(f"the archive ends, but these collections are incomplete: {names}")
        offset = stream.at
        fields = read_fields(stream, self._count())
        eof, crc = fields.get("EOF"), fields.get("CRC")
        if not isinstance(eof, bool) or not isinstance(crc, int):
            raise stream.damage_here("the header of a block has no EOF or no CRC", offset)
        return _Header(
            namespace=(read_string(fields, "db", stream), read_string(fields, "collection", stream)),
            eof=eof,
            crc=crc % (1 << 64),  # BSON integers are signed
            offset=offset,
        )

    def _find_state(self, header: _Header) -> _CollectionState | None:
        database, name = header.namespace
        if database != self._database:
            return None
        if name not in self._views:
            raise self._stream.damage_here(f"block of {name!r}, which is not in the archive's list", header.offset)
        if header.namespace in self._closed:
            raise self._stream.damage_here(f"block of {name!r} after its end", header.offset)
        return self._open.get(name)

    def _read_documents(self, state: _CollectionState) -> Iterator[Batch]:
        stream, batch = self._stream, state.batch
        while state.to_skip:
            if not self._skip_run(state):
                return
        while True:
            if batch.fill(stream) and not batch.full:
                continue
            # The end of a block does not end the batch, because some archives consist of many small blocks.
            if not batch.full and (not batch.count or stream.peek_length() == TERMINATOR):
                return
            yield state.cut()

    def _skip_run(self, state: _CollectionState) -> bool:
        end, count = self._stream.measure(_UNLIMITED, state.to_skip)
        if end - self._stream.at > state.to_skip:
            raise self._stream.damage_here(f"byte {state.start:,} of {state.collection} is inside a document")
        state.skip(self._stream.take(end))
        return count > 0

    def _skip_documents(self, header: _Header) -> None:
        database, name = header.namespace
        is_view = database == self._database and self._views[name]
        while (run := self._stream.measure(_UNLIMITED, MAX_DOCUMENT_BYTES))[1]:
            if is_view:
                raise self._stream.damage_here(
                    f"the view {name} contains documents; the dump was probably created with --viewsAsCollections"
                )
            self._stream.at = run[0]

    def _end_block(self, state: _CollectionState | None) -> None:
        if self._stream.peek_length() != TERMINATOR:
            raise self._stream.damage(self._count(state))
        self._stream.at += 4

    def _count(self, state: _CollectionState | None = None) -> str:
        if state:
            return f"{format_count(state.complete, state.start)} of {state.collection}"
        return format_count(sum(each.complete for each in self._open.values())) + " of unfinished collections"

    def _complete(self, state: _CollectionState, header: _Header) -> Batch:
        # Removed first, so that documents with a wrong checksum are not returned after the error.
        del self._open[state.collection]
        if state.to_skip:
            reached = state.start - state.to_skip
            reason = f"{state.collection} ends after {reached:,} bytes, but an earlier run read {state.start:,}"
            raise self._stream.damage_here(reason, header.offset)
        batch = state.cut(last=True)
        if header.crc != state.crc:
            reason = f"the checksum of {state.collection} is {state.crc:016x}, the archive has {header.crc:016x}"
            raise self._stream.damage_here(f"{reason}: a document before this offset is damaged", header.offset)
        return batch


def read_fields(stream: BsonStream, before: str) -> dict[str, Any]:
    """Return the next header or the metadata of a collection. `before`: see `BsonStream.damage`.

    Raises: `DamagedSourceError`.
    """
    offset = stream.at
    if (stream.peek_length() or 0) > _LARGEST_FIELDS:
        raise stream.damage_here(f"invalid length of {stream.peek_length():,} bytes for a header of mongodump", offset)
    end, count = stream.measure(1, MAX_DOCUMENT_BYTES)
    if not count:
        raise stream.damage(before)
    fields = scalar_fields(stream.take(end), _MOST_FIELDS)
    if fields is None:
        raise stream.damage_here(f"a header of mongodump has more than {_MOST_FIELDS} fields", offset)
    try:
        return bson.decode(fields)
    except InvalidBSON as error:
        raise stream.damage_here(f"invalid BSON ({error})", offset) from error


def read_string(fields: Mapping[str, Any], name: str, stream: BsonStream) -> str:
    value = fields.get(name, "")
    if not isinstance(value, str):
        raise stream.damage_here(f"{name} of the preceding header is not a string")
    return value
