"""Rebuilds the source as a mongodump folder from PostgreSQL alone: rows and residue, rejects, archive, metadata.

What came from elsewhere than MongoDB goes beside the database's folder, as JSON Lines of canonical extended JSON.
"""

from __future__ import annotations

import json
from base64 import urlsafe_b64encode
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha1
from pathlib import Path
from urllib.parse import quote_plus

from bson.codec_options import DatetimeConversion
from bson.json_util import JSONMode, JSONOptions, dumps

from migrator.documents.codec import decode
from migrator.errors import DifferenceError, UsageError
from migrator.events import Emit, StepAdvanced, StepFinished, StepStarted
from migrator.mapping.collection import Collection
from migrator.postgres.privileges import refuse_hidden_rows
from migrator.rows.rebuild import read_bson
from migrator.rows.store import RowStore
from migrator.state import journal
from migrator.state.ledger import count_outcomes, read_documents, read_ledger_documents
from migrator.state.records import Connection, Namespace, has_records

EXACT = JSONOptions(json_mode=JSONMode.CANONICAL, datetime_conversion=DatetimeConversion.DATETIME_MS)
EVERY = 1000  # documents between two events
LONGEST_STEM = 238  # with `.metadata.json.gz` behind it, the 255 bytes that a file's name may have


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportReport:
    """Where the dump is, and how many documents each of its collections has."""

    folder: str
    collections: dict[str, int]

    def as_json(self) -> dict[str, object]:
        return {"folder": self.folder, "collections": self.collections}


def export(
    connection: Connection, namespace: Namespace, mappings: Mapping[str, Collection], folder: Path, emit: Emit
) -> ExportReport:
    """Writes `folder/<database>/<collection>.bson` and `.metadata.json`, as mongorestore takes them; and
    `folder/<collection>.jsonl` for collections that are none of the database.

    Errors: `UsageError` for a folder that is not empty or cannot be written; `DifferenceError` where what was written
    is not what the ledger counts.
    """
    if not has_records(connection, namespace):
        raise UsageError("there is no migration in this target to export", hint="Start with `migrate run`.")
    counts = count_outcomes(connection, namespace)
    metadata, origins = journal.read_metadata(connection, namespace), journal.read_origins(connection, namespace)
    home = make_folder(folder, journal.database_name(connection, namespace))
    emit(StepStarted(step="export", total=sum(each.source for each in counts.values())))
    written: dict[str, int] = {}
    for name in sorted(metadata):
        if name not in counts and metadata[name] is None and name not in origins:
            continue  # listed, but never read: policies.unmapped_collections is "ignore"
        done, documents = sum(written.values()), documents_of(connection, namespace, mappings, name)
        if name in origins:
            written[name] = write_lines(folder / f"{quote_plus(name)}.jsonl", documents, emit, done)
        else:
            written[name] = write_collection(home, name, metadata[name], documents, emit, done)
        expected = counts[name].source if name in counts else 0
        if written[name] != expected:
            refuse_hidden_rows(connection, [each.table.name for each in mappings.values()])
            raise DifferenceError(
                f"{name}: {written[name]:,} documents could be rebuilt, the journal counts {expected:,}",
                hint="`migrate verify` tells what has changed in the target.",
            )
    emit(StepFinished(step="export", note=f"{sum(written.values()):,} documents"))
    return ExportReport(folder=str(home), collections=written)


def make_folder(folder: Path, database: str) -> Path:
    """The database's folder, newly made; anything that is there already is not ours to overwrite."""
    home = folder / escape(database)
    try:
        if folder.exists() and any(folder.iterdir()):
            raise UsageError(f"{folder} is not empty", hint="Name a new folder.")
        home.mkdir(parents=True)
    except OSError as error:
        raise UsageError(f"{home} cannot be made: {error.strerror}") from error
    return home


def escape(name: str) -> str:
    """mongodump's own way to write what is no file name. It keeps `../x` inside the folder; and no file is hidden."""
    escaped = quote_plus(name)
    return f"%2E{escaped[1:]}" if escaped.startswith(".") else escaped


def name_file(collection: str) -> str:
    """A file's name but for its ending; one that is too long for a file is cut, with a hash behind, as by mongodump.

    The metadata has the whole name then: mongorestore reads it there.
    """
    escaped = escape(collection)
    if len(escaped) <= LONGEST_STEM:
        return escaped
    digest = urlsafe_b64encode(sha1(collection.encode(), usedforsecurity=False).digest()).decode().rstrip("=")
    return f"{escaped[: LONGEST_STEM - 3 - len(digest)]}%24{digest}"


def name_within(metadata: bytes | None, collection: str) -> bytes:
    """Metadata that has the collection's name, which older ones have not."""
    told = json.loads(metadata) if metadata else {"indexes": []}
    return json.dumps({**told, "collectionName": collection}).encode()


def write_collection(
    home: Path, name: str, metadata: bytes | None, documents: Iterator[bytes], emit: Emit, done: int
) -> int:
    """Writes one collection; the file gets its name only when it is whole. Returns the number of documents."""
    stem = name_file(name)
    if stem != escape(name):
        metadata = name_within(metadata, name)
    count = write_file(home / f"{stem}.bson", documents, emit, done)
    if metadata is not None:
        path = home / f"{stem}.metadata.json"
        try:
            path.write_bytes(metadata)
        except OSError as error:
            raise UsageError(f"{path} cannot be written: {error.strerror}", hint="Free some space.") from error
    return count


def write_lines(path: Path, documents: Iterator[bytes], emit: Emit, done: int) -> int:
    """Writes a collection from elsewhere, one JSON object a line; a chunk's file can be read again as `jsonl:`."""
    lines = (dumps(decode(each), json_options=EXACT, ensure_ascii=False).encode() + b"\n" for each in documents)
    return write_file(path, lines, emit, done)


def write_file(path: Path, pieces: Iterator[bytes], emit: Emit, done: int) -> int:
    """Writes a file that gets its name only when it is whole. Returns the number of pieces."""
    partial, count = path.with_name(f"{path.name}.partial"), 0
    try:
        with partial.open("wb") as file:
            for count, piece in enumerate(pieces, start=1):
                file.write(piece)
                if count % EVERY == 0:
                    emit(StepAdvanced(step="export", done=done + count))
        partial.rename(path)
    except OSError as error:
        raise UsageError(f"{partial} cannot be written: {error.strerror}", hint="Free some space.") from error
    emit(StepAdvanced(step="export", done=done + count))
    return count


def documents_of(
    connection: Connection, namespace: Namespace, mappings: Mapping[str, Collection], name: str
) -> Iterator[bytes]:
    """The BSON of every document of a collection: loaded ones rebuilt, the others as they were kept.

    What has no rows of its own, and is loaded all the same, was merged: the ledger has it whole.
    """
    if name in mappings:
        for _, document in read_bson(RowStore(connection, namespace, mappings), mappings[name]):
            yield document
    else:
        yield from read_ledger_documents(connection, namespace, name)
    for relation in ("rejects", "archive"):
        yield from read_documents(connection, namespace, relation, name)
