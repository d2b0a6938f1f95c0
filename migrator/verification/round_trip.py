"""Compares source documents with the documents that PostgreSQL alone rebuilds, to prove that nothing is lost."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import psycopg
from bson.errors import InvalidBSON
from psycopg import sql

from migrator.documents import raw_bson
from migrator.documents.codec import Document, decode_untrusted, format_id, same
from migrator.documents.native import same_fields
from migrator.documents.residue import raw_document_of
from migrator.mapping.collection import Collection
from migrator.postgres.table_names import name_of
from migrator.rows.loaded_rows import Choice, layout_of, read_fields
from migrator.rows.plain_values import bytes_array
from migrator.rows.rebuild import read_bson_safely
from migrator.sources.base import Batch
from migrator.state import own_transactions
from migrator.state.row_keys import key_of
from migrator.verification.model import EXAMPLES, Check, Difference, Differences, Fault, Scope, make_check

BATCH = 2000  # documents


@dataclass(slots=True)
class RoundTripCounts:
    """Result for some documents of a collection: read, different, and the first differences."""

    read: int = 0
    different: int = 0
    found: list[Difference] = field(default_factory=list)

    def add(self, other: RoundTripCounts) -> None:
        self.read, self.different = self.read + other.read, self.different + other.different
        self.found += other.found[: EXAMPLES - len(self.found)]

    def as_json(self) -> dict[str, Any]:
        return {"read": self.read, "different": self.different, "found": [each.as_json() for each in self.found]}

    @classmethod
    def from_json(cls, values: Any) -> RoundTripCounts:
        return cls(values["read"], values["different"], [Difference(**each) for each in values["found"]])


def compare_batches(
    scope: Scope, batches: Iterable[Batch], share: float = 1.0, only: Mapping[str, frozenset[bytes]] | None = None
) -> Iterator[tuple[str, RoundTripCounts]]:
    """Compare batches and yield (collection, counts) for each.

    With a `share` below 1, only the first batch and that share of the others are compared. `only`: of some collections
    the source IDs of the documents to compare.
    """
    for number, batch in enumerate(batches):
        if batch.data and (number == 0 or int(number * share) > int((number - 1) * share)):
            documents = raw_bson.documents_by_id(batch.data)
            if only is not None and batch.collection in only:
                documents = [each for each in documents if each[0] in only[batch.collection]]
                if not documents:
                    continue
            found = [each for _, each in find_differences(scope, batch.collection, documents)]
            yield batch.collection, RoundTripCounts(len(documents), len(found), found[:EXAMPLES])


def make_checks(names: list[str], counts: Mapping[str, RoundTripCounts], share: float) -> Iterator[Check]:
    """Build one check per collection."""
    for name in names:
        each = counts.get(name, RoundTripCounts())
        found = Differences(total=each.different, first=each.found)
        expected: Any = each.read if share == 1.0 else f"{each.read:,} (sample of {share:.0%})"
        yield make_check("round trip", name, found, expected=expected, actual=each.read - each.different)


def find_differences(
    scope: Scope, name: str, documents: list[tuple[bytes, bytes]]
) -> Iterator[tuple[bytes, Difference]]:
    """Yield the source ID and the difference of each document of a collection that PostgreSQL cannot rebuild.

    `documents`: the source ID and the BSON of each.
    """
    if name in scope.mappings and name in scope.chosen:
        documents = _without_equal(scope, scope.mappings[name], documents)
    rebuilt = rebuild_documents(scope, name, [source_id for source_id, _ in documents]) if documents else {}
    for source_id, raw in documents:
        candidates = rebuilt.get(source_id, [])
        difference = _compare(raw, [each.raw for each in candidates])
        if difference is not None:
            path, note = difference
            newer = any(each.newer or _is_newer(scope, name, each.row) for each in candidates)
            fault: Fault = "target" if newer else "source"
            if not candidates and not scope.source_changed:
                fault = "target"
            row = f"{name} {format_id(source_id)}"
            yield source_id, Difference(row=row, column=path, note=note, fault=fault)


def _without_equal(
    scope: Scope, mapping: Collection, documents: list[tuple[bytes, bytes]]
) -> list[tuple[bytes, bytes]]:
    """Return the documents that no row restores to the byte: different, unusual, rejected and archived ones."""
    left = dict(documents)
    if len(left) < len(documents):
        return documents  # the same `_id` twice
    layout, choice = layout_of(scope.rows, mapping), Choice("source_id", list(left))
    with suppress(psycopg.DataError), scope.connection.transaction():
        for source_id, residue, fields in read_fields(scope.rows, mapping, choice):
            raw = left.get(source_id)
            if raw is not None and layout.restores(raw, source_id, fields, residue):
                del left[source_id]
    return list(left.items())


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """A document from PostgreSQL, None if its residue is damaged.

    `newer` tells whether it was written after the run. For a document that was rebuilt from a `row` (a target ID), the
    caller must query that separately.
    """

    raw: bytes | None
    newer: bool = False
    row: str | None = None


def rebuild_documents(scope: Scope, name: str, source_ids: list[bytes]) -> dict[bytes, list[Rebuilt]]:
    """Return the rebuilt documents by source_id. A dump may contain the same `_id` twice."""
    rebuilt: dict[bytes, list[Rebuilt]] = defaultdict(list)
    wanted = bytes_array(source_ids)
    for relation in ("rejects", "archive"):
        query = sql.SQL(
            "SELECT r.source_id, r.document, {newer} FROM {relation} r"
            " WHERE collection = %s AND source_id = ANY(%s::bytea[])"
        ).format(
            newer=own_transactions.written_after_run(scope.namespace, "r"),
            relation=sql.Identifier(scope.namespace.records, relation),
        )
        for source_id, document, newer in scope.connection.execute(query, (name, wanted), binary=True):
            rebuilt[bytes(source_id)].append(Rebuilt(bytes(document), newer))
    if name not in scope.mappings:
        for source_id, residue, newer in _read_residues(scope, name, source_ids):
            rebuilt[source_id].append(Rebuilt(None if residue is None else raw_document_of(residue), newer))
    elif name in scope.chosen:
        mapping = scope.mappings[name]
        for source_id, key, document in _rebuild_loaded(scope, mapping, source_ids):
            rebuilt[source_id].append(Rebuilt(document, row=key))
    return rebuilt


def _read_residues(scope: Scope, name: str, source_ids: list[bytes]) -> Iterator[tuple[bytes, bytes | None, bool]]:
    """Yield (source_id, residue, newer) of loaded documents whose collection has no table of its own."""
    query = scope.namespace.sql(
        "SELECT l.source_id, l.residue, {newer} FROM {ledger} l"
        " WHERE l.collection = %s AND l.source_id = ANY(%s) AND l.outcome = 'loaded'",
        newer=own_transactions.written_after_run(scope.namespace, "l"),
    )
    for source_id, residue, newer in scope.connection.execute(query, (name, source_ids), binary=True):
        yield bytes(source_id), None if residue is None else bytes(residue), newer


def _rebuild_loaded(
    scope: Scope, mapping: Collection, source_ids: list[bytes]
) -> list[tuple[bytes, str, bytes | None]]:
    """Return (source_id, target ID, document) of loaded documents."""
    with suppress(psycopg.DataError), scope.connection.transaction():
        return list(read_bson_safely(scope.rows, mapping, Choice("source_id", source_ids)))
    # A damaged entry holds a target ID that is none.
    ids = _read_target_ids(scope, mapping, source_ids)
    return list(read_bson_safely(scope.rows, mapping, Choice("target_id", ids)))


def _read_target_ids(scope: Scope, mapping: Collection, source_ids: list[bytes]) -> list[str]:
    """Return the target IDs of loaded documents."""
    query = scope.namespace.sql(
        "SELECT target_id FROM {ledger} WHERE collection = %s AND source_id = ANY(%s) AND outcome = 'loaded'"
    )
    found = scope.connection.execute(query, (mapping.name, source_ids)).fetchall()
    # A damaged entry may hold an ID that no row can have. A query for its row would fail.
    key = key_of(mapping)
    return [target for (target,) in found if target and key.can_be(target)]


def _is_newer(scope: Scope, name: str, row: str | None) -> bool:
    """Tell whether a row or its ledger entry was written after the run."""
    if row is None:
        return False
    mapping = scope.mappings[name]
    query = scope.namespace.sql(
        "SELECT {entry} OR {row} FROM {ledger} l LEFT JOIN {table} t ON {key} = l.target_id"
        " WHERE l.collection = %s AND l.target_id = %s AND l.outcome = 'loaded'",
        entry=own_transactions.written_after_run(scope.namespace, "l"),
        row=own_transactions.written_after_run(scope.namespace, "t"),
        table=scope.namespace.table(name_of(mapping.table)),
        key=key_of(mapping).text("t"),
    )
    return any(newer for (newer,) in scope.connection.execute(query, (name, row)))


def _compare(raw: bytes, candidates: list[bytes | None]) -> tuple[str, str] | None:
    """Return None if a candidate equals the document, otherwise the path of the difference and a note."""
    if raw in candidates or any(each is not None and same_fields(raw, each) for each in candidates):
        return None
    document = _decode(raw)
    if document is None:  # BSON that cannot be decoded is equal to identical bytes only
        return "", "the original bytes are not in the target"
    others = [other for each in candidates if each is not None and (other := _decode(each)) is not None]
    if not others:
        return "", "its residue is damaged" if candidates else "missing in the target"
    paths = [first_difference(document, other) for other in others]
    return None if None in paths else (paths[0] or "", "the rebuilt document differs from the source")


def _decode(raw: bytes) -> Document | None:
    try:
        return decode_untrusted(raw)
    except InvalidBSON:
        return None


def first_difference(one: Document, other: Document) -> str | None:
    """Return the first path at which two documents differ, ignoring the order of top-level fields."""
    for key in sorted(one.keys() | other.keys()):
        if key not in one or key not in other:
            return key
        if not same(one[key], other[key]):
            return _narrow_path(key, one[key], other[key])
    return None


def _narrow_path(path: str, one: Any, other: Any) -> str:
    if isinstance(one, dict) and isinstance(other, dict) and list(one) == list(other):
        for key in one:
            if not same(one[key], other[key]):
                return _narrow_path(f"{path}.{key}", one[key], other[key])
    if isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        for index, (left, right) in enumerate(zip(one, other, strict=True)):
            if not same(left, right):
                return _narrow_path(f"{path}.{index}", left, right)
    return path
