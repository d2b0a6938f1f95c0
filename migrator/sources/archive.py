"""A `mongodump --archive` file, gzip or not: what it holds. How its blocks are read is `archive_blocks`.

The format is mongo-tools' common/archive/spec.md: magic number, prelude (a header, a document for each collection,
a terminator), then blocks. Not read, and listed in `left_out`: views, what belongs to the server, and the oplog
(database "", collection oplog). `size` in the prelude is always 0, whatever the specification says: no hint.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from migrator.errors import SourceError
from migrator.sources.archive_blocks import TERMINATOR, Pass, read_fields, read_string
from migrator.sources.base import Batch, Partition, SourceCollection
from migrator.sources.bson_stream import LARGEST, Stream, parse_position
from migrator.sources.files import Meter, fingerprint_files, read_chunks, unreadable
from migrator.sources.selection import (
    BUCKETS,
    OPLOG,
    Metadata,
    check_name,
    choose_database,
    parse_metadata,
    reason_to_leave_out,
)

_MAGIC: Final = struct.pack("<I", 0x8199E26D)
_GZIP: Final = b"\x1f\x8b"
# The descriptions of 10,000 collections with 64 indexes each; more is no list, but damage or an attack on our memory.
_LONGEST_PRELUDE: Final = 4 * LARGEST
_MOST_LISTED: Final = 100_000


@dataclass(frozen=True, slots=True, kw_only=True)
class _Listed:
    """One namespace of the prelude. `name` is the one its documents come under."""

    database: str
    name: str
    metadata: Metadata | None
    left_out: str  # why it is not read; "" if it is


class Archive:
    """A `Source` on one database of an archive.

    Each `read` is one pass over the file, which it opens itself: reads may run side by side, in processes too.
    Positions count the bytes of the collection, not of the archive: the same as in a folder.
    """

    def __init__(self, path: Path, database: str | None = None) -> None:
        self._path = path
        self._gzipped = _detect_gzip(path)
        stream = self._open(0)
        listed = _read_prelude(stream)
        self._body = stream.at
        databases = {entry.database for entry in listed} - {""}
        self.database = choose_database(databases, database, f"The archive {path}")
        self._listed = {entry.name: entry for entry in listed if entry.database == self.database}
        self.left_out = {entry.name: entry.left_out for entry in self._listed.values() if entry.left_out}
        if any(entry.database == "" for entry in listed):
            self.left_out["oplog"] = OPLOG

    @property
    def label(self) -> str:
        return f"dump:{self._path} ({self.database})"

    def collections(self) -> list[SourceCollection]:
        return [
            SourceCollection(
                name=entry.name, documents=None, bytes=None, metadata=entry.metadata.raw if entry.metadata else None
            )
            for entry in sorted(self._listed.values(), key=lambda entry: entry.name)
            if not entry.left_out
        ]

    def fingerprint(self) -> str:
        return fingerprint_files([self.database, *(each.name for each in self.collections())], [self._path])

    def read(self, positions: Mapping[str, str], *, documents: int, size: int) -> Iterator[Batch]:
        """Batches as the blocks come: interleaved where mongodump interleaved. Ends once all asked for are complete."""
        starts = {name: parse_position(position, name) for name, position in positions.items()}
        for name in starts:
            if name not in self._listed or self._listed[name].left_out:
                raise SourceError(f"{self.label} holds no collection {name!r}.", "Has the dump been exchanged?")
        hollow = {name: bool(entry.metadata and entry.metadata.is_view) for name, entry in self._listed.items()}
        return Pass(self._open(self._body), self.database, starts, hollow, documents, size).run()

    def split(self, collection: str, size: int) -> list[Partition] | None:
        """An archive is one stream of all its collections."""
        return None

    def reads_parts(self, collection: str) -> bool:
        return False

    def read_part(self, part: Partition, position: str, *, documents: int, size: int) -> Iterator[Batch]:
        raise NotImplementedError("an archive has no parts")

    def close(self) -> None:
        """Nothing to do: each read closes its own file."""

    def _open(self, start: int) -> Stream:
        self._meter = Meter([self._path])
        chunks = read_chunks(self._path, gzipped=self._gzipped, start=start, meter=self._meter)
        return Stream(chunks, str(self._path), start)

    @property
    def smallest_part(self) -> int:
        return 4 << 20

    def share_read(self) -> float | None:
        return self._meter.share


def _detect_gzip(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            beginning = file.read(len(_MAGIC))
    except OSError as error:
        raise unreadable(path, error) from error
    # Fewer bytes than that are the beginning of either, cut short: for the reader to say where.
    if _MAGIC.startswith(beginning):
        return False
    if beginning[: len(_GZIP)] != _GZIP[: len(beginning)]:
        raise _no_archive(path)
    return True


def _no_archive(path: Path | str) -> SourceError:
    return SourceError(
        f"{path} is not a mongodump archive.",
        "Name a file made by mongodump --archive, or the folder mongodump made (not a file in it).",
    )


def _read_prelude(stream: Stream) -> list[_Listed]:
    magic = stream.peek_length()
    if magic is None:
        raise stream.damage("nothing")
    if struct.pack("<i", magic) != _MAGIC:
        raise _no_archive(stream.file)
    stream.at += len(_MAGIC)
    header = read_fields(stream, "nothing")
    version = read_string(header, "server_version", stream)
    listed: list[_Listed] = []
    while stream.peek_length() != TERMINATOR:
        if stream.at > _LONGEST_PRELUDE or len(listed) == _MOST_LISTED:
            raise stream.damage_here("the list of collections does not end")
        listed.append(_read_listed(stream, version))
    stream.at += 4
    return listed


def _read_listed(stream: Stream, server_version: str) -> _Listed:
    fields = read_fields(stream, "no document")
    name = check_name(read_string(fields, "collection", stream), stream.file)
    raw = read_string(fields, "metadata", stream).encode()
    metadata = parse_metadata(raw, stream.file, stream.at) if raw else None
    kind = (metadata.kind if metadata else "") or read_string(fields, "type", stream)
    if metadata and kind != metadata.kind:
        metadata = Metadata(raw=raw, name=name, kind=kind)
    if kind == "timeseries" and not _keeps_raw_series(server_version):
        name = BUCKETS + name
    left_out = "a view" if kind == "view" else reason_to_leave_out(name)
    return _Listed(database=read_string(fields, "db", stream), name=name, metadata=metadata, left_out=left_out)


def _keeps_raw_series(server_version: str) -> bool:
    """From MongoDB 8.3 on a time series is dumped under its own name, before under that of its buckets."""
    found = re.match(r"(\d{1,4})\.(\d{1,4})", server_version)
    return found is not None and (int(found[1]), int(found[2])) >= (8, 3)
