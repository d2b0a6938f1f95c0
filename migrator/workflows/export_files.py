"""The files of an export: their names, as mongodump chooses them, and how they are written."""

from __future__ import annotations

import json
import shutil
from base64 import urlsafe_b64encode
from collections.abc import Iterator, Sequence
from hashlib import sha1
from pathlib import Path
from urllib.parse import quote_plus

from bson.codec_options import DatetimeConversion
from bson.json_util import JSONMode, JSONOptions, dumps

from migrator.documents.codec import decode
from migrator.errors import UsageError

EXACT = JSONOptions(json_mode=JSONMode.CANONICAL, datetime_conversion=DatetimeConversion.DATETIME_MS)
LONGEST_STEM = 238  # with `.metadata.json.gz`, 255 bytes: the maximum length of a file name
COPIED_BYTES = 1 << 20
SPACE_HINT = "Check free disk space and permissions."


def escape(name: str) -> str:
    """Return a name as mongodump escapes it in file names. `../x` stays inside the folder, and no file is hidden."""
    escaped = quote_plus(name)
    return f"%2E{escaped[1:]}" if escaped.startswith(".") else escaped


def name_file(collection: str) -> str:
    """Return the file name of a collection without its extension. As by mongodump, a long name is truncated and gets a
    hash.

    The metadata contain the full name then, where mongorestore reads it.
    """
    escaped = escape(collection)
    if len(escaped) <= LONGEST_STEM:
        return escaped
    digest = urlsafe_b64encode(sha1(collection.encode(), usedforsecurity=False).digest()).decode().rstrip("=")
    return f"{escaped[: LONGEST_STEM - 3 - len(digest)]}%24{digest}"


def name_within(metadata: bytes | None, collection: str) -> bytes:
    """Return the metadata with the collection's name, which metadata of older versions do not contain."""
    fields = json.loads(metadata) if metadata else {"indexes": []}
    return json.dumps({**fields, "collectionName": collection}).encode()


def write_collection(
    home: Path, name: str, metadata: bytes | None, documents: Iterator[bytes], parts: Sequence[Path] = ()
) -> int:
    """Write one collection, which begins with the files `parts`, and return the number of `documents`."""
    stem = name_file(name)
    if stem != escape(name):
        metadata = name_within(metadata, name)
    count = write_file(home / f"{stem}.bson", documents, parts)
    if metadata is not None:
        path = home / f"{stem}.metadata.json"
        try:
            path.write_bytes(metadata)
        except OSError as error:
            raise UsageError(f"cannot write {path}: {error.strerror}", hint=SPACE_HINT) from error
    return count


def write_lines(path: Path, documents: Iterator[bytes]) -> int:
    """Write a collection of an auxiliary source, one JSON object per line. Chunks can be read again as `jsonl:`."""
    lines = (dumps(decode(each), json_options=EXACT, ensure_ascii=False).encode() + b"\n" for each in documents)
    return write_file(path, lines)


def write_file(path: Path, documents: Iterator[bytes], parts: Sequence[Path] = ()) -> int:
    """Write a file, which gets its final name when it is complete, and return the number of documents.

    It begins with the contents of the files `parts`, which are deleted.
    """
    partial, count = path.with_name(f"{path.name}.partial"), 0
    try:
        if parts:
            parts[0].rename(partial)
        with partial.open("ab") as file:
            for part in parts[1:]:
                with part.open("rb") as source:
                    shutil.copyfileobj(source, file, COPIED_BYTES)
                part.unlink()
            for document in documents:
                file.write(document)
                count += 1
        partial.rename(path)
    except OSError as error:
        raise UsageError(f"cannot write {partial}: {error.strerror}", hint=SPACE_HINT) from error
    return count
