"""Reads the files of a dump: uncompressed, in chunks, with bounded memory. Not here: what the bytes mean."""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import BinaryIO, Final

from isal import igzip_lib

from migrator.documents.fingerprint import hash_parts
from migrator.errors import DamagedSourceError, SourceError

# Measured on 200 MB of documents: from 128 KiB to 1 MiB there is no difference above the noise.
CHUNK: Final = 1 << 20
_COMPRESSED: Final = 256 << 10
# Bytes at the beginning and at the end of each file that the fingerprint covers.
_EDGE: Final = 64 << 10
# Metadata of one collection with 64 indexes, MongoDB's maximum, take about 30 KB. A larger file is not metadata.
_SMALL: Final = 4 << 20

AGAIN: Final = "The dump is incomplete or damaged. Copy it again from its origin, or create a new dump."

# isal's stubs declare the class as an instance.
_IsalError: type[Exception] = igzip_lib.IsalError  # type: ignore[assignment]


class BrokenFileError(Exception):
    """A file is damaged at `offset` (uncompressed). Internal to this package: `BsonStream` reports the damage."""

    def __init__(self, reason: str, offset: int) -> None:
        super().__init__(reason)
        self.reason = reason
        self.offset = offset


class ReadProgress:
    """Measures how much of the files of one read has been read, in bytes on disk. Used for progress only."""

    def __init__(self, paths: list[Path]) -> None:
        # A file that no longer exists is reported by the code that reads it.
        self._total = sum(path.stat().st_size for path in paths if path.exists())
        self._before = self._here = 0

    def measure(self, file: BinaryIO, chunks: Iterator[bytes]) -> Iterator[bytes]:
        """Yield the chunks of one file and count them."""
        for chunk in chunks:
            self._here = file.tell()
            yield chunk
        self._before, self._here = self._before + file.tell(), 0

    @property
    def share(self) -> float:
        """Return the progress from 0 to 1."""
        return min((self._before + self._here) / self._total, 1.0) if self._total else 1.0


def read_chunks(
    path: Path, *, gzipped: bool, start: int = 0, stop: int | None = None, progress: ReadProgress | None = None
) -> Iterator[bytes]:
    """Yield the file's uncompressed bytes from `start`, at most `CHUNK` at a time; of a plain file only those before
    `stop`.

    Raises: `BrokenFileError` if the file is shorter than `start`, or if it is a damaged gzip file or has other data
    after the gzip data; `SourceError` if the operating system reports an error.
    """
    try:
        with path.open("rb", buffering=0) as file:
            chunks = _inflate(file, start) if gzipped else _read_plain(file, start, stop)
            yield from chunks if progress is None else progress.measure(file, chunks)
    except OSError as error:
        raise explain_unreadable(path, error) from error


def explain_unreadable(path: Path, error: OSError) -> SourceError:
    return SourceError(
        f"cannot read {path}: {error.strerror or error}", "Check that the path exists and its permissions."
    )


def read_small(path: Path, *, gzipped: bool) -> bytes:
    """Return the content of a small file, such as the metadata of a collection.

    Raises: `DamagedSourceError` if it is damaged or too large to be metadata.
    """
    content = bytearray()
    try:
        for chunk in read_chunks(path, gzipped=gzipped):
            content += chunk
            if len(content) > _SMALL:
                raise BrokenFileError(f"metadata file is longer than {_SMALL:,} bytes", len(content))
    except BrokenFileError as error:
        raise DamagedSourceError(error.reason, file=str(path), offset=error.offset, hint=AGAIN) from error
    return bytes(content)


def fingerprint_files(labels: list[str], paths: list[Path]) -> str:
    """Return a SHA-256 digest of the labels and of each file's size, beginning and end.

    Folder names and timestamps are not included, so a copy has the same fingerprint.
    """
    parts = [b"%d:%b" % (len(label.encode()), label.encode()) for label in labels]
    return hash_parts(chain(parts, map(_read_edges, paths)))


def _read_edges(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            head = file.read(_EDGE)
            file.seek(max(size - _EDGE, 0))
            return b"%d;" % size + head + file.read(_EDGE)
    except OSError as error:
        raise explain_unreadable(path, error) from error


def _read_plain(file: BinaryIO, start: int, stop: int | None = None) -> Iterator[bytes]:
    size = os.fstat(file.fileno()).st_size
    if max(start, stop or 0) > size:
        raise _shorter_than(max(start, stop or 0), size)
    file.seek(start)
    while chunk := file.read(CHUNK if stop is None else min(CHUNK, stop - start)):
        start += len(chunk)
        yield chunk


def _inflate(file: BinaryIO, start: int) -> Iterator[bytes]:
    """gzip has no random access: the bytes before `start` are decompressed and discarded."""
    offset = 0
    for chunk in _read_members(file):
        before, offset = offset, offset + len(chunk)
        if offset > start:
            yield chunk[start - before :] if before < start else chunk
    if offset < start:
        raise _shorter_than(start, offset)


def _read_members(file: BinaryIO) -> Iterator[bytes]:
    """Yield the data of all gzip members. isal checks the CRC and length of each. The output per call is limited, so a
    small file that expands to a huge one does not exhaust memory."""
    offset = 0
    member = igzip_lib.IgzipDecompressor(flag=igzip_lib.DECOMP_GZIP)
    try:
        while True:
            data = b""
            if member.eof:
                data = member.unused_data or file.read(_COMPRESSED)
                if not data:
                    return
                member = igzip_lib.IgzipDecompressor(flag=igzip_lib.DECOMP_GZIP)
            elif member.needs_input:
                data = file.read(_COMPRESSED)
                if not data:
                    raise BrokenFileError("the gzip file is truncated", offset)
            chunk = member.decompress(data, CHUNK)
            offset += len(chunk)
            if chunk:
                yield chunk
    except _IsalError as error:
        raise BrokenFileError(f"the gzip file is damaged ({error})", offset) from error


def _shorter_than(start: int, size: int) -> BrokenFileError:
    return BrokenFileError(f"the file ends here, but an earlier run read up to byte {start:,}", size)
