"""The source against what PostgreSQL alone rebuilds, document by document: the proof that nothing is lost."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from bson.errors import InvalidBSON
from psycopg import sql

from migrator import rawbson
from migrator.checks import faults
from migrator.checks.base import EXAMPLES, Check, Difference, Fault, Scope, judged
from migrator.events import Emit, StepAdvanced, StepFinished, StepStarted
from migrator.exact import Document, decode_sound, same, show_id, whole_of
from migrator.ids import is_uuid
from migrator.mapping import Collection
from migrator.rows import kind_of_column
from migrator.sources.base import Source

BATCH = 2000


def check_roundtrip(scope: Scope, source: Source, names: list[str], emit: Emit) -> Iterator[Check]:
    """Every document of collections of the source, batch by batch, against row + residue, or the whole document that
    was kept."""
    step = "round trip"
    emit(StepStarted(step=step))
    read: dict[str, int] = defaultdict(int)
    different: dict[str, list[Difference]] = defaultdict(list)
    wrong: dict[str, int] = defaultdict(int)
    for batch in source.read(dict.fromkeys(names, ""), documents=BATCH, size=4 << 20):
        raws = list(rawbson.split(batch.data))
        for difference in compare_documents(scope, batch.collection, raws):
            wrong[batch.collection] += 1
            if len(different[batch.collection]) < EXAMPLES:
                different[batch.collection].append(difference)
        read[batch.collection] += len(raws)
        emit(StepAdvanced(step=step, done=sum(read.values())))
    emit(StepFinished(step=step, note=f"{sum(read.values()):,} documents"))
    for name in names:
        yield judged(
            "round trip", name, different[name], wrong[name], expected=read[name], actual=read[name] - wrong[name]
        )


def compare_documents(scope: Scope, name: str, raws: list[bytes]) -> Iterator[Difference]:
    """Those of some documents of a collection that PostgreSQL does not have."""
    kept = _kept(scope, name, raws)
    for raw in raws:
        source_id = rawbson.source_id(raw)
        candidates = kept.get(source_id, [])
        difference = _difference(raw, [each.raw for each in candidates])
        if difference is not None:
            path, note = difference
            fault: Fault = "target" if any(each.touched for each in candidates) else "source"
            if not candidates and not scope.source_changed:
                fault = "target"
            yield Difference(row=f"{name} {show_id(source_id)}", column=path, note=note, fault=fault)


@dataclass(frozen=True, slots=True)
class Kept:
    """A document that PostgreSQL gives back; None where its residue is damaged. `touched`: changed since the run."""

    raw: bytes | None
    touched: bool


def _kept(scope: Scope, name: str, raws: list[bytes]) -> dict[bytes, list[Kept]]:
    """What PostgreSQL has for some documents, by source_id (a dump may hold an `_id` twice)."""
    asked = [rawbson.source_id(raw) for raw in raws]
    kept: dict[bytes, list[Kept]] = defaultdict(list)
    template = "SELECT r.source_id, r.document, {newer} FROM {relation} r WHERE collection = %s AND source_id = ANY(%s)"
    for relation in ("rejects", "archive"):
        whole = sql.SQL(template).format(
            newer=faults.newer(scope.place, "r"), relation=sql.Identifier(scope.place.records, relation)
        )
        for source_id, document, touched in scope.connection.execute(whole, (name, asked), binary=True):
            kept[bytes(source_id)].append(Kept(bytes(document), touched))
    if name not in scope.mappings:
        query = scope.place.sql(
            "SELECT l.source_id, l.residue, {newer} FROM {ledger} l"
            " WHERE l.collection = %s AND l.source_id = ANY(%s) AND l.outcome = 'loaded'",
            newer=faults.newer(scope.place, "l"),
        )
        for source_id, residue, touched in scope.connection.execute(query, (name, asked), binary=True):
            kept[bytes(source_id)].append(Kept(None if residue is None else whole_of(bytes(residue)), touched))
    elif name in scope.chosen:
        mapping = scope.mappings[name]
        ids = _loaded(scope, mapping, asked)
        found = faults.rebuild_safely(scope.connection, scope.place, scope.mappings, mapping, list(ids))
        for source_id, key, document in found:
            kept[source_id].append(Kept(document, ids.get(key, False)))
    return kept


def _loaded(scope: Scope, mapping: Collection, asked: list[bytes]) -> dict[str, bool]:
    """Target ids of loaded documents, and whether row or entry were changed since the run."""
    query = scope.place.sql(
        "SELECT l.target_id, {entry} OR {row} FROM {ledger} l LEFT JOIN {table} t ON t.{key}::text = l.target_id"
        " WHERE l.collection = %s AND l.source_id = ANY(%s) AND l.outcome = 'loaded'",
        entry=faults.newer(scope.place, "l"),
        row=faults.newer(scope.place, "t"),
        table=scope.place.table(mapping.table.name),
        key=sql.Identifier(mapping.key.column),
    )
    found = scope.connection.execute(query, (mapping.name, asked)).fetchall()
    # An entry whose id cannot be one leads nowhere, and would be an error in the question for its row.
    uuids = kind_of_column(mapping.table.c[mapping.key.column]) == "uuid"
    return {target: touched for target, touched in found if target and (not uuids or is_uuid(target))}


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
        return decode_sound(raw)
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
