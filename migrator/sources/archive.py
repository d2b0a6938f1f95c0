"""A `mongodump --archive` file, gzip or not: its list of collections. `archive_blocks` reads the blocks.

The format is mongo-tools' common/archive/spec.md: magic number, prelude (a header, one document per collection, a
terminator), then blocks. Not read, and listed in `left_out`: views, collections of the server, and the oplog (database
"", collection oplog). The field `size` in the prelude is always 0, contrary to the specification, so it is not used.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from migrator.errors import SourceError
from migrator.sources.archive_blocks import TERMINATOR, BlockReader, read_fields, read_string
from migrator.sources.base import Batch, Partition, Source, SourceCollection
from migrator.sources.bson_stream import MAX_DOCUMENT_BYTES, BatchLimits, BsonStream, parse_position
from migrator.sources.files import ReadProgress, explain_unreadable, fingerprint_files, read_chunks
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
# The metadata of 10,000 collections with 64 indexes each. A longer list is damage or an attempt to exhaust memory.
_LONGEST_PRELUDE: Final = 4 * MAX_DOCUMENT_BYTES
_MOST_LISTED: Final = 100_000


@dataclass(frozen=True, slots=True, kw_only=True)
class _ListedCollection:
    """One collection of the prelude. `name` is the name in the headers of its blocks."""

    database: str
    name: str
    metadata: Metadata | None
    left_out: str  # why it is not read; "" if it is


class Archive(Source):
    """One database of an archive.

    Each `read` opens the file and reads it once from the beginning, so concurrent reads are possible, also in several
    processes. Positions count the bytes of the collection, not of the archive, as in a dump folder.
    """

    def __init__(self, path: Path, database: str | None = None) -> None:
        self._path = path
        self._gzipped = _detect_gzip(path)
        stream = self._open(0)
        listed = _read_prelude(stream)
        self._body = stream.at
        databases = {entry.database for entry in listed} - {""}
        self._name = choose_database(databases, database, f"The archive {path}")
        self._listed = {entry.name: entry for entry in listed if entry.database == self._name}
        self._left_out = {entry.name: entry.left_out for entry in self._listed.values() if entry.left_out}
        if any(entry.database == "" for entry in listed):
            self._left_out["oplog"] = OPLOG

    @property
    def label(self) -> str:
        return f"dump:{self._path} ({self._name})"

    @property
    def database(self) -> str:
        return self._name

    @property
    def left_out(self) -> Mapping[str, str]:
        return self._left_out

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
        """Yield batches in the order of the blocks: interleaved if mongodump interleaved the collections."""
        starts = {name: parse_position(position, name) for name, position in positions.items()}
        for name in starts:
            if name not in self._listed or self._listed[name].left_out:
                raise SourceError(
                    f"{self.label} does not contain the collection {name!r}", "Check whether the dump was replaced."
                )
        views = {name: bool(entry.metadata and entry.metadata.is_view) for name, entry in self._listed.items()}
        reader = BlockReader(self._open(self._body), self._name, views)
        return reader.read(starts, BatchLimits(documents, size))

    def split(self, collection: str, size: int) -> list[Partition] | None:
        """Return None: an archive is one stream of all its collections."""
        return None

    def reads_partitions(self, collection: str) -> bool:
        return False

    def read_partition(self, part: Partition, position: str, *, documents: int, size: int) -> Iterator[Batch]:
        raise NotImplementedError("an archive has no partitions")

    def close(self) -> None:
        """Do nothing: each read closes its own file."""

    def _open(self, start: int) -> BsonStream:
        self._progress = ReadProgress([self._path])
        chunks = read_chunks(self._path, gzipped=self._gzipped, start=start, progress=self._progress)
        return BsonStream(chunks, str(self._path), start)

    @property
    def min_partition_bytes(self) -> int:
        return 4 << 20

    def share_read(self) -> float | None:
        return self._progress.share


def _detect_gzip(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            beginning = file.read(len(_MAGIC))
    except OSError as error:
        raise explain_unreadable(path, error) from error
    # A shorter file is a truncated archive or gzip file: the read reports the offset.
    if _MAGIC.startswith(beginning):
        return False
    if beginning[: len(_GZIP)] != _GZIP[: len(beginning)]:
        raise _not_an_archive(path)
    return True


def _not_an_archive(path: Path | str) -> SourceError:
    return SourceError(
        f"{path} is not a mongodump archive",
        "Use a file created by mongodump --archive, or the folder created by mongodump (not a file in it).",
    )


def _read_prelude(stream: BsonStream) -> list[_ListedCollection]:
    magic = stream.peek_length()
    if magic is None:
        raise stream.damage("nothing")
    if struct.pack("<i", magic) != _MAGIC:
        raise _not_an_archive(stream.file)
    stream.at += len(_MAGIC)
    header = read_fields(stream, "nothing")
    version = read_string(header, "server_version", stream)
    listed: list[_ListedCollection] = []
    while stream.peek_length() != TERMINATOR:
        if stream.at > _LONGEST_PRELUDE or len(listed) == _MOST_LISTED:
            raise stream.damage_here("the list of collections has no end")
        listed.append(_read_listed(stream, version))
    stream.at += 4
    return listed


def _read_listed(stream: BsonStream, server_version: str) -> _ListedCollection:
    fields = read_fields(stream, "0 documents")
    name = check_name(read_string(fields, "collection", stream), stream.file)
    raw = read_string(fields, "metadata", stream).encode()
    metadata = parse_metadata(raw, stream.file, stream.at) if raw else None
    kind = (metadata.kind if metadata else "") or read_string(fields, "type", stream)
    if metadata and kind != metadata.kind:
        metadata = Metadata(raw=raw, name=name, kind=kind)
    if kind == "timeseries" and not _dumps_series_by_own_name(server_version):
        name = BUCKETS + name
    left_out = "a view" if kind == "view" else reason_to_leave_out(name)
    return _ListedCollection(
        database=read_string(fields, "db", stream), name=name, metadata=metadata, left_out=left_out
    )


def _dumps_series_by_own_name(server_version: str) -> bool:
    """Return whether mongodump uses the name of a time series (MongoDB 8.3 or later) or that of its buckets
    (before)."""
    found = re.match(r"(\d{1,4})\.(\d{1,4})", server_version)
    return found is not None and (int(found[1]), int(found[2])) >= (8, 3)
