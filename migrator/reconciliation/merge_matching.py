"""Finds the rows that archived documents are merged into."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

from psycopg import sql

from migrator.documents.codec import Document, decode
from migrator.mapping.collection import Collection
from migrator.mapping.merges import ByKey, ByValue, Merge
from migrator.reconciliation.id_order import id_order
from migrator.rows.given_ids import GivenIds, has_derived_ids, read_given_ids
from migrator.rows.store import RowStore
from migrator.rows.update import BATCH_SIZE
from migrator.translation.encoder import format_target_id
from migrator.translation.outcomes import Finding

Rank = tuple[int, Any, bytes]


@dataclass(frozen=True, slots=True)
class MergeCandidate:
    """An archived document that matches a row. Of several candidates, the one with the smallest `rank` is used."""

    rank: Rank
    ctid: str
    source_id: bytes
    ambiguous: bool


@dataclass(slots=True)
class Matches:
    """The used document of each row (by plain ID), the number of documents, and the findings."""

    used: dict[bytes, MergeCandidate] = field(default_factory=dict)
    documents: int = 0
    findings: list[Finding] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class MergeMatcher:
    """Finds the rows of one merge."""

    rows: RowStore
    merge: Merge

    @property
    def _into(self) -> Collection:
        return self.rows.mappings[self.merge.into]

    def match(self) -> Matches:
        """Find the row of every archived document."""
        matches = Matches()
        query = self.rows.namespace.sql("SELECT ctid::text, source_id, document FROM {archive} WHERE collection = %s")
        with self.rows.connection.cursor("merge") as cursor:
            cursor.itersize = BATCH_SIZE
            cursor.execute(query, (self.merge.name,))
            while rows := cursor.fetchmany(BATCH_SIZE):
                self._match_batch([(row[0], bytes(row[1]), bytes(row[2])) for row in rows], matches)
        return matches

    def _match_batch(self, rows: list[tuple[str, bytes, bytes]], matches: Matches) -> None:
        documents = [decode(raw) for _, _, raw in rows]
        answers = [self._find_rows(by, documents) for by in self.merge.by]
        matches.documents += len(rows)
        for (ctid, source_id, raw), document in zip(rows, documents, strict=True):
            found = self._select_rows(document, answers)
            if not found:
                matches.findings.append(make_finding(self.merge, self.merge.codes.unmatched, source_id))
                continue
            rank = (self.merge.age_key(document), id_order(source_id), sha256(raw).digest())
            self._contend(matches, min(found), MergeCandidate(rank, ctid, source_id, len(found) > 1))

    def _contend(self, matches: Matches, row_id: bytes, candidate: MergeCandidate) -> None:
        """Use a document for a row, unless one with a smaller rank is used already."""
        other = matches.used.get(row_id)
        if other is not None:
            candidate, loser = sorted((candidate, other), key=lambda each: each.rank)
            matches.findings.append(make_finding(self.merge, self.merge.codes.superseded, loser.source_id))
        matches.used[row_id] = candidate

    def _select_rows(self, document: Document, answers: list[dict[Any, list[bytes]]]) -> list[bytes]:
        """Return the rows that match a document, by the first rule and the first field that match any row."""
        for by, answer in zip(self.merge.by, answers, strict=True):
            for key in by.keys(document):
                if key in answer:
                    return answer[key]
        return []

    def _find_rows(self, by: ByKey | ByValue, documents: list[Document]) -> dict[Any, list[bytes]]:
        """Return the loaded rows that match documents by one rule: key → plain IDs."""
        keys = list({key for document in documents for key in by.keys(document)})
        column: sql.Composable = sql.SQL("t.{}").format(sql.Identifier(self._into.key.column))
        values: list[Any] = keys
        given: GivenIds = {}
        if isinstance(by, ByKey):
            given = read_given_ids(self.rows, self._into, keys) if has_derived_ids(self._into) else {}
            column = sql.SQL("{}::text").format(column)
            values = [format_target_id(key) for key in {*keys, *given.values()}]
        else:
            column = sql.SQL("t.{}").format(sql.Identifier(by.column))
            column = column if by.name is None else sql.SQL("{} ->> {}").format(column, sql.Literal(by.name))
        query = self.rows.namespace.sql(
            "SELECT {column}, t.{key} FROM {table} t JOIN {ledger} l ON l.collection = {name}"
            " AND l.outcome = 'loaded' AND l.target_id = t.{key}::text WHERE {column} = ANY(%s)",
            column=column,
            key=sql.Identifier(self._into.key.column),
            table=self.rows.table(self._into),
            name=sql.Literal(self._into.name),
        )
        found: dict[Any, list[bytes]] = defaultdict(list)
        for text, row_id in self.rows.connection.execute(query, (values,)):
            found[row_id.bytes if isinstance(by, ByKey) else text].append(row_id.bytes)
        for original, row_id in given.items():
            found[original] += found.get(row_id, [])
        return {key: row_ids for key, row_ids in found.items() if row_ids}


def make_finding(merge: Merge, code: str, source_id: bytes, detail: str = "") -> Finding:
    """Return a finding about a document of a merge."""
    return Finding(collection=merge.name, code=code, source_id=source_id, detail=detail)
