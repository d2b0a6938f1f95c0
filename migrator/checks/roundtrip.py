"""The source against what PostgreSQL alone rebuilds, document by document: the proof that nothing is lost."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet
from typing import Any

from bson.errors import InvalidBSON

from migrator import rawbson
from migrator.checks.base import EXAMPLES, Check
from migrator.events import Emit, StepAdvanced, StepFinished, StepStarted
from migrator.exact import Document, decode_sound, same, show_id, whole_of
from migrator.journal import Connection, Place
from migrator.mapping import Collection
from migrator.readback import read_bson
from migrator.sources.base import Source

BATCH = 2000


def check_roundtrip(
    connection: Connection,
    place: Place,
    mappings: Mapping[str, Collection],
    source: Source,
    emit: Emit,
    *,
    only: AbstractSet[str] | None = None,
) -> Iterator[Check]:
    """Every document of the source, batch by batch, against row + residue, or the whole document that was kept.

    `only`: those of these collections."""
    step = "round trip"
    emit(StepStarted(step=step))
    read: dict[str, int] = defaultdict(int)
    different: dict[str, list[str]] = defaultdict(list)
    wrong: dict[str, int] = defaultdict(int)
    names = [each.name for each in source.collections() if only is None or each.name in only]
    for batch in source.read(dict.fromkeys(names, ""), documents=BATCH, size=4 << 20):
        raws = list(rawbson.split(batch.data))
        kept = _kept(connection, place, mappings, batch.collection, raws)
        for raw in raws:
            difference = _difference(raw, kept.get(rawbson.source_id(raw), []))
            if difference is not None:
                wrong[batch.collection] += 1
                if len(different[batch.collection]) < EXAMPLES:
                    different[batch.collection].append(difference)
        read[batch.collection] += len(raws)
        emit(StepAdvanced(step=step, done=sum(read.values())))
    emit(StepFinished(step=step, note=f"{sum(read.values()):,} documents"))
    for name in names:
        yield Check(
            check="round trip", table=name, expected=read[name], actual=read[name] - wrong[name],
            differences=wrong[name], examples=different[name],
        )  # fmt: skip


def _kept(
    connection: Connection, place: Place, mappings: Mapping[str, Collection], name: str, raws: list[bytes]
) -> dict[bytes, list[bytes]]:
    """What PostgreSQL has for the documents of a batch: source_id → BSON (a dump may hold an `_id` twice)."""
    asked = [rawbson.source_id(raw) for raw in raws]
    kept: dict[bytes, list[bytes]] = defaultdict(list)
    for template in (
        place.sql("SELECT source_id, document FROM {rejects} WHERE collection = %s AND source_id = ANY(%s)"),
        place.sql("SELECT source_id, document FROM {archive} WHERE collection = %s AND source_id = ANY(%s)"),
    ):
        for source_id, document in connection.execute(template, (name, asked), binary=True):
            kept[bytes(source_id)].append(bytes(document))
    if name not in mappings:
        query = place.sql(
            "SELECT source_id, residue FROM {ledger}"
            " WHERE collection = %s AND source_id = ANY(%s) AND outcome = 'loaded'"
        )
        for source_id, residue in connection.execute(query, (name, asked), binary=True):
            kept[bytes(source_id)].append(whole_of(bytes(residue)) or b"")
    else:
        query = place.sql(
            "SELECT target_id FROM {ledger} WHERE collection = %s AND source_id = ANY(%s) AND outcome = 'loaded'"
        )
        ids = [row[0] for row in connection.execute(query, (name, asked))]
        for source_id, document in read_bson(connection, place, mappings, mappings[name], ids):
            kept[source_id].append(document)
    return kept


def _difference(raw: bytes, candidates: list[bytes]) -> str | None:
    """None where one of the candidates is this document; else what is wrong, without values."""
    if raw in candidates:
        return None
    document = _decode(raw)
    if document is None:  # such a document is equal to its bytes alone
        return f"{show_id(rawbson.source_id(raw))}: its bytes are not in the target"
    name = str(document.get("_id"))
    others = [other for other in map(_decode, candidates) if other is not None]
    if not others:
        return f"{name}: nothing in the target"
    paths = [first_difference(document, other) for other in others]
    return None if None in paths else f"{name}: differs at {paths[0]}"


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
