"""What schema `migrator` keeps against what it would keep now: ledger with residues, rejects, archive, findings …

As with rows: checksums of groups first (by the hash of the whole record), the records of some groups after. BSON counts
field by field: the order of the top-level fields of a residue, or of a document that was a row for a while, is nobody's
promise.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from bson.errors import InvalidBSON
from psycopg import sql

from migrator.documents.codec import decode_untrusted, encode, format_id, is_faithful
from migrator.embedding import vector_store
from migrator.state import own_transactions
from migrator.state.records import Namespace
from migrator.verification.model import EXAMPLES, Check, Difference, Fault, Scope, judged
from migrator.verification.value_diff import describe_pair

GROUPS = 256
Record = tuple[Any, ...]
Entries = dict[tuple[Any, ...], list[Record]]
RecordChecksums = dict[tuple[str, int], tuple[int, Any]]  # by collection and group


@dataclass(frozen=True, slots=True, kw_only=True)
class Relation:
    """A relation of the records: what names a record, and its other columns by kind. `bson` are those that are BSON."""

    name: str
    key: tuple[str, ...]
    columns: tuple[str, ...]
    bson: frozenset[str] = frozenset()


BY_DOCUMENT = ("collection", "source_id")
RELATIONS = (
    Relation(name="ledger", key=BY_DOCUMENT, columns=("target_id", "outcome", "residue"), bson=frozenset({"residue"})),
    Relation(name="rejects", key=BY_DOCUMENT, columns=("reason", "detail", "document"), bson=frozenset({"document"})),
    Relation(name="archive", key=BY_DOCUMENT, columns=("document",), bson=frozenset({"document"})),
    Relation(name="findings", key=BY_DOCUMENT, columns=("code", "severity", "detail")),
    Relation(name="aliases", key=("collection", "claimed"), columns=("target", "owner")),
    Relation(name="links", key=("collection", "lister"), columns=("listed", "position")),
    Relation(name="metadata", key=("collection",), columns=("metadata",)),
)


def compare_relation(scope: Scope, again: Namespace, relation: Relation, one: RecordChecksums) -> list[Check]:
    """One relation, of which `one` was summed up in the target."""
    other = checksum_records(scope, again, relation)
    groups = [each for each in one.keys() | other.keys() if one.get(each) != other.get(each)]
    count = sum(records for records, _ in other.values())
    if not groups:
        told = f"{count:,} records as the source maps"
        return [judged(relation.name, "migrator", [], expected=told, actual="the same")]
    numbers = sorted({number for _, number in groups})
    here, there = (_read(scope, place, relation, numbers) for place in (scope.namespace, again))
    keys = sorted(here.keys() | there.keys(), key=repr)
    found: list[Difference] = []
    total = 0
    for key in keys:
        one_more = _compare(scope, relation, key, here.get(key, []), there.get(key, []), total)
        total += bool(one_more)
        found += one_more
    return [judged(relation.name, "migrator", found, total, expected="as the source maps")]


def _condition(scope: Scope, relation: Relation) -> sql.Composable:
    """Which records are compared. Links are those of a collection's field; what a stage adds that no rehearsal has is
    left out."""
    parts: list[sql.Composable] = [sql.SQL("true")]
    if relation.name == "findings":
        parts.append(sql.SQL("code <> ALL({})").format(sql.Literal(list(vector_store.CODES))))
    if scope.only:
        names = sorted({*scope.chosen, *scope.only})
        parts.append(sql.SQL("split_part(collection, '.', 1) = ANY({})").format(sql.Literal(names)))
    return sql.SQL(" AND ").join(parts)


def _hash(relation: Relation) -> sql.Composed:
    columns = sql.SQL(", ").join(map(sql.Identifier, relation.key + relation.columns))
    return sql.SQL("hash_record_extended(ROW({}), 0)").format(columns)


def checksum_records(scope: Scope, namespace: Namespace, relation: Relation) -> RecordChecksums:
    """Number and checksum of the records of each group. A sum: the same record may be there twice.

    A record that was changed is in one group here and in another there: both differ, and both are read.
    """
    # OFFSET 0: each record is hashed once, and what is grouped is narrow, as with rows.
    query = sql.SQL(
        "SELECT collection, h & {last}, count(*), sum(h) FROM"
        " (SELECT collection, {hash} AS h FROM {relation} WHERE {only} OFFSET 0) hashed GROUP BY 1, 2"
    ).format(
        last=sql.Literal(GROUPS - 1),
        hash=_hash(relation),
        relation=sql.Identifier(namespace.records, relation.name),
        only=_condition(scope, relation),
    )
    found = scope.connection.execute(query)
    return {(collection, group): (count, checksum) for collection, group, count, checksum in found}


def _read(scope: Scope, namespace: Namespace, relation: Relation, groups: list[int]) -> Entries:
    """The records of some groups by their key, each with whether it was written after the run."""
    query = sql.SQL("SELECT {columns}, {newer} FROM {relation} t WHERE {only} AND {hash} & {last} = ANY(%s)").format(
        columns=sql.SQL(", ").join(map(sql.Identifier, relation.key + relation.columns)),
        newer=own_transactions.written_after_run(scope.namespace, "t"),
        relation=sql.Identifier(namespace.records, relation.name),
        only=_condition(scope, relation),
        hash=_hash(relation),
        last=sql.Literal(GROUPS - 1),
    )
    entries: Entries = defaultdict(list)
    for record in scope.connection.execute(query, (groups,), binary=True):
        values = tuple(bytes(each) if isinstance(each, memoryview) else each for each in record)
        entries[values[: len(relation.key)]].append(values[len(relation.key) :])
    return entries


def _compare(
    scope: Scope, relation: Relation, key: tuple[Any, ...], here: list[Record], there: list[Record], before: int
) -> list[Difference]:
    """The records of one key; the words for them only while there are few."""
    extra, missing = _without(relation, here, there), _without(relation, there, here)
    if not extra and not missing:
        return []
    if before >= EXAMPLES:
        return [Difference(row="")]
    row = _name(relation, key)
    if len(extra) == len(missing) == 1:
        return list(_columns(scope, relation, row, extra[0], missing[0]))
    told = []
    for record in missing:
        told.append(Difference(row=row, note=f"missing: {_tell(relation, record)}", fault=_of_missing(scope, key)))
    for record in extra:
        fault: Fault = "target" if record[-1] else "source" if scope.source_changed else ""
        told.append(Difference(row=row, note=f"should not be there: {_tell(relation, record)}", fault=fault))
    return told


def _of_missing(scope: Scope, key: tuple[Any, ...]) -> Fault:
    """A record that should be there and is not: was lost, where the journal says that as many documents were read."""
    if scope.source_changed:
        return "source"
    return "target"


def _without(relation: Relation, some: list[Record], others: list[Record]) -> list[Record]:
    """The records that have no equal among the others; equal ones go in pairs."""
    left = [_canonical(relation, each) for each in others]
    kept = []
    for record in some:
        form = _canonical(relation, record)
        if form in left:
            left.remove(form)
        else:
            kept.append(record)
    return kept


def _canonical(relation: Relation, record: Record) -> Record:
    pairs = zip(relation.columns, record, strict=False)
    return tuple(sort_fields(value) if name in relation.bson and value is not None else value for name, value in pairs)


def sort_fields(raw: bytes) -> bytes:
    """BSON with its top-level fields sorted, and those of a residue's `set`; what cannot be decoded as it is."""
    try:
        document = decode_untrusted(raw)
    except InvalidBSON:
        return raw
    if not is_faithful(document, raw):
        return raw
    if isinstance(document.get("set"), dict):
        document["set"] = dict(sorted(document["set"].items()))
    return encode(dict(sorted(document.items())))


def _name(relation: Relation, key: tuple[Any, ...]) -> str:
    collection, *rest = key
    if not rest:
        return str(collection)
    return f"{collection} {format_id(rest[0]) if relation.key == BY_DOCUMENT else rest[0]}"


def _columns(scope: Scope, relation: Relation, row: str, actual: Record, expected: Record) -> Iterator[Difference]:
    one, other = _canonical(relation, actual), _canonical(relation, expected)
    fault: Fault = "target" if actual[-1] else "source" if scope.source_changed else "mapper"
    for place, name in enumerate(relation.columns):
        if one[place] == other[place]:
            continue
        column, kind = name, "uuid" if name not in (*relation.bson, "metadata") else "bytea"
        if kind == "bytea":
            column = f"{name}{_inside(one[place], other[place])}"
        want, have, _ = describe_pair(kind, _text(expected[place]), _text(actual[place]), scope.show)
        yield Difference(row=row, column=column, expected=want, actual=have, fault=fault)


def _text(value: Any) -> str | None:
    if isinstance(value, bytes):
        try:
            return str(decode_untrusted(value))
        except InvalidBSON:
            return value.hex()
    return None if value is None else str(value)


def _inside(one: Any, other: Any) -> str:
    """The first field in which two pieces of BSON differ, as the end of a path."""
    try:
        left, right = (decode_untrusted(each) if each is not None else {} for each in (one, other))
    except InvalidBSON:
        return ""
    for part in ("set", ""):
        a, b = (left.get(part), right.get(part)) if part else (left, right)
        if isinstance(a, dict) and isinstance(b, dict):
            for name in sorted(a.keys() | b.keys()):
                if name not in a or name not in b or encode({"": a[name]}) != encode({"": b[name]}):
                    return f" at {part}.{name}" if part else f" at {name}"
    return ""


def _tell(relation: Relation, record: Record) -> str:
    """A record in words: no BSON of it."""
    pairs = zip(relation.columns, record, strict=False)
    return ", ".join(f"{n} {v}" for n, v in pairs if n not in (*relation.bson, "metadata") and v is not None)
