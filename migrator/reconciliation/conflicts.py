"""Who keeps an id or a unique value that several documents claim (mapping-decisions.md, Identifiers).

The load rejects whoever comes second; here the claimants are put in order. The smaller `_id` keeps it; a later document
of another owner gets the UUID of its own `_id`; a later account may be merged; any other stays rejected. The outcome
depends on the documents alone, not on the order in which they were loaded, so it can be repeated after a kill.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from heapq import heapify, heappop, heappush
from typing import Any

import psycopg
from bson.errors import InvalidBSON
from psycopg import sql

from migrator import ids
from migrator.documents import raw_bson
from migrator.documents.codec import Document, decode, decode_sound, is_faithful
from migrator.mapping.collection import Collection
from migrator.mapping.context import Row
from migrator.postgres.foreign_keys import ForeignKey, is_referenced
from migrator.reconciliation.dependents import preserve_dependents
from migrator.reconciliation.order import Incumbent, id_order, tie
from migrator.reconciliation.rekey import settle_plain
from migrator.rows.admission import overlong
from migrator.rows.copy import copy_records, copy_rows, replace_rows
from migrator.rows.lookup import RowLookup, for_sql, plain
from migrator.rows.rebuild import read_loaded
from migrator.rows.update import referring
from migrator.state import journal
from migrator.state.journal import Namespace
from migrator.translation.encoder import Encoder, Output, spell_id
from migrator.translation.interpreter import Translation, rebuild_bson
from migrator.translation.outcomes import Archive, Finding, Loaded, Reject, Result

Connection = psycopg.Connection[Any]


class ConflictResolver:
    """Settles the claims of one collection."""

    def __init__(
        self,
        connection: Connection,
        namespace: Namespace,
        mappings: Mapping[str, Collection],
        collection: Collection,
        options: Any,
        resolver: RowLookup,
        merge: frozenset[str],
    ) -> None:
        self.connection, self.namespace, self.mappings, self.collection = connection, namespace, mappings, collection
        self._options, self._resolver, self._merge = options, resolver, merge
        self.encoder = Encoder(collection)
        # Ids that have come to another document, or that another has become known to claim: who refers to them may
        # mean somebody else by now.
        self.contested: set[Any] = set()

    @property
    def reasons(self) -> list[str]:
        return ["duplicate_id", *self.collection.unique.values()]

    def pending_rejects(self) -> list[tuple[bytes, int]]:
        """(source_id, reject's number) of everything rejected for a claim."""
        query = self.namespace.sql("SELECT source_id, id FROM {rejects} WHERE collection = %s AND reason = ANY(%s)")
        found = self.connection.execute(query, (self.collection.name, self.reasons), binary=True).fetchall()
        return [(bytes(row[0]), row[1]) for row in found]

    def rejected(self) -> list[tuple[bytes, int]]:
        """The same of everything rejected, whatever the reason."""
        query = self.namespace.sql("SELECT source_id, id FROM {rejects} WHERE collection = %s")
        found = self.connection.execute(query, (self.collection.name,), binary=True).fetchall()
        return [(bytes(row[0]), row[1]) for row in found]

    def resolve_all(self, rejects: Iterable[tuple[bytes, int]]) -> Iterator[None]:
        """Settles (source_id, number) and what has to give way meanwhile, the smallest `_id` first; yields after each.

        In this order, whoever has an id or a rekeyed row already is smaller than who comes."""
        rejects = list(rejects)
        done = set()
        for each in settle_plain(self, rejects):
            done.add(each)
            yield
        rejects = [each for each in rejects if each not in done]
        ties = self._ties(rejects)
        queue = [(id_order(source_id), ties.get(number, b""), number, source_id) for source_id, number in rejects]
        heapify(queue)
        while queue:
            *_, number, source_id = heappop(queue)
            for displaced, raw, its_number in self.resolve(source_id, number):
                heappush(queue, (id_order(displaced), tie(raw), its_number, displaced))
            yield

    def _ties(self, rejects: list[tuple[bytes, int]]) -> dict[int, bytes]:
        """What decides between documents of one `_id`, by the reject's number."""
        if not rejects:
            return {}
        query = self.namespace.sql(
            "SELECT source_id FROM {ledger} WHERE collection = %s AND source_id = ANY(%s)"
            " GROUP BY 1 HAVING count(*) > 1"
        )
        found = self.connection.execute(query, (self.collection.name, [source_id for source_id, _ in rejects]))
        shared = {bytes(row[0]) for row in found}
        numbers = [number for source_id, number in rejects if source_id in shared]
        query = self.namespace.sql("SELECT id, document FROM {rejects} WHERE id = ANY(%s)")
        return {row[0]: tie(bytes(row[1])) for row in self.connection.execute(query, (numbers,))}

    def resolve(self, source_id: bytes, number: int) -> list[tuple[bytes, bytes, int]]:
        """Decides about one rejected document, in one transaction; returns the larger ones that gave way to it:
        (source_id, BSON, reject's number)."""
        with self.connection.transaction():
            query = self.namespace.sql("DELETE FROM {rejects} WHERE id = %s RETURNING document")
            found = self.connection.execute(query, (number,)).fetchone()
            assert found is not None  # pending() has just named it, and nobody else writes here
            self._forget_outcome(source_id, "rejected")
            journal.record_transaction(self.connection, self.namespace)
            yielding = self._namespace(bytes(found[0]))
            return [(holder, raw, self._set_back(raw, reason)) for holder, raw, reason in yielding]

    def _set_back(self, raw: bytes, reason: str) -> int:
        """Rejects a document that gave way, for the time being; returns the reject's number."""
        self._write(raw, {}, Reject(reason=reason, detail=reason), [])
        query = self.namespace.sql("SELECT max(id) FROM {rejects}")  # nobody else writes here
        found = self.connection.execute(query).fetchone()
        assert found is not None  # an aggregate always answers
        return int(found[0])

    def _namespace(self, raw: bytes) -> list[tuple[bytes, bytes, str]]:
        """Loads a document where nobody smaller has what it claims; else makes it the later one.

        Returns who gave way: (source_id, BSON, reason)."""
        try:
            document = decode_sound(raw)
        except InvalidBSON as error:
            self._write(raw, {}, Reject(reason="undecodable", detail=str(error)), [])
            return []
        translation = self._translation(document)
        result, findings = translation.translate(document, raw=self.unfaithful(document, raw))
        if isinstance(result, Loaded):
            result = self._overlong(raw, document, result) or result
        if not isinstance(result, Loaded):
            self._write(raw, document, result, findings if isinstance(result, Archive) else [])
            return []
        holders = self._holders(result.row)
        mine = raw_bson.source_id(raw)
        claimed = result.row[self.collection.key.column]
        larger = [h for _, h in holders if h.yields_to(mine, raw) and self._can_yield(h, claimed)]
        if len(larger) < len(holders):
            reason, holder = next((r, h) for r, h in holders if h not in larger)
            self._place_later(raw, document, result.row, reason, holder)
            return []
        yielding = {h.row_id: (h, reason) for reason, h in reversed(holders)}.values()
        instead = any(h.row_id == claimed for h, _ in yielding)
        with preserve_dependents(
            self.connection, self.namespace, self.mappings, self.collection, [claimed] if instead else []
        ):
            for holder, _ in yielding:
                self._take_out(holder, claimed)
            self._write(raw, document, result, findings, instead=instead)
        return [(h.source_id, h.raw, reason) for h, reason in yielding if h.source_id is not None and h.raw is not None]

    def _overlong(self, raw: bytes, document: Document, result: Loaded) -> Reject | None:
        """Why an index could not take the row."""
        output = Output()
        self.encoder.add(output, 0, raw_bson.source_id(raw), raw, result, document)
        return next((reject for _, reject in overlong(self.connection, self.collection, output)), None)

    def _can_yield(self, holder: Incumbent, claimed: Any) -> bool:
        """A row stays where others refer to it, or they would go with it; not where the newcomer has the same id."""
        if holder.row_id == claimed:
            return True
        return not is_referenced(self.connection, self._referring, for_sql(holder.row_id))

    @cached_property
    def _referring(self) -> list[ForeignKey]:
        return referring(self.connection, self.namespace, self.collection)

    def _place_later(self, raw: bytes, document: Document, row: Row, reason: str, holder: Incumbent) -> None:
        if reason in self._merge and holder.source_id is not None:
            self._merge_into(raw, document, row, holder)
            return
        if (
            reason == "duplicate_id"
            and self.collection.owner is not None
            and self._is_other_owner(document, row, holder)
        ):
            self._rekey(raw, document, row)
            return
        detail = reason if holder.source_id is not None else f"{reason}: taken by a row that was there before"
        self._write(raw, document, Reject(reason=reason, detail=detail), [])

    def _is_other_owner(self, document: Document, row: Row, holder: Incumbent) -> bool:
        owners = self._rekeyed_owners(row)
        if holder.raw is not None and holder.row is not None:
            owners.add(self.owner_of(decode(holder.raw), holder.row))
        return self.owner_of(document, row) not in owners

    def owner_of(self, document: Document, row: Row) -> str:
        assert self.collection.owner is not None  # asked only where owners tell documents apart
        return " ".join(spell_id(part) for part in self.collection.owner(document, row))

    def _rekeyed_owners(self, row: Row) -> set[str]:
        query = self.namespace.sql("SELECT owner FROM {aliases} WHERE collection = %s AND claimed = %s")
        values = (self.collection.name, spell_id(row[self.collection.key.column]))
        return {found[0] for found in self.connection.execute(query, values)}

    def _rekey(self, raw: bytes, document: Document, row: Row) -> None:
        claimed = row[self.collection.key.column]
        row_id = ids.uuid_of(self.collection.name, document.get("_id"), objectid=True)
        if "_id" not in document or self._is_taken(self.collection.key.column, row_id):
            # A dump may hold an _id twice; and any id may be a row's that was there before.
            self._write(raw, document, Reject(reason="duplicate_id", detail="_id"), [])
            return
        result, findings = self._translation(document).translate(document, row_id, self.unfaithful(document, raw))
        source_id = raw_bson.source_id(raw)
        self.alias([(claimed, row_id, self.owner_of(document, row))])
        self._write(raw, document, result, [*findings, self.rekeyed(source_id)])

    def rekeyed(self, source_id: bytes) -> Finding:
        """What is said of a document that got another id."""
        name, path = self.collection.name, self.collection.key.path
        return Finding(collection=name, code="rekeyed", source_id=source_id, detail=path)

    def _merge_into(self, raw: bytes, document: Document, row: Row, holder: Incumbent) -> None:
        source_id = raw_bson.source_id(raw)
        note = Finding(collection=self.collection.name, code="merged", source_id=source_id, detail="")
        self.alias([(row[self.collection.key.column], holder.row_id, None)])
        self._write(raw, document, Archive(), [note])

    def alias(self, found: Sequence[tuple[Any, Any, str | None]]) -> None:
        """Of each (claimed id, row's id, whose references it holds for) it is known from now on where it leads."""
        query = self.namespace.sql("INSERT INTO {aliases} (collection, claimed, target, owner) VALUES (%s, %s, %s, %s)")
        values = [
            (self.collection.name, spell_id(claimed), spell_id(target), owner) for claimed, target, owner in found
        ]
        with self.connection.cursor() as cursor:
            cursor.executemany(query, values)
        self.contested.update(claimed for claimed, _, owner in found if owner is not None)

    def _holders(self, row: Row) -> list[tuple[str, Incumbent]]:
        """Who has the id or a unique value of this row: (reason, holder)."""
        claims = {self.collection.key.column: "duplicate_id", **self.collection.unique}
        holders = []
        for column, reason in claims.items():
            holders += [(reason, self._holder(row_id)) for row_id in self._having(column, row[column])]
        return holders

    def _having(self, column: str, value: Any) -> list[Any]:
        """The ids of rows that have this value."""
        query = sql.SQL("SELECT {} FROM {} WHERE {} = %s").format(
            sql.Identifier(self.collection.key.column),
            self.namespace.table(self.collection.table.name),
            sql.Identifier(column),
        )
        return [plain(found) for (found,) in self.connection.execute(query, (for_sql(value),)).fetchall()]

    def _is_taken(self, column: str, value: Any) -> bool:
        return bool(self._having(column, value))

    def _holder(self, row_id: Any) -> Incumbent:
        found = list(read_loaded(self.connection, self.namespace, self.mappings, self.collection, [spell_id(row_id)]))
        if not found:
            return Incumbent(row_id, None, None, None)
        source_id, row, residue = found[0]
        return Incumbent(row_id, source_id, rebuild_bson(self.collection, source_id, row, residue), row)

    def _take_out(self, holder: Incumbent, claimed: Any) -> None:
        """Forgets what the holder's document became. A row whose id the newcomer has is left for it."""
        assert holder.source_id is not None  # only our own rows yield
        if holder.row_id == claimed:
            self.contested.add(claimed)
        else:
            table, key = self.namespace.table(self.collection.table.name), sql.Identifier(self.collection.key.column)
            query = sql.SQL("DELETE FROM {} WHERE {} = %s").format(table, key)
            self.connection.execute(query, (for_sql(holder.row_id),))
        self._forget_outcome(holder.source_id, "loaded", spell_id(holder.row_id))
        self._forget_findings(holder)
        prefix, row_id = f"{self.collection.name}.", spell_id(holder.row_id)
        query = self.namespace.sql("DELETE FROM {links} WHERE starts_with(collection, %s) AND lister = %s")
        self.connection.execute(query, (prefix, row_id))
        query = self.namespace.sql("DELETE FROM {aliases} WHERE collection = %s AND target = %s")
        self.connection.execute(query, (self.collection.name, row_id))

    def _forget_findings(self, holder: Incumbent) -> None:
        """Those of the row's document; where others have its `_id`, no more than it had."""
        values = (self.collection.name, holder.source_id)
        shared = self.namespace.sql("SELECT FROM {ledger} WHERE collection = %s AND source_id = %s LIMIT 1")
        if holder.raw is None or self.connection.execute(shared, values).fetchone() is None:
            query = self.namespace.sql("DELETE FROM {findings} WHERE collection = %s AND source_id = %s")
            self.connection.execute(query, values)
            return
        document = decode(holder.raw)
        _, findings = self._translation(document).translate(document, raw=self.unfaithful(document, holder.raw))
        one = self.namespace.sql(
            "DELETE FROM {findings} WHERE ctid = (SELECT ctid FROM {findings} WHERE collection = %s AND source_id = %s"
            " AND code = %s AND detail = %s LIMIT 1)"
        )
        for finding in findings:
            self.connection.execute(one, (*values, finding.code, finding.detail))

    def _forget_outcome(self, source_id: bytes, outcome: str, target_id: str | None = None) -> None:
        # One row only, and the right one: a dump may hold an _id twice, and each copy has its own ledger row.
        query = self.namespace.sql(
            "DELETE FROM {ledger} WHERE ctid = (SELECT ctid FROM {ledger} WHERE collection = %s AND source_id = %s"
            " AND outcome = %s AND target_id IS NOT DISTINCT FROM %s LIMIT 1)"
        )
        self.connection.execute(query, (self.collection.name, source_id, outcome, target_id))

    def _translation(self, document: Document) -> Translation:
        return self.translation([document])

    def translation(self, documents: list[Document]) -> Translation:
        """What translates these documents, by what is there now."""
        references = self._resolver.references(self.collection, documents)
        listed = self._resolver.listed(self.collection, documents)
        return Translation(self.collection, self._options, references, listed)

    def translate(self, raw: bytes, row_id: Any) -> tuple[Result, list[Finding]]:
        """What a document is by what is there now, with an id that its row has already."""
        document = decode(raw)
        return self._translation(document).translate(document, row_id, self.unfaithful(document, raw))

    def unfaithful(self, document: Document, raw: bytes) -> bytes | None:
        return None if is_faithful(document, raw) else raw

    def _write(
        self, raw: bytes, document: Document, result: Any, findings: list[Finding], *, instead: bool = False
    ) -> None:
        """`instead`: the row takes the place of one of the same id."""
        output = Output()
        self.encoder.add(output, 0, raw_bson.source_id(raw), raw, result, document)
        self.encoder.add_findings(output, 0, findings)
        bring = replace_rows if instead else copy_rows
        bring(self.connection, self.namespace, self.encoder, output.rows)
        copy_records(self.connection, self.namespace, self.collection.name, output)
