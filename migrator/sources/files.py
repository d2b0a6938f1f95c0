"""The bytes of a dump's files: uncompressed, a chunk at a time, in bounded memory. What they mean is not known here."""

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
# What of each file goes into a fingerprint, from either end.
_EDGE: Final = 64 << 10
# Metadata of one collection: 64 indexes, the most there can be, take about 30 KB. Anything near this is no metadata.
_SMALL: Final = 4 << 20

AGAIN: Final = "Copy the dump again from where it was made, or take it again: what is here is not whole."

# isal's stubs declare the class as an instance.
_IsalError: type[Exception] = igzip_lib.IsalError  # type: ignore[assignment]


class BrokenFileError(Exception):
    """A file stops making sense at `offset` (uncompressed). Never leaves this package: `Stream` says what was whole."""

    def __init__(self, reason: str, offset: int) -> None:
        super().__init__(reason)
        self.reason = reason
        self.offset = offset


class Meter:
    """How much of the files of one pass has been read, in bytes as they lie on disk: for progress only."""

    def __init__(self, paths: list[Path]) -> None:
        # A file that has gone meanwhile is reported by whoever reads it.
        self._total = sum(path.stat().st_size for path in paths if path.exists())
        self._before = self._here = 0

    def follow(self, file: BinaryIO, chunks: Iterator[bytes]) -> Iterator[bytes]:
        """The chunks of one file, metered."""
        for chunk in chunks:
            self._here = file.tell()
            yield chunk
        self._before, self._here = self._before + file.tell(), 0

    @property
    def share(self) -> float:
        """From 0 to 1."""
        return min((self._before + self._here) / self._total, 1.0) if self._total else 1.0


def read_chunks(
    path: Path, *, gzipped: bool, start: int = 0, stop: int | None = None, meter: Meter | None = None
) -> Iterator[bytes]:
    """The file's uncompressed bytes from `start` on, at most `CHUNK` at once; of a plain file those before `stop`.

    Raises `BrokenFileError` where the file is shorter than `start`, or is gzip and damaged or followed by something
    else; `SourceError` where the system refuses.
    """
    try:
        with path.open("rb", buffering=0) as file:
            chunks = _inflate(file, start) if gzipped else _read_plain(file, start, stop)
            yield from chunks if meter is None else meter.follow(file, chunks)
    except OSError as error:
        raise unreadable(path, error) from error


def unreadable(path: Path, error: OSError) -> SourceError:
    return SourceError(f"{path} cannot be read: {error.strerror or error}.", "Check that it is there and may be read.")


def read_small(path: Path, *, gzipped: bool) -> bytes:
    """A whole file that is small by nature, such as a collection's metadata."""
    content = bytearray()
    try:
        for chunk in read_chunks(path, gzipped=gzipped):
            content += chunk
            if len(content) > _SMALL:
                raise BrokenFileError(f"longer than {_SMALL:,} bytes, which no metadata is", len(content))
    except BrokenFileError as error:
        raise DamagedSourceError(error.reason, file=str(path), offset=error.offset, hint=AGAIN) from error
    return bytes(content)


def fingerprint_files(labels: list[str], paths: list[Path]) -> str:
    """SHA-256 over the labels and each file's size and edges. No names of folders, no times: a copy is the same."""
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
        raise unreadable(path, error) from error


def _read_plain(file: BinaryIO, start: int, stop: int | None = None) -> Iterator[bytes]:
    size = os.fstat(file.fileno()).st_size
    if max(start, stop or 0) > size:
        raise _shorter_than(max(start, stop or 0), size)
    file.seek(start)
    while chunk := file.read(CHUNK if stop is None else min(CHUNK, stop - start)):
        start += len(chunk)
        yield chunk


def _inflate(file: BinaryIO, start: int) -> Iterator[bytes]:
    """What a position lies behind has to be inflated too, and is thrown away."""
    offset = 0
    for chunk in _read_members(file):
        before, offset = offset, offset + len(chunk)
        if offset > start:
            yield chunk[start - before :] if before < start else chunk
    if offset < start:
        raise _shorter_than(start, offset)


def _read_members(file: BinaryIO) -> Iterator[bytes]:
    """All members of a gzip file; isal checks each one's CRC and length. Their output is bounded: no bomb goes off."""
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
                    raise BrokenFileError("the gzip file is cut short", offset)
            chunk = member.decompress(data, CHUNK)
            offset += len(chunk)
            if chunk:
                yield chunk
    except _IsalError as error:
        raise BrokenFileError(f"the gzip file is damaged ({error})", offset) from error


def _shorter_than(start: int, size: int) -> BrokenFileError:
    return BrokenFileError(f"ends here, but an earlier run had read up to byte {start:,}", size)
