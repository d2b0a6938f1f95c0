"""Decides which document keeps an ID or a unique value that several documents need (mapping-decisions.md, Identifiers).

The load rejects every document except the first one it reads. Here the order of `_id` decides instead: the document
with the smallest `_id` keeps the value. A later document of another owner gets a UUID derived from its own `_id`; a
later account may be merged; any other document stays rejected. The result depends only on the documents, not on the
order in which they were loaded, so that it is the same after an interruption.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from heapq import heapify, heappop, heappush

from bson.errors import InvalidBSON

from migrator import ids
from migrator.documents import raw_bson
from migrator.documents.codec import Document, decode, decode_untrusted
from migrator.mapping.context import Row
from migrator.reconciliation.dependents import preserve_dependents
from migrator.reconciliation.document_writer import DocumentWriter
from migrator.reconciliation.existing_rows import ExistingRows
from migrator.reconciliation.id_order import id_order
from migrator.reconciliation.order import Incumbent, tie_breaker
from migrator.reconciliation.rekey import Rejected, rekey_simple
from migrator.rows.refusals import REFUSALS, is_refusal, reject_for
from migrator.state.own_transactions import own_transaction
from migrator.translation.encoder import format_target_id
from migrator.translation.outcomes import Archive, Finding, Loaded, Reject

Yielded = tuple[Incumbent, str]  # and the reason for its reject


@dataclass(frozen=True, slots=True)
class Incoming:
    """A rejected document with the row that it would become."""

    raw: bytes
    document: Document
    row: Row

    @property
    def source_id(self) -> bytes:
        """Return the BSON document `{"_id": …}`."""
        return raw_bson.source_id(self.raw)


class ConflictResolver:
    """Resolves the conflicts of one collection.

    `merge`: reject reasons for which the later document is merged into the earlier one.
    """

    def __init__(self, writer: DocumentWriter, merge: frozenset[str]) -> None:
        self.writer, self._merge = writer, merge
        self.rows, self.collection = writer.rows, writer.collection
        self._connection, self._namespace = writer.rows.connection, writer.rows.namespace
        self._existing = ExistingRows(writer.rows, writer.collection)

    @property
    def reasons(self) -> list[str]:
        """Return the reject reasons that mean a conflict."""
        return ["duplicate_id", *self.collection.unique.values()]

    def pending_rejects(self) -> list[Rejected]:
        """Return the documents that were rejected because of a conflict."""
        query = self._namespace.sql("SELECT source_id, id FROM {rejects} WHERE collection = %s AND reason = ANY(%s)")
        found = self._connection.execute(query, (self.collection.name, self.reasons), binary=True).fetchall()
        return [(bytes(row[0]), row[1]) for row in found]

    def all_rejects(self) -> list[Rejected]:
        """Return all rejected documents, whatever the reason, except those whose later changes the target refuses."""
        query = self._namespace.sql(
            "SELECT source_id, id FROM {rejects} r WHERE collection = %s AND NOT EXISTS (SELECT FROM {refusals} f"
            " WHERE f.collection = r.collection AND f.source_id = r.source_id)"
        )
        found = self._connection.execute(query, (self.collection.name,), binary=True).fetchall()
        return [(bytes(row[0]), row[1]) for row in found]

    def resolve_all(self, rejects: Iterable[Rejected]) -> Iterator[None]:
        """Resolve rejected documents and the documents that yield to them, in `_id` order. Yields after each.

        Afterwards call `record_unloaded_owners`.
        Because of this order, a document that keeps or has received an ID is smaller than every later one.
        """
        rejects = list(rejects)
        done = set()
        for each in rekey_simple(self.writer, rejects):
            done.add(each)
            yield
        rejects = [each for each in rejects if each not in done]
        ties = self._tie_breakers(rejects)
        queue = [(id_order(source_id), ties.get(number, b""), number, source_id) for source_id, number in rejects]
        heapify(queue)
        while queue:
            *_, number, source_id = heappop(queue)
            for yielded_id, raw, its_number in self.resolve(source_id, number):
                heappush(queue, (id_order(yielded_id), tie_breaker(raw), its_number, yielded_id))
            yield

    def _tie_breakers(self, rejects: list[Rejected]) -> dict[int, bytes]:
        """Return the sort keys among documents with the same `_id`, by reject number."""
        if not rejects:
            return {}
        query = self._namespace.sql(
            "SELECT source_id FROM {ledger} WHERE collection = %s AND source_id = ANY(%s)"
            " GROUP BY 1 HAVING count(*) > 1"
        )
        found = self._connection.execute(query, (self.collection.name, [source_id for source_id, _ in rejects]))
        shared = {bytes(row[0]) for row in found}
        numbers = [number for source_id, number in rejects if source_id in shared]
        query = self._namespace.sql("SELECT id, document FROM {rejects} WHERE id = ANY(%s)")
        return {row[0]: tie_breaker(bytes(row[1])) for row in self._connection.execute(query, (numbers,))}

    def resolve(self, source_id: bytes, number: int) -> list[tuple[bytes, bytes, int]]:
        """Decide about one rejected document in one transaction; reject it if the target refuses its row.

        Returns the documents that yielded to it and are rejected now: (source_id, BSON, reject number).
        """
        try:
            return self._resolve(source_id, number, None)
        except REFUSALS as error:
            if not is_refusal(self._connection, self.collection, error):
                raise
            return self._resolve(source_id, number, reject_for(error))

    def _resolve(self, source_id: bytes, number: int, refused: Reject | None) -> list[tuple[bytes, bytes, int]]:
        with own_transaction(self._connection, self._namespace):
            query = self._namespace.sql("DELETE FROM {rejects} WHERE id = %s RETURNING document")
            found = self._connection.execute(query, (number,)).fetchone()
            assert found is not None  # the reject was just read, and no other process writes here
            self.writer.remove_outcome(source_id, "rejected")
            if refused is not None:
                self.writer.write(bytes(found[0]), {}, refused, [])
                return []
            return [
                (each.source_id, each.raw, self._reject_again(each.raw, reason))
                for each, reason in self._load_or_reject(bytes(found[0]))
                if each.source_id is not None and each.raw is not None
            ]

    def _reject_again(self, raw: bytes, reason: str) -> int:
        """Reject a document that yielded, until its turn comes; return the reject number."""
        self.writer.write(raw, {}, Reject(reason=reason, detail=reason), [])
        query = self._namespace.sql("SELECT max(id) FROM {rejects}")  # no other process writes here
        found = self._connection.execute(query).fetchone()
        assert found is not None  # an aggregate returns a row
        return int(found[0])

    def _load_or_reject(self, raw: bytes) -> list[Yielded]:
        """Translate a document and write its outcome; return the incumbents that yielded to it."""
        try:
            document = decode_untrusted(raw)
        except InvalidBSON as error:
            self.writer.write(raw, {}, Reject(reason="undecodable", detail=str(error)), [])
            return []
        result, findings = self.writer.translate(raw, document)
        if isinstance(result, Loaded):
            result = self.writer.reject_overlong(raw, document, result) or result
        if not isinstance(result, Loaded):
            self.writer.write(raw, document, result, findings if isinstance(result, Archive) else [])
            return []
        return self._contend(Incoming(raw, document, result.row), result, findings)

    def _contend(self, incoming: Incoming, result: Loaded, findings: list[Finding]) -> list[Yielded]:
        """Load a document if every incumbent yields to it. Otherwise treat it as the later document."""
        incumbents = self._existing.find_incumbents(incoming.row)
        requested_id = incoming.row[self.collection.key.column]
        larger = [
            each
            for _, each in incumbents
            if each.yields_to(incoming.source_id, incoming.raw) and self._existing.can_yield(each, requested_id)
        ]
        if len(larger) < len(incumbents):
            reason, incumbent = next((reason, each) for reason, each in incumbents if each not in larger)
            self._place_later(incoming, reason, incumbent)
            return []
        yielding = list({each.row_id: (each, reason) for reason, each in reversed(incumbents)}.values())
        replace = any(each.row_id == requested_id for each, _ in yielding)
        with preserve_dependents(self.rows, self.collection, [requested_id] if replace else []):
            for each, _ in yielding:
                self.writer.remove(each, requested_id)
            self.writer.write(incoming.raw, incoming.document, result, findings, replace=replace)
        return yielding

    # --- the later document -------------------------------------------------------------------------------------------

    def _place_later(self, incoming: Incoming, reason: str, incumbent: Incumbent) -> None:
        """Merge, rekey or reject a document that has to yield to an incumbent."""
        if reason in self._merge and incumbent.source_id is not None:
            self._merge_into(incoming, incumbent)
        elif (
            reason == "duplicate_id" and self.collection.owner is not None and self._is_other_owner(incoming, incumbent)
        ):
            self._rekey(incoming)
        else:
            detail = reason if incumbent.source_id is not None else f"{reason}: {self._describe_owner(incumbent)}"
            self.writer.write(incoming.raw, incoming.document, Reject(reason=reason, detail=detail), [])

    def _describe_owner(self, incumbent: Incumbent) -> str:
        """Return whose row has the value, if no document of this collection has the row."""
        query = self._namespace.sql(
            "SELECT collection FROM {ledger} WHERE collection = ANY(%s) AND target_id = %s AND outcome = 'loaded'"
        )
        values = (list(self.collection.earlier), format_target_id(incumbent.row_id))
        found = self._connection.execute(query, values).fetchone() if self.collection.earlier else None
        return "used by a row not created by migrate" if found is None else f"used by a document of {found[0]}"

    def _is_other_owner(self, incoming: Incoming, incumbent: Incumbent) -> bool:
        owners = self._rekeyed_owners(incoming.row)
        if incumbent.raw is not None and incumbent.row is not None:
            owners.add(self.writer.owner_of(decode(incumbent.raw), incumbent.row))
        return self.writer.owner_of(incoming.document, incoming.row) not in owners

    def _rekeyed_owners(self, row: Row) -> set[str]:
        query = self._namespace.sql(
            "SELECT owner FROM {aliases} WHERE collection = %s AND original_id = %s AND target IS NOT NULL"
        )
        values = (self.collection.name, format_target_id(row[self.collection.key.column]))
        return {found[0] for found in self._connection.execute(query, values)}

    def _rekey(self, incoming: Incoming) -> None:
        """Load a document under a UUID derived from its `_id`."""
        raw, document = incoming.raw, incoming.document
        row_id = ids.uuid_of(self.collection.name, document.get("_id"), objectid=True)
        if "_id" not in document or self._existing.find_ids(self.collection.key.column, row_id):
            # A dump may contain an _id twice, and a row that existed before may have any ID.
            self.writer.write(raw, document, Reject(reason="duplicate_id", detail="_id"), [])
            return
        result, findings = self.writer.translate(raw, document, row_id)
        requested_id = incoming.row[self.collection.key.column]
        self.writer.add_aliases([(requested_id, row_id, self.writer.owner_of(document, incoming.row))])
        self.writer.write(raw, document, result, [*findings, self.writer.rekeyed(incoming.source_id)])

    def _merge_into(self, incoming: Incoming, incumbent: Incumbent) -> None:
        """Archive a document and redirect references from it to the row of the incumbent."""
        note = Finding(collection=self.collection.name, code="merged", source_id=incoming.source_id, detail="")
        self.writer.add_aliases([(incoming.row[self.collection.key.column], incumbent.row_id, None)])
        self.writer.write(incoming.raw, incoming.document, Archive(), [note])
