"""One pass over an archive's blocks: collections come interleaved, and each has its own batches and its own checksum.

A block is a header {db, collection, EOF, CRC}, documents, a terminator. A collection is complete only with its EOF
block, which has the CRC-64 of all its documents: without it the dump was interrupted.
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
from migrator.sources.bson_stream import LARGEST, OpenBatch, Stream, count_whole

TERMINATOR: Final = -1  # 0xFFFFFFFF where a document's length would be
_MANY: Final = 1 << 62
_LARGEST_FIELDS: Final = 4 << 20  # a collection's metadata: 64 indexes, the most there can be, take about 30 KB
_MOST_FIELDS: Final = 100  # of a header or a description; mongodump writes five


@dataclass(frozen=True, slots=True, kw_only=True)
class _Header:
    namespace: tuple[str, str]  # database, collection
    eof: bool
    crc: int
    offset: int


class _Track:
    """What the pass has of one collection."""

    def __init__(self, collection: str, start: int, documents: int, size: int) -> None:
        self.collection = collection
        self.start = start
        self.to_skip = start  # bytes that still lie before the position to read from
        self.crc = 0
        self.delivered = 0  # documents
        self.batch = OpenBatch(collection, start, documents, size)

    @property
    def whole(self) -> int:
        return self.delivered + self.batch.count

    def skip(self, data: bytes) -> None:
        # It streams by anyway, and with it the checksum holds for the whole collection.
        self.crc = crc64.xz(data, self.crc)
        self.to_skip -= len(data)

    def cut(self, *, last: bool = False) -> Batch:
        self.delivered += self.batch.count
        batch = self.batch.cut(last=last)
        self.crc = crc64.xz(batch.data, self.crc)
        return batch


class Pass:
    """Reads the collections in `starts`, skips the others, and holds a batch at most for each that is open.

    `hollow` lists the database's collections: whether each must have no documents, being a view.
    """

    def __init__(
        self,
        stream: Stream,
        database: str,
        starts: Mapping[str, int],
        hollow: Mapping[str, bool],
        documents: int,
        size: int,
    ) -> None:
        self._stream = stream
        self._database = database
        self._tracks = {name: _Track(name, start, documents, size) for name, start in starts.items()}
        self._hollow = hollow
        self._closed: set[tuple[str, str]] = set()

    def run(self) -> Iterator[Batch]:
        try:
            while self._tracks:
                yield from self._read_block()
        except DamagedSourceError:
            # What is whole before the damage still counts; the last batch of none of these was marked.
            yield from [track.cut() for track in self._tracks.values() if track.batch.count]
            raise

    def _read_block(self) -> Iterator[Batch]:
        header = self._read_header()
        track = self._find_track(header)
        if header.eof:
            self._end_block(track)
            self._closed.add(header.namespace)
            if track:
                yield self._complete(track, header)
        elif track:
            yield from self._read_documents(track)
            self._end_block(track)
        else:
            self._skip_documents(header)
            self._end_block(None)

    def _read_header(self) -> _Header:
        stream = self._stream
        if stream.ended():
            names = ", ".join(sorted(self._tracks))
            raise stream.damage_here(f"the archive ends before these collections do: {names}")
        offset = stream.at
        fields = read_fields(stream, self._count())
        eof, crc = fields.get("EOF"), fields.get("CRC")
        if not isinstance(eof, bool) or not isinstance(crc, int):
            raise stream.damage_here("the header of a block has no EOF or no CRC", offset)
        return _Header(
            namespace=(read_string(fields, "db", stream), read_string(fields, "collection", stream)),
            eof=eof,
            crc=crc % (1 << 64),  # BSON knows only signed integers
            offset=offset,
        )

    def _find_track(self, header: _Header) -> _Track | None:
        database, name = header.namespace
        if database != self._database:
            return None
        if name not in self._hollow:
            raise self._stream.damage_here(f"a block of {name!r}, which the archive does not list", header.offset)
        if header.namespace in self._closed:
            raise self._stream.damage_here(f"a block of {name!r} after its end", header.offset)
        return self._tracks.get(name)

    def _read_documents(self, track: _Track) -> Iterator[Batch]:
        stream, batch = self._stream, track.batch
        while track.to_skip:
            if not self._skip_run(track):
                return
        while True:
            if batch.fill(stream) and not batch.full:
                continue
            # A block's end does not end the batch: there are archives of many small blocks.
            if not batch.full and (not batch.count or stream.peek_length() == TERMINATOR):
                return
            yield track.cut()

    def _skip_run(self, track: _Track) -> bool:
        end, count = self._stream.measure(_MANY, track.to_skip)
        if end - self._stream.at > track.to_skip:
            raise self._stream.damage_here(f"byte {track.start:,} of {track.collection} is in the middle of a document")
        track.skip(self._stream.take(end))
        return count > 0

    def _skip_documents(self, header: _Header) -> None:
        database, name = header.namespace
        hollow = database == self._database and self._hollow[name]
        while (run := self._stream.measure(_MANY, LARGEST))[1]:
            if hollow:
                raise self._stream.damage_here(
                    f"documents of the view {name} (--viewsAsCollections?), which has none of its own"
                )
            self._stream.at = run[0]

    def _end_block(self, track: _Track | None) -> None:
        if self._stream.peek_length() != TERMINATOR:
            raise self._stream.damage(self._count(track))
        self._stream.at += 4

    def _count(self, track: _Track | None = None) -> str:
        if track:
            return f"{count_whole(track.whole, track.start)} of {track.collection}"
        return count_whole(sum(each.whole for each in self._tracks.values())) + " of unfinished collections"

    def _complete(self, track: _Track, header: _Header) -> Batch:
        # Out first: documents that fail their checksum are not handed on.
        del self._tracks[track.collection]
        if track.to_skip:
            reached = track.start - track.to_skip
            reason = f"{track.collection} ends after {reached:,} bytes, but an earlier run had read {track.start:,}"
            raise self._stream.damage_here(reason, header.offset)
        batch = track.cut(last=True)
        if header.crc != track.crc:
            reason = (
                f"the checksum of {track.collection} is {track.crc:016x}, not {header.crc:016x} as the archive says"
            )
            raise self._stream.damage_here(f"{reason}: a document before this is damaged", header.offset)
        return batch


def read_fields(stream: Stream, before: str) -> dict[str, Any]:
    """The next document of the archive's own: a header or a collection's description. `before`: see `Stream.damage`."""
    offset = stream.at
    if (stream.peek_length() or 0) > _LARGEST_FIELDS:
        raise stream.damage_here(f"a document of mongodump's own is not {stream.peek_length():,} bytes long", offset)
    end, count = stream.measure(1, LARGEST)
    if not count:
        raise stream.damage(before)
    fields = scalar_fields(stream.take(end), _MOST_FIELDS)
    if fields is None:
        raise stream.damage_here(f"a document of mongodump's own has no more than {_MOST_FIELDS} fields", offset)
    try:
        return bson.decode(fields)
    except InvalidBSON as error:
        raise stream.damage_here(f"not BSON ({error})", offset) from error


def read_string(fields: Mapping[str, Any], name: str, stream: Stream) -> str:
    value = fields.get(name, "")
    if not isinstance(value, str):
        raise stream.damage_here(f"{name} of the document before is no string")
    return value
