"""`migrate export`: rebuilds the source as a mongodump folder from PostgreSQL alone.

It uses the rows with their residue, the rejects, the archive and the recorded metadata. Collections of auxiliary
sources are written next to the database's folder, as JSON Lines in canonical extended JSON.
"""

from __future__ import annotations

import json
from base64 import urlsafe_b64encode
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha1
from itertools import chain
from pathlib import Path
from urllib.parse import quote_plus

from bson.codec_options import DatetimeConversion
from bson.json_util import JSONMode, JSONOptions, dumps

from migrator.documents.codec import decode
from migrator.errors import DifferenceError, UsageError
from migrator.events import Emit, StepAdvanced, StepFinished, StepStarted
from migrator.formatting import format_count
from migrator.mapping.collection import Collection
from migrator.postgres.privileges import refuse_hidden_rows
from migrator.rows.rebuild import read_bson
from migrator.rows.store import RowStore
from migrator.state import journal
from migrator.state.ledger import count_outcomes, read_documents, read_ledger_documents
from migrator.state.records import Connection, Namespace

EXACT = JSONOptions(json_mode=JSONMode.CANONICAL, datetime_conversion=DatetimeConversion.DATETIME_MS)
PROGRESS_INTERVAL = 1000  # documents between two events
LONGEST_STEM = 238  # with `.metadata.json.gz`, 255 bytes: the maximum length of a file name


SPACE_HINT = "Check free disk space and permissions."


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportReport:
    """The folder of the dump, and the number of documents of each collection."""

    folder: str
    collections: dict[str, int]

    def as_json(self) -> dict[str, object]:
        return {"folder": self.folder, "collections": self.collections}


def export(
    connection: Connection, namespace: Namespace, mappings: Mapping[str, Collection], folder: Path, emit: Emit
) -> ExportReport:
    """Write `folder/<database>/<collection>.bson` and `.metadata.json` for mongorestore, and
    `folder/<collection>.jsonl` for collections of auxiliary sources.

    Raises: `UsageError` if the run is not finished, or if the folder is not empty or cannot be written;
    `DifferenceError` if a row does not fit its residue, or if the number of documents differs from the ledger.
    """
    journal.require_finished(connection, namespace)
    rows = RowStore(connection, namespace, mappings)
    counts = count_outcomes(connection, namespace)
    metadata, origins = journal.read_metadata(connection, namespace), journal.read_origins(connection, namespace)
    home = make_folder(folder, journal.database_name(connection, namespace))
    emit(StepStarted(step="export", total=sum(each.source for each in counts.values())))
    written: dict[str, int] = {}
    for name, names in find_collections(metadata, mappings).items():
        described = next((metadata[each] for each in (name, *names) if metadata.get(each) is not None), None)
        if counts.keys().isdisjoint(names) and described is None and name not in origins:
            continue  # listed, but not read, because policies.unmapped_collections is "ignore"
        found = chain.from_iterable(documents_of(rows, each) for each in names)
        documents = report_progress(found, emit, sum(written.values()))
        if name in origins:
            written[name] = write_lines(folder / f"{quote_plus(name)}.jsonl", documents)
        else:
            written[name] = write_collection(home, name, described, documents)
        expected = sum(counts[each].source for each in names if each in counts)
        if written[name] != expected:
            refuse_hidden_rows(connection, [each.table.name for each in mappings.values()])
            raise DifferenceError(
                f"{name}: rebuilt {format_count(written[name], 'documents')}, expected {expected:,}",
                hint="`migrate verify` shows what has changed in the target.",
            )
    emit(StepFinished(step="export", note=format_count(sum(written.values()), "documents")))
    return ExportReport(folder=str(home), collections=written)


def find_collections(recorded: Iterable[str], mappings: Mapping[str, Collection]) -> dict[str, list[str]]:
    """Return the collections of the source, in their order, each with the recorded names of its documents."""
    shared = {each.source_name for each in mappings.values()}
    found: dict[str, list[str]] = defaultdict(list)
    for name in recorded:
        if name in mappings:
            found[mappings[name].source_name].append(name)
        elif name not in shared:
            found[name].append(name)
    return dict(sorted(found.items()))


def make_folder(folder: Path, database: str) -> Path:
    """Create and return the folder of the database. Raises: `UsageError` if `folder` is not empty."""
    home = folder / escape(database)
    try:
        if folder.exists() and any(folder.iterdir()):
            raise UsageError(f"the folder {folder} is not empty", hint="Use a new folder.")
        home.mkdir(parents=True)
    except OSError as error:
        raise UsageError(f"cannot create {home}: {error.strerror}") from error
    return home


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


def report_progress(documents: Iterator[bytes], emit: Emit, done: int) -> Iterator[bytes]:
    """Yield the documents and emit the progress; `done` documents were written before."""
    count = 0
    for count, document in enumerate(documents, start=1):
        yield document
        if count % PROGRESS_INTERVAL == 0:
            emit(StepAdvanced(step="export", done=done + count))
    emit(StepAdvanced(step="export", done=done + count))


def write_collection(home: Path, name: str, metadata: bytes | None, documents: Iterator[bytes]) -> int:
    """Write one collection and return the number of documents."""
    stem = name_file(name)
    if stem != escape(name):
        metadata = name_within(metadata, name)
    count = write_file(home / f"{stem}.bson", documents)
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


def write_file(path: Path, documents: Iterator[bytes]) -> int:
    """Write a file, which gets its final name when it is complete, and return the number of documents."""
    partial, count = path.with_name(f"{path.name}.partial"), 0
    try:
        with partial.open("wb") as file:
            for document in documents:
                file.write(document)
                count += 1
        partial.rename(path)
    except OSError as error:
        raise UsageError(f"cannot write {partial}: {error.strerror}", hint=SPACE_HINT) from error
    return count


def documents_of(rows: RowStore, name: str) -> Iterator[bytes]:
    """Yield the BSON of every document of a collection: loaded ones are rebuilt, others were stored unchanged.

    Loaded documents of a collection without rows were merged into other rows; the ledger contains them.
    """
    if name in rows.mappings:
        for _, document in read_bson(rows, rows.mappings[name]):
            yield document
    else:
        yield from read_ledger_documents(rows.connection, rows.namespace, name)
    for relation in ("rejects", "archive"):
        yield from read_documents(rows.connection, rows.namespace, relation, name)
