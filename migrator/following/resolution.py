"""Resolves the queued documents of one collection, as a run does: load them, then decide about conflicts and trees.

Before a document is loaded, every document that could contend with it for an ID or a unique value is set back, so that
the result depends on the documents only, not on the order in which they arrived.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from bson.errors import InvalidBSON

from migrator.documents import raw_bson
from migrator.documents.codec import Document, decode_untrusted
from migrator.following.batch import Batch, DocumentKey
from migrator.following.closure import RowIds
from migrator.following.interests import (
    claims_of,
    offers_of,
    requested_ids,
    wanted_parent,
    wanting_lookups,
    wants_of_loaded,
    wants_of_unloaded,
)
from migrator.following.set_back import SetBack
from migrator.mapping.collection import Collection
from migrator.reconciliation.conflicts import ConflictResolver
from migrator.reconciliation.id_order import id_order
from migrator.reconciliation.trees import CUT_CODES, Trees
from migrator.reconciliation.unloaded import Scope, record_unloaded_owners
from migrator.rows.admission import Admission
from migrator.rows.copy import copy_records, copy_rows
from migrator.rows.rebuild import read_documents
from migrator.rows.refusals import REASON, find_refused, reject_for
from migrator.rows.selection import ids_with
from migrator.stages.context import StageContext
from migrator.state import wants
from migrator.state.wants import Wanted
from migrator.translation.encoder import Output, SourceDocument, format_target_id
from migrator.translation.outcomes import Finding, Loaded, Reject, Result

Outcome = tuple[str, str | None, str | None]  # outcome, target ID, reason of the reject


@dataclass(frozen=True, slots=True)
class Translated:
    """A queued document with the outcome of its translation. `fields` is None if it cannot be decoded."""

    raw: bytes
    fields: Document | None
    result: Result
    findings: list[Finding]
    wants: frozenset[Wanted]  # of a loaded document


class CollectionResolution:
    """Resolves the queued documents of one collection."""

    def __init__(self, stage: StageContext, resolver: ConflictResolver, set_back: SetBack, batch: Batch) -> None:
        self._stage, self._rows = stage, stage.rows
        self._resolver, self._collection = resolver, resolver.collection
        self._set_back, self._batch = set_back, batch
        self._translated: dict[bytes, Translated] = {}

    def resolve(self) -> None:
        """Resolve all queued documents, and set back what waits for their rows in later levels."""
        queue = self._batch.queue[self._collection.name]
        if not queue:
            self._wake_blocked(self._record_unloaded_owners())  # a rejected document may be gone
            self._resolve_tree()  # a row may be gone that others name as their parent
            return
        while new := {source_id: raw for source_id, raw in queue.items() if source_id not in self._translated}:
            self._translate(new)
            self._set_contenders_back(new)
        self._note_scope()
        self._load()
        self._resolve_conflicts()
        blocked = self._record_unloaded_owners()
        self._resolve_tree()
        outcomes = self._outcomes()
        self._record_wants(outcomes)
        name = self._collection.name
        self._batch.resolved |= {(name, source_id) for source_id in self._translated}
        queue.clear()
        self._wake(target for _, target, _ in outcomes.values() if target is not None)
        self._wake_blocked(blocked)

    # --- before the load ---------------------------------------------------------------------------------------------

    def _translate(self, new: Mapping[bytes, bytes]) -> None:
        decoded: dict[bytes, Document] = {}
        for source_id, raw in new.items():
            try:
                decoded[source_id] = decode_untrusted(raw)
            except InvalidBSON as error:
                reject = Reject(reason="undecodable", detail=str(error))
                self._translated[source_id] = Translated(raw, None, reject, [], frozenset())
        writer = self._resolver.writer
        translation = writer.translation(list(decoded.values()))
        wanting = wanting_lookups(self._collection, translation.references)
        for source_id, document in decoded.items():
            raw = new[source_id]
            result, findings = translation.translate(document, None, writer.unfaithful(document, raw))
            wanted = frozenset(wants_of_loaded(self._collection, document, wanting))
            self._translated[source_id] = Translated(raw, document, result, findings, wanted)

    def _set_contenders_back(self, new: Iterable[bytes]) -> None:
        """Set back all documents that contend with new ones, and the groups of the tree that new ones belong to."""
        collection, found = self._collection, set[Wanted]()
        requested: set[Any] = set()
        loaded: list[Translated] = []
        for each in (self._translated[source_id] for source_id in new):
            if each.fields is None:
                continue
            row = each.result.row if isinstance(each.result, Loaded) else None
            found |= set(claims_of(collection, each.fields, row))
            requested |= set(requested_ids(collection, each.fields, row))
            loaded += [each] if row is not None else []
        rows: RowIds = defaultdict(set)
        rows[collection.name] = self._holders(collection, requested, loaded) | self._group_rows(loaded)
        for later in self._later:
            rows[later.name] = self._holders(later, requested, loaded)
        waiting = self._waiting(found)
        unloaded = self._set_back.closure.split_loaded({each for each in waiting if each[0] == collection.name}, rows)
        self._set_back.rows(rows, unloaded)

    @property
    def _later(self) -> list[Collection]:
        """The mappings of the same table that have to yield to this one."""
        return [each for each in self._rows.mappings.values() if self._collection.name in each.earlier]

    def _holders(self, collection: Collection, requested: set[Any], loaded: list[Translated]) -> set[str]:
        """Return the rows that have a requested ID or unique value, or that asked for such an ID before."""
        ids = [format_target_id(each) for each in requested]
        found = set(ids)  # only those that exist are set back
        query = self._rows.namespace.sql(
            "SELECT target FROM {aliases} WHERE collection = %s AND original_id = ANY(%s) AND target IS NOT NULL"
        )
        found |= {row[0] for row in self._rows.connection.execute(query, (collection.name, ids))}
        for column in collection.unique:
            values = [each.result.row[column] for each in loaded if isinstance(each.result, Loaded)]
            found |= ids_with(self._rows, collection, column, [value for value in values if value is not None])
        return found

    def _group_rows(self, loaded: list[Translated]) -> set[str]:
        if self._collection.tree is None:
            return set()
        column = self._collection.tree.within
        values = {each.result.row[column] for each in loaded if isinstance(each.result, Loaded)}
        groups = [format_target_id(value) for value in values if value is not None]
        return self._set_back.closure.undecided_rows(self._collection, groups)

    def _note_scope(self) -> None:
        """Record which groups, latest values and member lists the new rows affect."""
        rows = [each.result.row for each in self._translated.values() if isinstance(each.result, Loaded)]

        def values(column: str) -> set[str]:
            return {format_target_id(row[column]) for row in rows if row[column] is not None}

        self._batch.note_scope(self._rows, self._collection, values)

    # --- loading -----------------------------------------------------------------------------------------------------

    def _load(self) -> None:
        """Load the documents in the order of `_id`, so that few conflicts remain."""
        encoder, namespace = self._resolver.writer.encoder, self._rows.namespace
        output, ordered = Output(), sorted(self._translated.items(), key=lambda item: id_order(item[0]))
        for index, (source_id, each) in enumerate(ordered):
            encoder.add(output, SourceDocument(index, source_id, each.raw, each.fields or {}), each.result)
            encoder.add_findings(output, index, each.findings)
        data = b"".join(each.raw for _, each in ordered)
        admission = Admission(self._rows.connection, namespace, encoder, checks_first=True)
        later = self._batch.refused.get(self._collection.name, {})
        refused = {
            index: Reject(reason=REASON, detail=later[source_id])
            for index, (source_id, _) in enumerate(ordered)
            if source_id in later
        }
        if self._batch.is_careful:
            refused |= self._find_refused(output, refused)
        admission.load(output, data, list(raw_bson.document_offsets(data)), refused)
        copy_records(self._rows.connection, namespace, self._collection.name, output)

    def _find_refused(self, output: Output, rejected: Container[int]) -> dict[int, Reject]:
        """Return the documents, by index, whose rows a constraint or an index of the target refuses.

        `rejected`: documents, by index, that will not be loaded.
        """
        connection, namespace = self._rows.connection, self._rows.namespace
        left = [(index, row) for index, row in zip(output.indexes, output.rows, strict=True) if index not in rejected]

        def write(start: int, stop: int) -> None:
            rows = [row for _, row in left[start:stop]]
            copy_rows(connection, namespace, self._resolver.writer.encoder, rows)

        own = {str(each.name) for each in self._collection.table.constraints}
        return {
            left[at][0]: reject_for(cause)
            for at, cause in find_refused(connection, namespace, len(left), write)
            if cause.diag.constraint_name not in own  # conflicts and parents are decided later
        }

    def _resolve_conflicts(self) -> None:
        query = self._rows.namespace.sql(
            "SELECT source_id, id FROM {rejects} WHERE collection = %s AND source_id = ANY(%s) AND reason = ANY(%s)"
        )
        values = (self._collection.name, list(self._translated), self._resolver.reasons)
        found = self._rows.connection.execute(query, values, binary=True).fetchall()
        for _ in self._resolver.resolve_all([(bytes(row[0]), row[1]) for row in found]):
            pass

    def _resolve_tree(self) -> None:
        if self._collection.tree is None:
            return
        groups = tuple(sorted(self._batch.groups[self._collection.name]))
        if not groups:
            return
        Trees(
            rows=self._rows, collection=self._collection, tenant=self._stage.tenant, run=self._stage.run, groups=groups
        ).resolve()
        self._record_dangling(list(groups))

    def _record_dangling(self, groups: list[str]) -> None:
        """Record that rows whose parent is missing now want it, if their documents were not resolved again."""
        dangling = self._set_back.closure.undecided_rows(self._collection, groups)
        found = list[tuple[str, bytes, Wanted]]()
        for source_id, _, document in read_documents(self._rows, self._collection, sorted(dangling)):
            if source_id not in self._translated:
                parents = wanted_parent(self._collection, document)
                found += [(self._collection.name, source_id, each) for each in parents]
        wants.add(self._rows.connection, self._rows.namespace, found)

    # --- after the load ----------------------------------------------------------------------------------------------

    def _outcomes(self) -> dict[bytes, Outcome]:
        """Return the outcome of each document, by `source_id`."""
        query = self._rows.namespace.sql(
            "SELECT l.source_id, l.outcome, l.target_id, r.reason FROM {ledger} l LEFT JOIN {rejects} r"
            " ON r.collection = l.collection AND r.source_id = l.source_id AND l.outcome = 'rejected'"
            " WHERE l.collection = %s AND l.source_id = ANY(%s)"
        )
        values = (self._collection.name, list(self._translated))
        found = self._rows.connection.execute(query, values, binary=True)
        return {bytes(source_id): (outcome, target, reason) for source_id, outcome, target, reason in found}

    def _dangling(self) -> set[bytes]:
        """Return the documents whose rows do not have the parent that they name."""
        query = self._rows.namespace.sql(
            "SELECT source_id FROM {findings} WHERE collection = %s AND code = ANY(%s) AND source_id = ANY(%s)"
        )
        values = (self._collection.name, list(CUT_CODES), list(self._translated))
        return {bytes(row[0]) for row in self._rows.connection.execute(query, values, binary=True)}

    def _record_wants(self, outcomes: Mapping[bytes, Outcome]) -> None:
        name, found = self._collection.name, list[tuple[str, bytes, Wanted]]()
        dangling = self._dangling() if self._collection.tree is not None else set()
        for source_id, (outcome, _, reason) in outcomes.items():
            each = self._translated[source_id]
            if each.fields is None:
                continue
            wanted = each.wants
            if source_id in dangling:
                wanted |= wanted_parent(self._collection, each.fields)
            if outcome != "loaded":
                wanted = frozenset(wants_of_unloaded(self._collection, each.fields, each.result, reason))
            found += [(name, source_id, value) for value in sorted(wanted)]
        wants.add(self._rows.connection, self._rows.namespace, found)

    def _wake(self, loaded: Iterable[str]) -> None:
        """Set back the documents of later levels that want a value of the rows that are here now."""
        offers = offers_of(self._rows, self._collection, loaded)
        waiting = self._waiting(offers)
        self._set_back.documents({each for each in waiting if each[0] != self._collection.name} - self._batch.resolved)

    def _record_unloaded_owners(self) -> set[str]:
        """Record the owners of documents without a row whose ID leads to rows of other owners.

        Return the IDs whose blocked owners are others than before.
        """
        collection = self._collection
        if collection.reference_owner is None:
            return set()  # only these have such records
        documents = [each.fields for each in self._translated.values() if each.fields is not None]
        ids = {format_target_id(each) for document in documents for each in requested_ids(collection, document)}
        ids |= self._batch.asked[collection.name]
        waiting = self._waiting({Wanted(collection.name, collection.key.column, each) for each in ids})
        source_ids = self._translated.keys() | {source_id for name, source_id in waiting if name == collection.name}
        return record_unloaded_owners(self._resolver.writer, Scope(frozenset(ids), frozenset(source_ids)))

    def _waiting(self, wanted: Iterable[Wanted]) -> set[DocumentKey]:
        return wants.find(self._rows.connection, self._rows.namespace, wanted)

    def _wake_blocked(self, blocked: set[str]) -> None:
        """Set back the documents that refer to one of these IDs."""
        collection, ids = self._collection, sorted(blocked)
        if not ids:
            return
        waiting = self._waiting({Wanted(collection.name, collection.key.column, each) for each in ids})
        self._set_back.documents({each for each in waiting if each[0] != collection.name} - self._batch.resolved)
        self._set_back.rows(self._set_back.closure.children_of(collection, ids))
