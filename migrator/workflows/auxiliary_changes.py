"""Applies the changes of auxiliary sources while a live source is followed.

They have no change stream. A source whose fingerprint has changed is read as a whole, and what differs is applied.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from migrator.documents import raw_bson
from migrator.errors import StoppedError
from migrator.events import StepAdvanced, StepFinished, StepStarted
from migrator.following.applier import Applier
from migrator.following.differing import find_differing
from migrator.formatting import format_count
from migrator.rows.update import batched
from migrator.sources.base import Batch
from migrator.state import journal
from migrator.state.records import Connection, Namespace
from migrator.workflows.migration import MigrationContext

BATCH_SIZE = 1000  # documents
BATCH_BYTES = 8 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class AuxiliaryChanges:
    """The auxiliary sources of one migration, whose run has finished."""

    context: MigrationContext
    applier: Applier

    @property
    def _connection(self) -> Connection:
        return self.applier.stage.connection

    @property
    def _namespace(self) -> Namespace:
        return self.context.namespace

    def apply(self) -> int:
        """Apply what has changed, and return the number of documents that were applied. Can be repeated."""
        run, known = journal.require_finished(self._connection, self._namespace)
        applied = 0
        for section, fingerprint in self.context.source.auxiliary_fingerprints().items():
            if known.get(section) != fingerprint:
                applied += self._apply_section(section)
                # A change after the fingerprint was taken gives another one, so it is applied the next time.
                journal.record_auxiliary(self._connection, self._namespace, run, {section: fingerprint})
        return applied

    def _apply_section(self, section: str) -> int:
        definition, emit = self.context.definition, self.context.emit
        merge = next((each.name for each in definition.merges.values() if each.section == section), None)
        name = merge or next(each.name for each in definition.mappings.values() if each.section == section)
        step = f"follow {name}"
        emit(StepStarted(step=step, unit="documents"))
        if merge is not None:
            applied = self.applier.replace_merged(name, self._read_documents(step, name))
        else:
            applied = self._apply_mapped(step, name)
        emit(StepFinished(step=step, note=f"{format_count(applied, 'documents')} applied"))
        return applied

    # --- documents that become rows ----------------------------------------------------------------------------------

    def _apply_mapped(self, step: str, name: str) -> int:
        """Apply the documents of a mapped collection that differ, then the deletion of those that are gone."""
        self._connection.execute("DROP TABLE IF EXISTS pg_temp.present")
        self._connection.execute("CREATE TEMPORARY TABLE present (source_id bytea)")
        self._connection.execute("CREATE INDEX ON pg_temp.present USING hash (source_id)")
        mapping, applied = self.context.definition.mappings[name], 0
        for documents in batched(self._read_documents(step, name), BATCH_SIZE):
            self._note_present(name, [source_id for source_id, _ in documents])
            differing = find_differing(self.applier.stage.rows, mapping, dict(documents))
            applied += self._apply({(name, source_id): raw for source_id, raw in differing.items()})
        query = self._namespace.sql(
            "SELECT source_id FROM {ledger} WHERE collection = %s EXCEPT SELECT source_id FROM pg_temp.present"
        )
        gone = [bytes(row[0]) for row in self._connection.execute(query, (name,), binary=True)]
        for source_ids in batched(gone, BATCH_SIZE):
            applied += self._apply({(name, source_id): None for source_id in source_ids})
        self._connection.execute("DROP TABLE pg_temp.present")
        return applied

    def _apply(self, newest: dict[tuple[str, bytes], bytes | None]) -> int:
        return self.applier.apply([], newest).changes if newest else 0

    def _note_present(self, name: str, source_ids: list[bytes]) -> None:
        """Record the documents of the source.

        Raises: `StoppedError` if two documents have the same ID: which of them has a row is decided by a run only.
        """
        query = "SELECT EXISTS (SELECT FROM pg_temp.present WHERE source_id = ANY(%s))"
        is_repeated = len(set(source_ids)) < len(source_ids)
        if is_repeated or self._connection.execute(query, (source_ids,)).fetchone() == (True,):
            raise StoppedError(
                f"{name} has changed, and has several documents with the same ID, so its changes cannot be followed",
                hint=f"Remove the duplicates from [{self.context.definition.mappings[name].section}], then run the"
                " same command again.",
            )
        self._connection.execute("INSERT INTO pg_temp.present SELECT unnest(%s::bytea[])", (source_ids,))

    # --- reading -----------------------------------------------------------------------------------------------------

    def _read_documents(self, step: str, name: str) -> Iterator[tuple[bytes, bytes]]:
        """Yield (`source_id`, BSON) of all documents of the source."""
        done = 0
        for batch in self._read(name):
            for raw in raw_bson.split_documents(batch.data):
                yield raw_bson.source_id(raw), raw
            done += batch.count
            self.context.emit(StepAdvanced(step=step, done=done))

    def _read(self, name: str) -> Iterator[Batch]:
        return self.context.source.read({name: ""}, documents=BATCH_SIZE, size=BATCH_BYTES)
