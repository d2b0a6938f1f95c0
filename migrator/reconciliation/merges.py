"""Carries out merges (`merge.Merge`): archived documents fill rows of another collection, and can be taken out again.

A document that is used becomes `loaded`: its ledger row names the row it went into, and keeps the document whole,
beside what the row's columns held before. All of a merge is one transaction. Who changes the rows' collection
afterwards calls `withdraw` before and `settle` after.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

import psycopg
from bson import Binary
from psycopg import sql

from migrator.config.models import Config
from migrator.documents.codec import Document, decode, encode
from migrator.documents.jsonb import from_text, to_text
from migrator.events import Emit, StepAdvanced, StepFinished, StepStarted
from migrator.mapping.collection import Collection
from migrator.mapping.context import Row
from migrator.mapping.merges import ByKey, ByValue, Merge
from migrator.postgres.copy import copy
from migrator.postgres.copy_format import kind_of_column, write_row
from migrator.reconciliation.order import id_order
from migrator.rows.rebuild import read_loaded
from migrator.rows.update import AT_ONCE, Loaded, add_findings, ensure_ledger_index, write_changes
from migrator.state import journal
from migrator.state.journal import Namespace
from migrator.translation.encoder import ARCHIVE_KINDS, spell_id
from migrator.translation.outcomes import Finding

Connection = psycopg.Connection[Any]
Rank = tuple[int, Any, bytes]


@dataclass(frozen=True, slots=True)
class Candidate:
    """An archived document that belongs to a row; the one with the smallest `rank` is used."""

    rank: Rank
    ctid: str
    source_id: bytes
    ambiguous: bool


@dataclass(slots=True)
class Match:
    """What came of looking for the rows: the used document of each row (by plain id), how many were seen, findings."""

    used: dict[bytes, Candidate] = field(default_factory=dict)
    seen: int = 0
    findings: list[Finding] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class MergeApplier:
    """One merge, in one place."""

    connection: Connection
    namespace: Namespace
    mappings: Mapping[str, Collection]
    merge: Merge
    config: Config
    run: int

    @property
    def step(self) -> str:
        return f"merge {self.merge.name}"

    @property
    def into(self) -> Collection:
        return self.mappings[self.merge.into]

    def apply(self, emit: Emit) -> None:
        """Merges, once."""
        if self.step in journal.finished_steps(self.connection, self.namespace):
            return
        emit(StepStarted(step=self.step))
        ensure_ledger_index(self.connection, self.namespace)
        with self.connection.transaction():
            journal.record_transaction(self.connection, self.namespace)
            match = self._match()
            add_findings(self.connection, self.namespace, match.findings)
            done = 0
            for some in _slices(list(match.used.items())):
                self._use(dict(some))
                done += len(some)
                emit(StepAdvanced(step=self.step, done=done, total=len(match.used)))
            journal.finish_step(self.connection, self.namespace, self.run, self.step)
        emit(StepFinished(step=self.step, note=f"{len(match.used):,} of {match.seen:,} used"))

    def undo(self) -> None:
        """Takes everything out of the rows again, as if it had never been merged."""
        with self.connection.transaction():
            journal.record_transaction(self.connection, self.namespace)
            while entries := self._loaded_entries():
                self._take_back(entries)
            for template in (
                self.namespace.sql(
                    "DELETE FROM {findings} WHERE collection = {name}", name=sql.Literal(self.merge.name)
                ),
                self.namespace.sql("DELETE FROM {steps} WHERE step = {step}", step=sql.Literal(self.step)),
            ):
                self.connection.execute(template)

    # --- who belongs where --------------------------------------------------------------------------------------

    def _match(self) -> Match:
        match = Match()
        query = self.namespace.sql("SELECT ctid::text, source_id, document FROM {archive} WHERE collection = %s")
        with self.connection.cursor("recordings") as cursor:
            cursor.itersize = AT_ONCE
            cursor.execute(query, (self.merge.name,))
            while rows := cursor.fetchmany(AT_ONCE):
                self._match_some([(row[0], bytes(row[1]), bytes(row[2])) for row in rows], match)
        return match

    def _match_some(self, rows: list[tuple[str, bytes, bytes]], match: Match) -> None:
        documents = [decode(raw) for _, _, raw in rows]
        answers = [self._answers(by, documents) for by in self.merge.by]
        match.seen += len(rows)
        for (ctid, source_id, raw), document in zip(rows, documents, strict=True):
            found = self._rows_of(document, answers)
            if not found:
                match.findings.append(self._finding("recording_unmatched", source_id))
                continue
            rank = (self.merge.age(document), id_order(source_id), sha256(raw).digest())
            self._contend(match, min(found), Candidate(rank, ctid, source_id, len(found) > 1))

    def _contend(self, match: Match, row_id: bytes, candidate: Candidate) -> None:
        holder = match.used.get(row_id)
        if holder is not None:
            candidate, loser = sorted((candidate, holder), key=lambda each: each.rank)
            match.findings.append(self._finding("recording_superseded", loser.source_id))
        match.used[row_id] = candidate

    def _finding(self, code: str, source_id: bytes, detail: str = "") -> Finding:
        return Finding(collection=self.merge.name, code=code, source_id=source_id, detail=detail)

    def _rows_of(self, document: Document, answers: list[dict[Any, list[bytes]]]) -> list[bytes]:
        """The rows that a document belongs to by the first way, and the first field, that leads to any."""
        for by, answer in zip(self.merge.by, answers, strict=True):
            for key in by.ask(document):
                if key in answer:
                    return answer[key]
        return []

    def _answers(self, by: ByKey | ByValue, documents: list[Document]) -> dict[Any, list[bytes]]:
        """The rows of this migration that documents ask for: key → plain ids."""
        asked = list({key for document in documents for key in by.ask(document)})
        column: sql.Composable = sql.SQL("t.{}").format(sql.Identifier(self.into.key.column))
        values: list[Any] = asked
        if isinstance(by, ByKey):
            column, values = sql.SQL("{}::text").format(column), [spell_id(key) for key in asked]
        else:
            column = sql.SQL("t.{}").format(sql.Identifier(by.column))
            column = column if by.name is None else sql.SQL("{} ->> {}").format(column, sql.Literal(by.name))
        query = self.namespace.sql(
            "SELECT {column}, t.{key} FROM {table} t JOIN {ledger} l ON l.collection = {name}"
            " AND l.outcome = 'loaded' AND l.target_id = t.{key}::text WHERE {column} = ANY(%s)",
            column=column,
            key=sql.Identifier(self.into.key.column),
            table=self.namespace.table(self.into.table.name),
            name=sql.Literal(self.into.name),
        )
        found: dict[Any, list[bytes]] = defaultdict(list)
        for text, row_id in self.connection.execute(query, (values,)):
            found[row_id.bytes if isinstance(by, ByKey) else text].append(row_id.bytes)
        return found

    # --- there --------------------------------------------------------------------------------------------------

    def _use(self, used: dict[bytes, Candidate]) -> None:
        """Merges some documents into their rows."""
        raws = self._take_from_archive([candidate.ctid for candidate in used.values()])
        wins, findings, changes = self.merge.wins(self.config), list[Finding](), dict[bytes, Row]()
        befores: dict[bytes, Document] = {}
        rows = self._read_rows(list(used))
        for _, row, _ in rows:
            row_id = row[self.into.key.column]
            candidate, notes = used[row_id], list[tuple[str, str]]()
            document = decode(raws[candidate.ctid])
            changes[row_id] = self.merge.changes(document, row, wins, lambda code, detail: notes.append((code, detail)))  # noqa: B023
            befores[row_id] = {name: self._keep(name, row[name]) for name in changes[row_id]}
            notes += [("recording_ambiguous", "")] if candidate.ambiguous else []
            findings += [self._finding(code, candidate.source_id, detail) for code, detail in dict.fromkeys(notes)]
        changed = [each for each in rows if changes[self._id(each)]]
        write_changes(self.connection, self.namespace, self.into, changed, changes)
        add_findings(self.connection, self.namespace, findings)
        self._enter(used, {row_id: _whole(raws[used[row_id].ctid], before) for row_id, before in befores.items()})

    def _id(self, loaded: Loaded) -> bytes:
        row_id: bytes = loaded[1][self.into.key.column]
        return row_id

    def _read_rows(self, row_ids: list[bytes]) -> list[Loaded]:
        spelled = [spell_id(row_id) for row_id in row_ids]
        return list(read_loaded(self.connection, self.namespace, self.mappings, self.into, spelled))

    def _take_from_archive(self, ctids: list[str]) -> dict[str, bytes]:
        query = self.namespace.sql("DELETE FROM {archive} WHERE ctid = ANY(%s::tid[]) RETURNING ctid::text, document")
        return {row[0]: bytes(row[1]) for row in self.connection.execute(query, (ctids,))}

    def _enter(self, used: dict[bytes, Candidate], residues: dict[bytes, bytes]) -> None:
        """Ledger rows: from archived to loaded. One for each document, where several have the same `_id`."""
        query = self.namespace.sql(
            "SELECT ctid::text, source_id FROM {ledger} WHERE collection = %s AND outcome = 'archived'"
            " AND source_id = ANY(%s) ORDER BY ctid"
        )
        asked = [candidate.source_id for candidate in used.values()]
        entries: dict[bytes, list[str]] = defaultdict(list)
        for ctid, source_id in self.connection.execute(query, (self.merge.name, asked)):
            entries[bytes(source_id)].append(ctid)
        values = [
            (entries[candidate.source_id].pop(), spell_id(row_id), residues[row_id])
            for row_id, candidate in used.items()
        ]
        ctids, targets, kept = map(list, zip(*values, strict=True))
        query = self.namespace.sql(
            "UPDATE {ledger} l SET outcome = 'loaded', target_id = c.target_id, residue = c.residue"
            " FROM unnest(%s::tid[], %s::text[], %s::bytea[]) AS c (place, target_id, residue) WHERE l.ctid = c.place"
        )
        self.connection.execute(query, (ctids, targets, kept))

    def _keep(self, name: str, value: Any) -> Any:
        """A plain column value as BSON can hold it."""
        return to_text(value) if value is not None and self._is_jsonb(name) else value

    def _is_jsonb(self, name: str) -> bool:
        return kind_of_column(self.into.table.c[name]) == "jsonb"

    # --- and back -----------------------------------------------------------------------------------------------

    def _loaded_entries(self) -> list[tuple[str, bytes, bytes]]:
        query = self.namespace.sql(
            "SELECT target_id, source_id, residue FROM {ledger} WHERE collection = %s AND outcome = 'loaded' LIMIT %s"
        )
        found = self.connection.execute(query, (self.merge.name, AT_ONCE), binary=True)
        return [(row[0], bytes(row[1]), bytes(row[2])) for row in found]

    def _take_back(self, entries: list[tuple[str, bytes, bytes]]) -> None:
        kept = {target: decode(residue) for target, _, residue in entries}
        spelled = [target for target, parts in kept.items() if parts["before"]]
        rows = list(read_loaded(self.connection, self.namespace, self.mappings, self.into, spelled))
        before = {self._id(each): self._restore(kept[spell_id(self._id(each))]["before"]) for each in rows}
        write_changes(self.connection, self.namespace, self.into, rows, before)
        archived = [(self.merge.name, source_id, bytes(kept[target]["raw"])) for target, source_id, _ in entries]
        copy(self.connection, self.namespace.sql("{archive}"), [write_row(each, ARCHIVE_KINDS) for each in archived])
        query = self.namespace.sql(
            "UPDATE {ledger} SET outcome = 'archived', target_id = NULL, residue = NULL"
            " WHERE collection = %s AND outcome = 'loaded' AND target_id = ANY(%s)"
        )
        self.connection.execute(query, (self.merge.name, list(kept)))

    def _restore(self, before: Document) -> Row:
        return {
            name: from_text(value) if value is not None and self._is_jsonb(name) else value
            for name, value in before.items()
        }


def _whole(raw: bytes, before: Document) -> bytes:
    """What the ledger keeps of a used document: all of it, first (`exact.whole_of`), and what it replaced."""
    return encode({"raw": Binary(raw), "before": before})


def _slices(items: list[Any]) -> Iterator[list[Any]]:
    for first in range(0, len(items), AT_ONCE):
        yield items[first : first + AT_ONCE]
