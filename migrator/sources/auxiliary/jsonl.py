"""Chunks as JSON Lines: one JSON or extended JSON object per line, in the order of each file's text.

Fields of a chunk document, from any auxiliary source: `_id`, `file_id`, `position` (from 0 in its file), `content`,
`metadata`, and all other fields of the input. Vectors are not read, because the migration computes new ones.
"""

from __future__ import annotations

import gzip
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import IO, Any

from bson.codec_options import DatetimeConversion
from bson.errors import BSONError
from bson.json_util import JSONMode, JSONOptions, loads

from migrator.documents.codec import Document, encode
from migrator.documents.fingerprint import hash_file
from migrator.errors import DamagedSourceError, SourceError
from migrator.mapping.context import ABSENT, value_at

OPTIONS = JSONOptions(
    json_mode=JSONMode.CANONICAL, tz_aware=False, datetime_conversion=DatetimeConversion.DATETIME_MS
)  # fmt: skip
# The field names that vector stores and exporters use; the first one with a value is used.
IDS = ("_id", "id", "uuid")
FILES = ("file_id", "fileId", "metadata.file_id", "cmetadata.file_id", "custom_id")
CONTENTS = ("content", "document", "page_content", "pageContent", "text")
METADATA = ("metadata", "cmetadata")
VECTORS = ("embedding", "vector")


class JsonLines:
    """The chunks of a file, compressed with gzip or not."""

    section = "chunks"

    def __init__(self, name: str, path: str) -> None:
        self.name, self._path = name, Path(path)
        self.label = f"jsonl:{path}"
        self._open().close()

    def fingerprint(self) -> str:
        with self._open(raw=True) as file:
            return hash_file(file)

    def read(self, skip: int) -> Iterator[bytes]:
        return islice(self._read(), skip, None)

    def close(self) -> None:
        """Do nothing: no file stays open."""

    def _read(self) -> Iterator[bytes]:
        next_positions: Counter[str] = Counter()
        with self._open() as file:
            offset = 0
            try:
                for number, line in enumerate(file, start=1):
                    if line.strip():
                        yield self._encode(line, number, next_positions)
                    offset += len(line)
            except (ValueError, TypeError, RecursionError, BSONError) as error:
                raise DamagedSourceError(
                    f"line {number} is not a JSON object ({type(error).__name__})",
                    file=str(self._path), offset=offset, hint="Every line must be one JSON object, in UTF-8.",
                ) from error  # fmt: skip
            except (OSError, EOFError) as error:
                raise self._unreadable(error) from error

    def _encode(self, line: bytes, number: int, next_positions: Counter[str]) -> bytes:
        chunk = normalize_chunk(self._parse(line), number, next_positions)
        try:
            return encode(chunk)
        except (BSONError, OverflowError, UnicodeEncodeError):
            # Integers beyond 64 bits, names with U+0000, unpaired surrogates: BSON cannot store the object. The line is
            # kept as text and rejected later, because it has no file.
            return encode({"_id": number, "line": line.decode("utf-8-sig")})

    @staticmethod
    def _parse(line: bytes) -> Document:
        value = loads(line.decode("utf-8-sig"), json_options=OPTIONS)
        if not isinstance(value, dict):
            raise TypeError("not an object")
        return value

    def _open(self, *, raw: bool = False) -> IO[bytes]:
        try:
            file = self._path.open("rb")
        except OSError as error:
            raise self._unreadable(error) from error
        gzipped = file.read(2) == b"\x1f\x8b"
        file.seek(0)
        return gzip.open(file) if gzipped and not raw else file  # type: ignore[return-value]

    def _unreadable(self, error: Exception) -> SourceError:
        reason = getattr(error, "strerror", None) or error
        return SourceError(f"cannot read {self.label}: {reason}", "Correct `url` under [chunks].")


def normalize_chunk(found: Document, number: int, next_positions: Counter[str]) -> Document:
    """Return a chunk with the field names that all chunks have.

    `number` becomes the `_id` of a chunk without one. `next_positions` has the next position per file, for chunks
    without a `position`.
    """
    rest = {name: value for name, value in found.items() if name not in VECTORS}
    chunk: Document = {"_id": _take(rest, IDS, number)}
    file_id = next((value for path in FILES if (value := value_at(rest, path)) not in (ABSENT, None, "")), None)
    position, file = rest.pop("position", None), str(file_id).lower()
    if type(position) is not int:
        position = next_positions[file]
    next_positions[file] = position + 1
    rest.pop("file_id", None)
    chunk |= {"file_id": file_id, "position": position, "content": _take(rest, CONTENTS, None)}
    return {**chunk, "metadata": _take(rest, METADATA, {}), **rest}


def _take(rest: Document, names: tuple[str, ...], otherwise: Any) -> Any:
    """Remove and return the first of these fields that has a value."""
    for name in names:
        if rest.get(name) is not None:
            return rest.pop(name)
    return otherwise
