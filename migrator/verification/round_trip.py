"""The source against what PostgreSQL alone rebuilds, document by document: the proof that nothing is lost."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from bson.errors import InvalidBSON
from psycopg import sql

from migrator.documents import raw_bson
from migrator.documents.codec import Document, decode_untrusted, format_id, same
from migrator.documents.residue import raw_document_of
from migrator.ids import is_uuid
from migrator.mapping.collection import Collection
from migrator.postgres.copy_format import kind_of_column
from migrator.sources.base import Batch
from migrator.state import own_transactions
from migrator.verification import attribution
from migrator.verification.model import EXAMPLES, Check, Difference, Fault, Scope, judged

BATCH = 2000


@dataclass(slots=True)
class Counts:
    """What became of some documents of a collection; `found` are the first of the differences."""

    read: int = 0
    wrong: int = 0
    found: list[Difference] = field(default_factory=list)

    def add(self, other: Counts) -> None:
        self.read, self.wrong = self.read + other.read, self.wrong + other.wrong
        self.found += other.found[: EXAMPLES - len(self.found)]

    def as_json(self) -> dict[str, Any]:
        return {"read": self.read, "wrong": self.wrong, "found": [each.as_json() for each in self.found]}

    @classmethod
    def from_json(cls, told: Any) -> Counts:
        return cls(told["read"], told["wrong"], [Difference(**each) for each in told["found"]])


def tally_batches(scope: Scope, batches: Iterable[Batch], share: float = 1.0) -> Iterator[tuple[str, Counts]]:
    """(collection, what became of it) of every batch; below a `share` of 1, of the first and so many of the rest."""
    for number, batch in enumerate(batches):
        if batch.data and (number == 0 or int(number * share) > int((number - 1) * share)):
            raws = list(raw_bson.split_documents(batch.data))
            wrong = list(compare_documents(scope, batch.collection, raws))
            yield batch.collection, Counts(len(raws), len(wrong), wrong[:EXAMPLES])


def judge_trip(names: list[str], tallies: Mapping[str, Counts], share: float) -> Iterator[Check]:
    sampled = "" if share == 1.0 else f" of a sample of {share:.0%}"
    for name in names:
        each = tallies.get(name, Counts())
        expected: Any = f"{each.read:,}{sampled}" if sampled else each.read
        yield judged("round trip", name, each.found, each.wrong, expected=expected, actual=each.read - each.wrong)


def compare_documents(scope: Scope, name: str, raws: list[bytes]) -> Iterator[Difference]:
    """Those of some documents of a collection that PostgreSQL does not have."""
    kept = _kept(scope, name, raws)
    for raw in raws:
        source_id = raw_bson.source_id(raw)
        candidates = kept.get(source_id, [])
        difference = _difference(raw, [each.raw for each in candidates])
        if difference is not None:
            path, note = difference
            touched = any(each.touched or _touched(scope, name, each.row) for each in candidates)
            fault: Fault = "target" if touched else "source"
            if not candidates and not scope.source_changed:
                fault = "target"
            yield Difference(row=f"{name} {format_id(source_id)}", column=path, note=note, fault=fault)


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """A document that PostgreSQL gives back; None where its residue is damaged. `touched`: changed since the run, which
    of one with a `row` (a target id) is still to be asked."""

    raw: bytes | None
    touched: bool = False
    row: str | None = None


def _kept(scope: Scope, name: str, raws: list[bytes]) -> dict[bytes, list[Rebuilt]]:
    """What PostgreSQL has for some documents, by source_id (a dump may hold an `_id` twice)."""
    asked = [raw_bson.source_id(raw) for raw in raws]
    kept: dict[bytes, list[Rebuilt]] = defaultdict(list)
    template = "SELECT r.source_id, r.document, {newer} FROM {relation} r WHERE collection = %s AND source_id = ANY(%s)"
    for relation in ("rejects", "archive"):
        whole = sql.SQL(template).format(
            newer=own_transactions.written_after_run(scope.namespace, "r"),
            relation=sql.Identifier(scope.namespace.records, relation),
        )
        for source_id, document, touched in scope.connection.execute(whole, (name, asked), binary=True):
            kept[bytes(source_id)].append(Rebuilt(bytes(document), touched))
    if name not in scope.mappings:
        query = scope.namespace.sql(
            "SELECT l.source_id, l.residue, {newer} FROM {ledger} l"
            " WHERE l.collection = %s AND l.source_id = ANY(%s) AND l.outcome = 'loaded'",
            newer=own_transactions.written_after_run(scope.namespace, "l"),
        )
        for source_id, residue, touched in scope.connection.execute(query, (name, asked), binary=True):
            kept[bytes(source_id)].append(
                Rebuilt(None if residue is None else raw_document_of(bytes(residue)), touched)
            )
    elif name in scope.chosen:
        mapping = scope.mappings[name]
        ids = _loaded(scope, mapping, asked)
        found = attribution.rebuild_safely(scope.connection, scope.namespace, scope.mappings, mapping, ids)
        for source_id, key, document in found:
            kept[source_id].append(Rebuilt(document, row=key))
    return kept


def _loaded(scope: Scope, mapping: Collection, asked: list[bytes]) -> list[str]:
    """Target ids of loaded documents."""
    query = scope.namespace.sql(
        "SELECT target_id FROM {ledger} WHERE collection = %s AND source_id = ANY(%s) AND outcome = 'loaded'"
    )
    found = scope.connection.execute(query, (mapping.name, asked)).fetchall()
    # An entry whose id cannot be one leads nowhere, and would be an error in the question for its row.
    uuids = kind_of_column(mapping.table.c[mapping.key.column]) == "uuid"
    return [target for (target,) in found if target and (not uuids or is_uuid(target))]


def _touched(scope: Scope, name: str, row: str | None) -> bool:
    """Whether a row, or its ledger entry, was changed since the run."""
    if row is None:
        return False
    mapping = scope.mappings[name]
    query = scope.namespace.sql(
        "SELECT {entry} OR {row} FROM {ledger} l LEFT JOIN {table} t ON t.{key}::text = l.target_id"
        " WHERE l.collection = %s AND l.target_id = %s AND l.outcome = 'loaded'",
        entry=own_transactions.written_after_run(scope.namespace, "l"),
        row=own_transactions.written_after_run(scope.namespace, "t"),
        table=scope.namespace.table(mapping.table.name),
        key=sql.Identifier(mapping.key.column),
    )
    return any(touched for (touched,) in scope.connection.execute(query, (name, row)))


def _difference(raw: bytes, candidates: list[bytes | None]) -> tuple[str, str] | None:
    """None where one of the candidates is this document; else where it differs and what is wrong, without values."""
    if raw in candidates:
        return None
    document = _decode(raw)
    if document is None:  # such a document is equal to its bytes alone
        return "", "its bytes are not in the target"
    others = [other for each in candidates if each is not None and (other := _decode(each)) is not None]
    if not others:
        return "", "its residue is damaged" if candidates else "nothing in the target"
    paths = [first_difference(document, other) for other in others]
    return None if None in paths else (paths[0] or "", "the document that the target gives back is another one")


def _decode(raw: bytes) -> Document | None:
    try:
        return decode_untrusted(raw)
    except InvalidBSON:
        return None


def first_difference(one: Document, other: Document) -> str | None:
    """The first path at which two documents differ; the order of top-level fields does not count."""
    for key in sorted(one.keys() | other.keys()):
        if key not in one or key not in other:
            return key
        if not same(one[key], other[key]):
            return _inside(key, one[key], other[key])
    return None


def _inside(path: str, one: Any, other: Any) -> str:
    if isinstance(one, dict) and isinstance(other, dict) and list(one) == list(other):
        for key in one:
            if not same(one[key], other[key]):
                return _inside(f"{path}.{key}", one[key], other[key])
    if isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        for index, (left, right) in enumerate(zip(one, other, strict=True)):
            if not same(left, right):
                return _inside(f"{path}.{index}", left, right)
    return path
