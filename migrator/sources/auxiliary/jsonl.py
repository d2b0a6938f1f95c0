"""Chunks as JSON Lines: one JSON or extended JSON object per line, in the order of each file's text.

Fields of a chunk document, from any auxiliary source: `_id`, `file_id`, `position` (from 0 in its file), `content`,
`metadata`, and all other fields of the input. `embedding` is the vector of the chunk, as the input has it, if vectors
are to be loaded; otherwise `vector_omitted` is true if the input has one.
`original_json` is the JSON text of a chunk that BSON cannot hold exactly (`json_text`). A content that is no valid text
becomes its bytes, so that the mapping rejects the chunk.
"""

from __future__ import annotations

import gzip
import json
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import IO, Any

from bson.codec_options import DatetimeConversion
from bson.errors import BSONError
from bson.json_util import JSONMode, JSONOptions, object_hook

from migrator.documents.codec import Document, decode, encode
from migrator.documents.fingerprint import hash_file
from migrator.errors import DamagedSourceError, SourceError
from migrator.mapping.context import ABSENT, value_at
from migrator.sources.auxiliary.base import OMITTED, ORIGINAL, UNREADABLE, VECTOR, Origin
from migrator.sources.auxiliary.json_text import JsonText
from migrator.sources.base import VectorSample

OPTIONS = JSONOptions(
    json_mode=JSONMode.CANONICAL, tz_aware=False, datetime_conversion=DatetimeConversion.DATETIME_MS
)  # fmt: skip
# The field names that vector stores and exporters use; the first one with a value is used.
IDS = ("_id", "id", "uuid")
FILES = ("file_id", "fileId", "metadata.file_id", "cmetadata.file_id", "custom_id")
CONTENTS = ("content", "document", "page_content", "pageContent", "text")
METADATA = ("metadata", "cmetadata")
VECTORS = ("embedding", "vector")
SAMPLED_LINES = 1000  # lines in which vectors of a sample are searched


class JsonLines:
    """The chunks of a file, compressed with gzip or not."""

    def __init__(self, origin: Origin, path: str, *, with_vectors: bool = False) -> None:
        self.name, self.section = origin
        self._path, self._with_vectors = Path(path), with_vectors
        self.label = f"jsonl:{path}"
        self._open().close()

    def fingerprint(self) -> str:
        with self._open(raw=True) as file:
            return hash_file(file)

    def read(self, skip: int) -> Iterator[bytes]:
        return islice(self._read(), skip, None)

    def sample_vectors(self, limit: int) -> VectorSample:
        lines = islice(self._read(), SAMPLED_LINES)
        found = (vector for line in lines if (vector := decode(line).get(VECTOR)) is not None)
        return VectorSample(values=tuple(islice(found, limit)))

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
        text = line.decode("utf-8-sig").rstrip("\r\n")
        try:
            chunk = self._read_chunk(text, number, next_positions)
        except RecursionError:
            chunk = {"_id": number, "line": text, UNREADABLE: "nested too deeply"}  # the mapping rejects it
        try:
            return encode(chunk)
        except (BSONError, OverflowError, RecursionError) as error:
            return encode({"_id": number, "line": text, UNREADABLE: f"not valid as BSON ({type(error).__name__})"})

    def _read_chunk(self, text: str, number: int, next_positions: Counter[str]) -> Document:
        found = JsonText(text, lambda value: object_hook(value, OPTIONS))
        if not isinstance(found.value, dict):
            raise TypeError("not an object")
        if not found.changed:
            return self._normalize(found.value, number, next_positions)
        chunk = self._normalize({ORIGINAL: text, **found.value}, number, next_positions)
        content = _take(json.loads(text, parse_int=str), CONTENTS, None)
        if isinstance(content, str) and not _is_valid(content):
            chunk["content"] = content.encode("utf-8", "surrogatepass")  # no text: the mapping rejects the chunk
        return chunk

    def _normalize(self, found: Document, number: int, next_positions: Counter[str]) -> Document:
        rest = dict(found)
        vector = _take(rest, VECTORS, None)
        if not self._with_vectors:
            rest = {name: value for name, value in rest.items() if name not in VECTORS}
        chunk = normalize_chunk(rest, number, next_positions)
        if vector is None:
            return chunk
        return {**chunk, VECTOR: vector} if self._with_vectors else {**chunk, OMITTED: True}

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
        return SourceError(f"cannot read {self.label}: {reason}", f"Correct `url` under [{self.section}].")


def normalize_chunk(found: Document, number: int, next_positions: Counter[str]) -> Document:
    """Return a chunk with the field names that all chunks have.

    `number` becomes the `_id` of a chunk without one. `next_positions` has the next position per file, for chunks
    without a `position`.
    """
    rest = dict(found)
    chunk: Document = {"_id": _take(rest, IDS, number)}
    file_id = next((value for path in FILES if (value := value_at(rest, path)) not in (ABSENT, None, "")), None)
    position, file = rest.pop("position", None), str(file_id).lower()
    if isinstance(position, float) and position.is_integer():
        position = int(position)
    if position is None:
        position = next_positions[file]
    if type(position) is int:  # the mapping rejects other types
        next_positions[file] = position + 1
    rest.pop("file_id", None)
    chunk |= {"file_id": file_id, "position": position, "content": _take(rest, CONTENTS, None)}
    return {**chunk, "metadata": _take(rest, METADATA, {}), **rest}


def _is_valid(text: str) -> bool:
    """Return whether a text has no unpaired surrogate."""
    return not any("\ud800" <= character <= "\udfff" for character in text)


def _take(rest: Document, names: tuple[str, ...], otherwise: Any) -> Any:
    """Remove and return the first of these fields that has a value."""
    for name in names:
        if rest.get(name) is not None:
            return rest.pop(name)
    return otherwise
