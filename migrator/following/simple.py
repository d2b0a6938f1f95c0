"""Applies simple changes: those that leave the outcome of every other document as it is (`independence.py`)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Container, Iterable, Mapping

from migrator.following.changes import Change, Present, output_of, read_present, translate_changes
from migrator.following.closure import Closure
from migrator.following.independence import Independence
from migrator.following.member_lists import adjust_lists, compact_lists
from migrator.following.set_back import forget
from migrator.mapping.collection import Collection, LatestOf
from migrator.postgres.copy import copy
from migrator.reconciliation.conflicts import ConflictResolver
from migrator.reconciliation.latest_values import LatestValue
from migrator.rows.copy import copy_records, copy_rows, replace_rows
from migrator.rows.members import owners_of
from migrator.rows.selection import delete_rows, references_of
from migrator.stages.context import StageContext
from migrator.state import wants
from migrator.translation.encoder import format_target_id


class SimpleChanges:
    """Applies the simple changes of one collection. Requires a transaction."""

    def __init__(self, stage: StageContext, collection: Collection, closure: Closure) -> None:
        self._stage, self._rows, self._collection = stage, stage.rows, collection
        self._independence = Independence(stage.rows, collection, closure)

    # --- documents that exist ----------------------------------------------------------------------------------------

    def upsert(
        self, documents: Mapping[bytes, bytes], resolver: ConflictResolver, present: Present | None = None
    ) -> tuple[set[bytes], list[Change]]:
        """Write the rows of changed documents (source_id → BSON), and return those whose change was simple.

        The changes of rows with values that other documents carry are returned as well, and not yet written.
        `present`: the rows of all documents, if they were read before.
        """
        known: Container[bytes] = documents
        if present is None:
            known = ledger = self._ledger(documents)
            targets = [target for _, target in ledger.values() if target is not None]
            present = read_present(self._rows, self._collection, targets)
        changes = list(translate_changes(resolver, documents, known, present))
        updates = [each for each in changes if each.old_fields is not None]
        inserts = [each for each in changes if each.source_id not in known]
        updates = self._independence.independent_updates(updates) if updates else []
        inserts = self._independence.independent_inserts(inserts) if inserts else []
        carried = [each for each in updates if self._independence.changes_carried(each)]
        updates = [each for each in updates if not self._independence.changes_carried(each)]
        findings = self._findings(updates)
        changed = [each for each in updates if self._differs(each, findings[each.source_id])]
        if changed:
            self.update(changed, resolver)
        if inserts:
            self._insert(inserts, resolver)
        return {each.source_id for each in (*updates, *inserts)}, carried

    def _findings(self, changes: list[Change]) -> dict[bytes, set[tuple[str, str]]]:
        """Return source_id → (code, detail) of the present findings."""
        found: dict[bytes, set[tuple[str, str]]] = defaultdict(set)
        query = self._stage.namespace.sql(
            "SELECT source_id, code, detail FROM {findings} WHERE collection = %s AND source_id = ANY(%s)"
        )
        values = (self._collection.name, [each.source_id for each in changes])
        for source_id, code, detail in self._stage.connection.execute(query, values, binary=True) if changes else ():
            found[bytes(source_id)].add((code, detail))
        return found

    def _ledger(self, source_ids: Iterable[bytes]) -> dict[bytes, tuple[str, str | None]]:
        """Return source_id → (outcome, target ID)."""
        query = self._stage.namespace.sql(
            "SELECT source_id, outcome, target_id FROM {ledger} WHERE collection = %s AND source_id = ANY(%s)"
        )
        found = self._stage.connection.execute(query, (self._collection.name, list(source_ids)), binary=True)
        return {bytes(source_id): (outcome, target) for source_id, outcome, target in found}

    def _differs(self, change: Change, present: set[tuple[str, str]]) -> bool:
        """Return whether the row, the residue or the findings change. A member list in the residue counts as a change.

        `present`: code and detail of the findings that the document has.
        """
        return change.residue != change.old_residue or change.finding_keys != present or change.changes_row

    # --- writing -----------------------------------------------------------------------------------------------------

    def update(self, changes: list[Change], resolver: ConflictResolver) -> None:
        """Write the rows, residues and findings of changed documents."""
        connection, namespace, name = self._stage.connection, self._stage.namespace, self._collection.name
        others = [each for each in changes if each.changes_row]  # an unchanged row costs its indexes, too
        if others:
            columns = others[0].columns.filled
            replace_rows(connection, namespace, resolver.writer.encoder, [each.row for each in others], columns)
        source_ids = [each.source_id for each in changes]
        query = namespace.sql(
            "UPDATE {ledger} l SET residue = c.residue FROM unnest(%s::bytea[], %s::bytea[]) AS c (source_id, residue)"
            " WHERE l.collection = %s AND l.source_id = c.source_id"
        )
        connection.execute(query, (source_ids, [each.residue for each in changes], name))
        forget(self._rows, name, source_ids)
        copy(connection, namespace.sql("{findings}"), [finding for each in changes for finding in each.findings])
        self._record_wants(changes)
        self._compact_own_lists(changes)

    def _insert(self, changes: list[Change], resolver: ConflictResolver) -> None:
        connection, namespace = self._stage.connection, self._stage.namespace
        output = output_of(changes)

        def members(column: str) -> Iterable[tuple[str, bytes]]:
            there = [(each.value(column), each.source_id) for each in changes]
            return [(format_target_id(value), source_id) for value, source_id in there if value is not None]

        copy_rows(connection, namespace, resolver.writer.encoder, output.rows)
        copy_records(connection, namespace, self._collection.name, output)
        self._record_wants(changes)
        self._compact_own_lists(changes)
        adjust_lists(self._rows, self._collection, members, are_gone=False)
        for latest in self._collection.latest_values:
            self._latest_value(latest).raise_to([each.target_id for each in changes])

    def _compact_own_lists(self, changes: list[Change]) -> None:
        """Remove the lists of new residues that the ledger can reproduce."""
        ids = {each.target_id for each in changes}
        listers = {(self._collection.name, rule.path): ids for rule in self._collection.member_lists}
        compact_lists(self._rows, listers)

    def _record_wants(self, changes: list[Change]) -> None:
        name = self._collection.name
        found = [(name, each.source_id, value) for each in changes for value in sorted(each.wants)]
        wants.add(self._stage.connection, self._stage.namespace, found)

    # --- documents that are gone -------------------------------------------------------------------------------------

    def delete(self, source_ids: Iterable[bytes]) -> set[bytes]:
        """Delete the rows of documents that are gone, and return those whose deletion was simple."""
        ledger = self._ledger(source_ids)
        rows = {source_id: target for source_id, (_, target) in ledger.items() if target is not None}
        found = self._independence.independent_deletes(rows)
        if found:
            self._delete(found)
        return found.keys() | (set(source_ids) - ledger.keys())

    def _delete(self, found: Mapping[bytes, str]) -> None:
        connection, namespace, name = self._stage.connection, self._stage.namespace, self._collection.name
        ids, source_ids = sorted(found.values()), list(found)
        latest_values = self._collection.latest_values
        owners = owners_of(self._rows.mappings, name)
        columns = {latest.reference_column for latest in latest_values} | {rule.reference_column for _, rule in owners}
        references = {column: references_of(self._rows, self._collection, column, ids) for column in columns}

        def members(column: str) -> Iterable[tuple[str, bytes]]:
            there = references[column]
            return [(there[row_id], source_id) for source_id, row_id in found.items() if row_id in there]

        delete_rows(self._rows, self._collection, ids)
        query = namespace.sql("DELETE FROM {ledger} WHERE collection = %s AND source_id = ANY(%s)")
        connection.execute(query, (name, source_ids))
        forget(self._rows, name, source_ids)
        adjust_lists(self._rows, self._collection, members, are_gone=True)
        for latest in latest_values:
            self._latest_value(latest).update_some(sorted(set(references[latest.reference_column].values())))

    def _latest_value(self, latest: LatestOf) -> LatestValue:
        return LatestValue(rows=self._rows, collection=self._collection, latest=latest, tenant=self._stage.tenant)
