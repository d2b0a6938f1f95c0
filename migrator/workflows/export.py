"""`migrate export`: rebuilds the source as a mongodump folder from PostgreSQL alone.

It uses the rows with their residue, the rejects, the archive and the recorded metadata. Collections of auxiliary
sources are written next to the database's folder, as JSON Lines in canonical extended JSON.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from urllib.parse import quote_plus

from migrator.errors import DifferenceError
from migrator.events import Emit, StepAdvanced, StepFinished, StepStarted
from migrator.formatting import format_count
from migrator.mapping.collection import Collection
from migrator.mapping.loader import MigrationDefinition
from migrator.postgres.privileges import refuse_hidden_rows
from migrator.postgres.table_names import name_of
from migrator.rows.rebuild import read_bson
from migrator.rows.store import RowStore
from migrator.state import journal
from migrator.state.ledger import Counts, count_outcomes, read_documents, read_ledger_documents
from migrator.state.records import Connection, Namespace
from migrator.workflows.export_files import name_file, write_collection, write_lines
from migrator.workflows.export_folder import export_folder
from migrator.workflows.export_workers import ExportWorkers

PROGRESS_INTERVAL = 1000  # documents between two events


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportReport:
    """The folder of the dump, and the number of documents of each collection."""

    folder: str
    collections: dict[str, int]

    def as_json(self) -> dict[str, object]:
        return {"folder": self.folder, "collections": self.collections}


def export(
    connection: Connection, definition: MigrationDefinition, folder: Path, workers: ExportWorkers, emit: Emit
) -> ExportReport:
    """Write `folder/<database>/<collection>.bson` and `.metadata.json` for mongorestore, and
    `folder/<collection>.jsonl` for collections of auxiliary sources.

    Raises: `UsageError` if the run is not finished, or if the folder is not empty or cannot be written;
    `DifferenceError` if a row does not fit its residue, or if the number of documents differs from the ledger.
    """
    namespace = Namespace()
    journal.require_finished(connection, namespace)
    counts = count_outcomes(connection, namespace)
    with export_folder(folder, journal.database_name(connection, namespace)) as home:
        workers.prepare(max((each.loaded for each in counts.values()), default=0))
        emit(StepStarted(step="export", total=sum(each.source for each in counts.values())))
        exporter = Exporter(RowStore(connection, namespace, definition.mappings), workers, counts, emit)
        written = dict(_write_collections(exporter, home))
        emit(StepFinished(step="export", note=format_count(sum(written.values()), "documents")))
    return ExportReport(folder=str(home), collections=written)


def _write_collections(exporter: Exporter, home: Path) -> Iterator[tuple[str, int]]:
    """Write all collections and yield their names and documents.

    Raises: `DifferenceError` if the number of documents differs from the ledger.
    """
    rows, counts = exporter.rows, exporter.counts
    metadata = journal.read_metadata(rows.connection, rows.namespace)
    origins = journal.read_origins(rows.connection, rows.namespace)
    for name, names in find_collections(metadata, rows.mappings).items():
        described = next((metadata[each] for each in (name, *names) if metadata.get(each) is not None), None)
        if counts.keys().isdisjoint(names) and described is None and name not in origins:
            continue  # listed, but not read, because policies.unmapped_collections is "ignore"
        if name in origins:
            written = write_lines(home.parent / f"{quote_plus(name)}.jsonl", exporter.read(names))
        else:
            written = exporter.write(home, name, names, described)
        expected = sum(counts[each].source for each in names if each in counts)
        if written != expected:
            refuse_hidden_rows(rows.connection, [name_of(each.table) for each in rows.mappings.values()])
            raise DifferenceError(
                f"{name}: rebuilt {format_count(written, 'documents')}, expected {expected:,}",
                hint="`migrate verify` shows what has changed in the target.",
            )
        yield name, written


class Exporter:
    """Writes the collections of one export, and emits the number of documents so far."""

    def __init__(self, rows: RowStore, workers: ExportWorkers, counts: Mapping[str, Counts], emit: Emit) -> None:
        self.rows, self.counts = rows, counts
        self._workers, self._emit = workers, emit
        self._done = 0

    def write(self, home: Path, name: str, names: Sequence[str], metadata: bytes | None) -> int:
        """Write one collection of the source, whose documents are recorded as `names`. Return their number."""
        parts: list[Path] = []
        left: list[Iterator[bytes]] = []
        number = 0
        for each in names:
            if each in self.rows.mappings and self._workers.are_used(self.counts.get(each)):
                path = home / f"{name_file(name)}.bson.{len(parts)}"
                paths, count = self._workers.write(self.rows.connection, each, path, self._report)
                self._done += count
                parts, number = [*parts, *paths], number + count
                left.append(stored_documents(self.rows, each))
            else:
                left.append(documents_of(self.rows, each))
        return number + write_collection(home, name, metadata, self._counted(chain.from_iterable(left)), parts)

    def read(self, names: Sequence[str]) -> Iterator[bytes]:
        """Yield the documents that are recorded as `names`."""
        return self._counted(chain.from_iterable(documents_of(self.rows, each) for each in names))

    def _counted(self, documents: Iterator[bytes]) -> Iterator[bytes]:
        count = 0
        for count, document in enumerate(documents, start=1):
            yield document
            if count % PROGRESS_INTERVAL == 0:
                self._report(count)
        self._report(count)
        self._done += count

    def _report(self, count: int) -> None:
        self._emit(StepAdvanced(step="export", done=self._done + count))


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


def documents_of(rows: RowStore, name: str) -> Iterator[bytes]:
    """Yield the BSON of every document of a collection: loaded ones are rebuilt, others were stored unchanged.

    Loaded documents of a collection without rows were merged into other rows; the ledger contains them.
    """
    if name in rows.mappings:
        for _, document in read_bson(rows, rows.mappings[name]):
            yield document
    else:
        yield from read_ledger_documents(rows.connection, rows.namespace, name)
    yield from stored_documents(rows, name)


def stored_documents(rows: RowStore, name: str) -> Iterator[bytes]:
    """Yield the BSON of the documents of a collection that were stored unchanged."""
    for relation in ("rejects", "archive"):
        yield from read_documents(rows.connection, rows.namespace, relation, name)
