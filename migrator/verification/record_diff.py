"""Compares the records in schema `migrator` with the records that a run would write now.

Checksums of groups are compared first (a group is a part of the hash of the whole record), then the records of the
groups that differ. BSON is compared field by field: the order of the top-level fields of a residue, or of a document
that was a row for some time, is not guaranteed.
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
from migrator.formatting import format_count
from migrator.state import own_transactions, source_state
from migrator.state.records import Namespace
from migrator.verification.model import (
    EXAMPLES,
    Check,
    Difference,
    Differences,
    Fault,
    Scope,
    count_differing,
    make_check,
    passed_check,
)
from migrator.verification.value_diff import describe_pair

GROUPS = 256
RecordKey = tuple[Any, ...]
RecordValues = tuple[Any, ...]  # the other columns, then whether the record was written after the run
RecordsByKey = dict[RecordKey, list[RecordValues]]
RecordChecksums = dict[tuple[str, int], tuple[int, Any]]  # by collection and group


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordRelation:
    """A relation of schema `migrator`: key columns, other columns, and which of the other columns are BSON."""

    name: str
    key: tuple[str, ...]
    columns: tuple[str, ...]
    bson: frozenset[str] = frozenset()


BY_DOCUMENT = ("collection", "source_id")
DOCUMENT = frozenset({"document"})
RELATIONS = (
    RecordRelation(
        name="ledger", key=BY_DOCUMENT, columns=("target_id", "outcome", "residue"), bson=frozenset({"residue"})
    ),
    RecordRelation(name="rejects", key=BY_DOCUMENT, columns=("reason", "detail", "document"), bson=DOCUMENT),
    RecordRelation(name="archive", key=BY_DOCUMENT, columns=("document",), bson=DOCUMENT),
    RecordRelation(name="findings", key=BY_DOCUMENT, columns=("code", "severity", "detail")),
    RecordRelation(name="aliases", key=("collection", "original_id"), columns=("target", "owner")),
    RecordRelation(name="links", key=("collection", "lister"), columns=("listed", "position")),
    RecordRelation(name="metadata", key=("collection",), columns=("metadata",)),
)


def compare_relation(scope: Scope, scratch: Namespace, relation: RecordRelation, here: RecordChecksums) -> list[Check]:
    """Compare one relation of the target, whose checksums are `here`, with the same relation of the scratch run."""
    there = checksum_records(scope, scratch, relation)
    groups = [each for each in here.keys() | there.keys() if here.get(each) != there.get(each)]
    expected = f"{format_count(sum(records for records, _ in there.values()), 'records')} equal to the source"
    if not groups:
        return [passed_check(relation.name, "migrator", expected)]
    numbers = sorted({number for _, number in groups})
    actual_records, expected_records = (_read(scope, place, relation, numbers) for place in (scope.namespace, scratch))
    comparison = _KeyComparison(scope=scope, relation=relation)
    found: list[Difference] = []
    total = 0
    for key in sorted(actual_records.keys() | expected_records.keys(), key=repr):
        pair = comparison.match(actual_records.get(key, []), expected_records.get(key, []))
        if not pair.is_empty:
            total += 1
            found += comparison.describe(key, pair) if len(found) < EXAMPLES else []
    differences = Differences(total=total, first=found[:EXAMPLES])
    actual = f"{count_differing(total, 'record')} from the source" if total else expected
    return [make_check(relation.name, "migrator", differences, expected=expected, actual=actual)]


def _condition(scope: Scope, relation: RecordRelation) -> sql.Composable:
    """Return the SQL condition of the records to compare.

    Findings of the embedding stage and those about the load are skipped: the scratch run has none of them.
    """
    parts: list[sql.Composable] = [sql.SQL("true")]
    if relation.name == "findings":
        parts.append(sql.SQL("code <> ALL({})").format(sql.Literal([*vector_store.CODES, source_state.CODE])))
    if scope.only:
        names = {*scope.chosen, *scope.only}
        if relation.name == "links":
            names = {link for mapping in scope.chosen.values() for link in mapping.link_names}
        parts.append(sql.SQL("collection = ANY({}::text[])").format(sql.Literal(sorted(names))))
    return sql.SQL(" AND ").join(parts)


def _hash(relation: RecordRelation) -> sql.Composed:
    columns = sql.SQL(", ").join(map(sql.Identifier, relation.key + relation.columns))
    return sql.SQL("hash_record_extended(ROW({}), 0)").format(columns)


def checksum_records(scope: Scope, namespace: Namespace, relation: RecordRelation) -> RecordChecksums:
    """Return the number and the checksum of the records in each group.

    The checksum is a sum, because the same record may exist twice. A changed record is in different groups on the two
    sides, so both groups differ and are read.
    """
    # OFFSET 0 makes PostgreSQL hash each record once and group narrow rows.
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


def _read(scope: Scope, namespace: Namespace, relation: RecordRelation, groups: list[int]) -> RecordsByKey:
    """Read the records of some groups, by key."""
    query = sql.SQL("SELECT {columns}, {newer} FROM {relation} t WHERE {only} AND {hash} & {last} = ANY(%s)").format(
        columns=sql.SQL(", ").join(map(sql.Identifier, relation.key + relation.columns)),
        newer=own_transactions.written_after_run(scope.namespace, "t"),
        relation=sql.Identifier(namespace.records, relation.name),
        only=_condition(scope, relation),
        hash=_hash(relation),
        last=sql.Literal(GROUPS - 1),
    )
    entries: RecordsByKey = defaultdict(list)
    for record in scope.connection.execute(query, (groups,), binary=True):
        values = tuple(bytes(each) if isinstance(each, memoryview) else each for each in record)
        entries[values[: len(relation.key)]].append(values[len(relation.key) :])
    return entries


@dataclass(frozen=True, slots=True, kw_only=True)
class _Unmatched:
    """The records of one key that have no equal on the other side."""

    extra: list[RecordValues]
    missing: list[RecordValues]

    @property
    def is_empty(self) -> bool:
        return not self.extra and not self.missing


@dataclass(frozen=True, slots=True, kw_only=True)
class _KeyComparison:
    """Compares the records that have the same key."""

    scope: Scope
    relation: RecordRelation

    def match(self, actual: list[RecordValues], expected: list[RecordValues]) -> _Unmatched:
        """Pair equal records and return the others."""
        return _Unmatched(extra=self._subtract(actual, expected), missing=self._subtract(expected, actual))

    def _subtract(self, some: list[RecordValues], others: list[RecordValues]) -> list[RecordValues]:
        left = [self._canonical(each) for each in others]
        rest = []
        for record in some:
            form = self._canonical(record)
            if form in left:
                left.remove(form)
            else:
                rest.append(record)
        return rest

    def _canonical(self, record: RecordValues) -> RecordValues:
        pairs = zip(self.relation.columns, record, strict=False)
        bson = self.relation.bson
        return tuple(sort_fields(value) if name in bson and value is not None else value for name, value in pairs)

    def describe(self, key: RecordKey, pair: _Unmatched) -> Iterator[Difference]:
        """Yield the differences of one key."""
        row = self._name(key)
        if len(pair.extra) == len(pair.missing) == 1:
            yield from self._compare_columns(row, pair.extra[0], pair.missing[0])
            return
        # A missing record was lost in the target, unless the source now has other documents than the run read.
        fault: Fault = "source" if self.scope.source_changed else "target"
        for record in pair.missing:
            yield Difference(row=row, note=self._describe("missing in the target", record), fault=fault)
        for record in pair.extra:
            fault = "target" if record[-1] else "source" if self.scope.source_changed else ""
            yield Difference(row=row, note=self._describe("unexpected", record), fault=fault)

    def _name(self, key: RecordKey) -> str:
        collection, *rest = key
        if not rest:
            return str(collection)
        return f"{collection} {format_id(rest[0]) if self.relation.key == BY_DOCUMENT else rest[0]}"

    def _compare_columns(self, row: str, actual: RecordValues, expected: RecordValues) -> Iterator[Difference]:
        one, other = self._canonical(actual), self._canonical(expected)
        fault: Fault = "target" if actual[-1] else "source" if self.scope.source_changed else "mapper"
        for place, name in enumerate(self.relation.columns):
            if one[place] == other[place]:
                continue
            column, kind = name, "uuid" if name not in (*self.relation.bson, "metadata") else "bytea"
            if kind == "bytea":
                column = f"{name}{_find_field(one[place], other[place])}"
            pair = describe_pair(kind, _to_text(expected[place]), _to_text(actual[place]), self.scope.show)
            yield Difference(row=row, column=column, expected=pair.expected, actual=pair.actual, fault=fault)

    def _describe(self, problem: str, record: RecordValues) -> str:
        """Return a problem and the record as text, without BSON."""
        pairs = zip(self.relation.columns, record, strict=False)
        hidden = (*self.relation.bson, "metadata")
        values = ", ".join(f"{name} {value}" for name, value in pairs if name not in hidden and value is not None)
        return f"{problem}: {values}" if values else problem


def sort_fields(raw: bytes) -> bytes:
    """Sort the top-level fields of BSON, and the fields of a residue's `set`. Damaged BSON is returned unchanged."""
    try:
        document = decode_untrusted(raw)
    except InvalidBSON:
        return raw
    if not is_faithful(document, raw):
        return raw
    if isinstance(document.get("set"), dict):
        document["set"] = dict(sorted(document["set"].items()))
    return encode(dict(sorted(document.items())))


def _to_text(value: Any) -> str | None:
    if isinstance(value, bytes):
        try:
            return str(decode_untrusted(value))
        except InvalidBSON:
            return value.hex()
    return None if value is None else str(value)


def _find_field(one: Any, other: Any) -> str:
    """Return the first field in which two BSON documents differ, as ' at FIELD'; '' if there is none."""
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
