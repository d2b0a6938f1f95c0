"""Merges archived documents into rows of another collection (`merges.Merge`), and undoes such merges.

A merged document becomes `loaded`: its ledger row names the row that it was merged into, and stores the original
document and the previous values of the row's columns. One merge is one transaction. Code that changes the rows of the
collection afterwards calls `undo` before and `apply` after.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bson import Binary
from psycopg import sql

from migrator.config.models import Config
from migrator.documents.codec import Document, decode, encode
from migrator.documents.jsonb import from_text, to_text
from migrator.events import Emit, StepAdvanced, StepFinished, StepStarted
from migrator.mapping.collection import Collection
from migrator.mapping.context import Row
from migrator.mapping.merges import Merge
from migrator.postgres.column_kinds import kind_of_column
from migrator.postgres.copy import copy
from migrator.postgres.native import write_row
from migrator.reconciliation.merge_matching import MergeCandidate, MergeMatcher, make_finding
from migrator.rows.ledger_indexes import ensure_ledger_indexes
from migrator.rows.rebuild import LoadedRow, read_loaded
from migrator.rows.refusals import REASON, REFUSALS, is_refusal, read_known_refusals, reject_for, trial, write_accepted
from migrator.rows.store import RowStore
from migrator.rows.update import BATCH_SIZE, add_findings, batched, write_changes
from migrator.state import journal
from migrator.state.own_transactions import own_transaction
from migrator.translation.encoder import ARCHIVE_KINDS, format_target_id
from migrator.translation.outcomes import Finding


@dataclass(frozen=True, slots=True, kw_only=True)
class MergeApplier:
    """Applies and undoes one merge."""

    rows: RowStore
    merge: Merge
    config: Config
    run: int

    @property
    def step(self) -> str:
        """Return the name of the merge's step in the journal."""
        return f"merge {self.merge.name}"

    @property
    def into(self) -> Collection:
        """Return the collection that the documents are merged into."""
        return self.rows.mappings[self.merge.into]

    def apply(self, emit: Emit) -> None:
        """Apply the merge, unless it was applied before. Documents that the target refuses are rejected."""
        if self.step in journal.finished_steps(self.rows.connection, self.rows.namespace):
            return
        emit(StepStarted(step=self.step))
        ensure_ledger_indexes(self.rows.connection, self.rows.namespace)
        self._reject(read_known_refusals(self.rows.connection, self.rows.namespace, self.merge.name))
        while True:
            try:
                self._apply(emit)
                return
            except REFUSALS as error:
                refused = self._find_refused() if is_refusal(self.rows.connection, self.into, error) else {}
                if not refused:
                    raise
                self._reject(refused)

    def _apply(self, emit: Emit) -> None:
        with own_transaction(self.rows.connection, self.rows.namespace):
            matches = MergeMatcher(self.rows, self.merge).match()
            add_findings(self.rows.connection, self.rows.namespace, matches.findings)
            done = 0
            for batch in batched(matches.used.items(), BATCH_SIZE):
                self._use(dict(batch))
                done += len(batch)
                emit(StepAdvanced(step=self.step, done=done, total=len(matches.used)))
            journal.finish_step(self.rows.connection, self.rows.namespace, self.run, self.step)
        emit(StepFinished(step=self.step, note=f"{len(matches.used):,} of {matches.documents:,} documents merged"))

    def undo(self) -> None:
        """Restore the rows to the values that they had before the merge, and archive the documents again."""
        with own_transaction(self.rows.connection, self.rows.namespace):
            self._archive_refused()
            while entries := self._loaded_entries():
                self._restore_rows(entries)
            for template in (
                self.rows.namespace.sql(
                    "DELETE FROM {findings} WHERE collection = {name}", name=sql.Literal(self.merge.name)
                ),
                self.rows.namespace.sql("DELETE FROM {steps} WHERE step = {step}", step=sql.Literal(self.step)),
            ):
                self.rows.connection.execute(template)

    # --- applying --------------------------------------------------------------------------------------------------

    def _use(self, used: dict[bytes, MergeCandidate]) -> None:
        """Merge documents into their rows."""
        raws = self._take_from_archive([candidate.ctid for candidate in used.values()])
        overwrites, findings, changes = self.merge.overwrites(self.config), list[Finding](), dict[bytes, Row]()
        previous: dict[bytes, Document] = {}
        rows = self._read_rows(list(used))
        for _, row, _ in rows:
            row_id = row[self.into.key.column]
            candidate = used[row_id]
            changes[row_id], notes = self._merge_document(decode(raws[candidate.ctid]), row, overwrites)
            previous[row_id] = {name: self._to_bson(name, row[name]) for name in changes[row_id]}
            notes += [(self.merge.codes.ambiguous, "")] if candidate.ambiguous else []
            findings += [
                make_finding(self.merge, code, candidate.source_id, detail) for code, detail in dict.fromkeys(notes)
            ]
        changed = [each for each in rows if changes[self._id(each)]]
        write_changes(self.rows, self.into, changed, changes)
        add_findings(self.rows.connection, self.rows.namespace, findings)
        self._record_loaded(
            used, {row_id: _pack_residue(raws[used[row_id].ctid], before) for row_id, before in previous.items()}
        )

    def _merge_document(self, document: Document, row: Row, overwrites: bool) -> tuple[Row, list[tuple[str, str]]]:
        """Return the columns of a row that a document changes, and (code, detail) of each finding."""
        notes: list[tuple[str, str]] = []
        changes = self.merge.changes(document, row, overwrites, lambda code, detail: notes.append((code, detail)))
        return changes, notes

    def _id(self, loaded: LoadedRow) -> bytes:
        row_id: bytes = loaded[1][self.into.key.column]
        return row_id

    def _read_rows(self, row_ids: list[bytes]) -> list[LoadedRow]:
        return list(read_loaded(self.rows, self.into, [format_target_id(row_id) for row_id in row_ids]))

    def _take_from_archive(self, ctids: list[str]) -> dict[str, bytes]:
        query = self.rows.namespace.sql(
            "DELETE FROM {archive} WHERE ctid = ANY(%s::tid[]) RETURNING ctid::text, document"
        )
        return {row[0]: bytes(row[1]) for row in self.rows.connection.execute(query, (ctids,))}

    def _record_loaded(self, used: dict[bytes, MergeCandidate], residues: dict[bytes, bytes]) -> None:
        """Change ledger rows from archived to loaded: one per document, even if several have the same `_id`."""
        query = self.rows.namespace.sql(
            "SELECT ctid::text, source_id FROM {ledger} WHERE collection = %s AND outcome = 'archived'"
            " AND source_id = ANY(%s) ORDER BY ctid"
        )
        source_ids = [candidate.source_id for candidate in used.values()]
        entries: dict[bytes, list[str]] = defaultdict(list)
        for ctid, source_id in self.rows.connection.execute(query, (self.merge.name, source_ids)):
            entries[bytes(source_id)].append(ctid)
        values = [
            (entries[candidate.source_id].pop(), format_target_id(row_id), residues[row_id])
            for row_id, candidate in used.items()
        ]
        ctids, targets, packed = map(list, zip(*values, strict=True))
        query = self.rows.namespace.sql(
            "UPDATE {ledger} l SET outcome = 'loaded', target_id = c.target_id, residue = c.residue"
            " FROM unnest(%s::tid[], %s::text[], %s::bytea[]) AS c (entry, target_id, residue) WHERE l.ctid = c.entry"
        )
        self.rows.connection.execute(query, (ctids, targets, packed))

    def _to_bson(self, name: str, value: Any) -> Any:
        """Convert a plain column value to a value that BSON can store."""
        return to_text(value) if value is not None and self._is_jsonb(name) else value

    def _is_jsonb(self, name: str) -> bool:
        return kind_of_column(self.into.table.c[name]) == "jsonb"

    # --- refused documents ----------------------------------------------------------------------------------------

    def _find_refused(self) -> dict[bytes, str]:
        """Return the documents that the target does not let be merged: `source_id` → detail of the reject."""
        connection, namespace = self.rows.connection, self.rows.namespace
        with trial(connection, namespace):
            used = sorted(MergeMatcher(self.rows, self.merge).match().used.items(), key=lambda item: item[1].rank)

            def write(start: int, stop: int) -> None:
                self._use(dict(used[start:stop]))

            found = list(write_accepted(connection, len(used), write))
            return {used[at][1].source_id: reject_for(cause).detail for at, cause in found}

    def _reject(self, refused: Mapping[bytes, str]) -> None:
        """Reject archived documents."""
        if not refused:
            return
        connection, namespace = self.rows.connection, self.rows.namespace
        rejected = namespace.sql(
            "WITH taken AS (DELETE FROM {archive} WHERE collection = %s AND source_id = %s RETURNING *)"
            " INSERT INTO {rejects} (collection, source_id, reason, detail, document)"
            " SELECT collection, source_id, %s, %s, document FROM taken"
        )
        recorded = namespace.sql(
            "UPDATE {ledger} SET outcome = 'rejected' WHERE collection = %s AND source_id = %s AND outcome = 'archived'"
        )
        with own_transaction(connection, self.rows.namespace):
            for source_id, detail in refused.items():
                connection.execute(rejected, (self.merge.name, source_id, REASON, detail))
                connection.execute(recorded, (self.merge.name, source_id))

    def _archive_refused(self) -> None:
        """Archive the rejected documents again, so that the next merge tries them."""
        connection, namespace = self.rows.connection, self.rows.namespace
        restored = namespace.sql(
            "WITH taken AS (DELETE FROM {rejects} WHERE collection = %s AND reason = %s RETURNING *)"
            " INSERT INTO {archive} (collection, source_id, document) SELECT collection, source_id, document FROM taken"
        )
        connection.execute(restored, (self.merge.name, REASON))
        recorded = namespace.sql(
            "UPDATE {ledger} SET outcome = 'archived' WHERE collection = %s AND outcome = 'rejected'"
        )
        connection.execute(recorded, (self.merge.name,))

    # --- undoing -----------------------------------------------------------------------------------------------

    def _loaded_entries(self) -> list[tuple[str, bytes, bytes]]:
        query = self.rows.namespace.sql(
            "SELECT target_id, source_id, residue FROM {ledger} WHERE collection = %s AND outcome = 'loaded' LIMIT %s"
        )
        found = self.rows.connection.execute(query, (self.merge.name, BATCH_SIZE), binary=True)
        return [(row[0], bytes(row[1]), bytes(row[2])) for row in found]

    def _restore_rows(self, entries: list[tuple[str, bytes, bytes]]) -> None:
        residues = {target: decode(residue) for target, _, residue in entries}
        target_ids = [target for target, parts in residues.items() if parts["before"]]
        rows = list(read_loaded(self.rows, self.into, target_ids))
        before = {
            self._id(each): self._from_bson(residues[format_target_id(self._id(each))]["before"]) for each in rows
        }
        write_changes(self.rows, self.into, rows, before)
        archived = [(self.merge.name, source_id, bytes(residues[target]["raw"])) for target, source_id, _ in entries]
        copy(
            self.rows.connection,
            self.rows.namespace.sql("{archive}"),
            [write_row(each, ARCHIVE_KINDS) for each in archived],
        )
        query = self.rows.namespace.sql(
            "UPDATE {ledger} SET outcome = 'archived', target_id = NULL, residue = NULL"
            " WHERE collection = %s AND outcome = 'loaded' AND target_id = ANY(%s)"
        )
        self.rows.connection.execute(query, (self.merge.name, list(residues)))

    def _from_bson(self, before: Document) -> Row:
        return {
            name: from_text(value) if value is not None and self._is_jsonb(name) else value
            for name, value in before.items()
        }


def _pack_residue(raw: bytes, before: Document) -> bytes:
    """Return the residue of a merged document: its bytes (`residue.raw_document_of`), and the values it replaced."""
    return encode({"raw": Binary(raw), "before": before})
