"""Computes the documents of changed rows, and what of a row its document cannot hold."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cache, partial
from typing import Any

from bson.errors import BSONError

from migrator.documents import jsonb
from migrator.documents.codec import Document, decode, encode
from migrator.documents.residue import close_residue, open_residue, raw_document_of, raw_residue
from migrator.mapping.collection import Collection
from migrator.mapping.context import Row
from migrator.reconciliation.document_writer import DocumentWriter
from migrator.reconciliation.membership import compact
from migrator.reversing import merge
from migrator.reversing.changes import Key, changed_columns
from migrator.reversing.element_losses import compare_elements
from migrator.reversing.equality import equal
from migrator.reversing.views import Views
from migrator.rows.rebuild import DAMAGED, rebuild_document, rebuild_raw
from migrator.translation.interpreter import Translation, residue_of, restore_fields

NOT_ENCODABLE = (BSONError, OverflowError, TypeError, ValueError)
Lost = dict[str, tuple[Any, Any]]  # column → its value, and what the document gives instead


@dataclass(frozen=True, slots=True)
class Losses:
    """What of a row its document cannot hold.

    `columns`: what has changed, or comes out of the document in another way than before. `as_before`: other columns
    that do not come out of the document, and did not before: a later stage of the run has set them. `rounded`: dates
    of which only the part below a millisecond is lost, because BSON has none.
    """

    columns: Lost = field(default_factory=dict, repr=False)
    as_before: frozenset[str] = frozenset()
    rounded: Lost = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Returned:
    """A document to write. `expected`: the present document; `document`: the new one as BSON, None to delete it.

    `losses`: what the document cannot hold.
    """

    key: Key
    source_id: bytes
    expected: Document | None = field(repr=False)
    document: bytes | None = field(repr=False)
    residue: bytes | None = field(default=None, repr=False)
    losses: Losses = field(default_factory=Losses)


@dataclass(slots=True)
class _Merging:
    """A document that is being merged. `chosen`: the best proposal so far."""

    key: Key
    source_id: bytes
    residue: bytes | None
    before: Row | None
    after: Row
    expected: Document | None
    proposals: Iterator[Document]
    chosen: Document | None = None
    losses: Losses = field(default_factory=Losses)
    is_loaded: bool = False
    baseline: Callable[[], Row] = dict

    @property
    def is_done(self) -> bool:
        return self.is_loaded and not self.losses.columns


class DocumentReturn:
    """Computes the documents of changed rows of one collection."""

    def __init__(self, views: Views, writer: DocumentWriter) -> None:
        self._views, self._writer, self._collection = views, writer, writer.collection
        self._kinds = self._collection.kinds
        self._derived: dict[str, Row] = {}
        self._restored: dict[int, Document] = {}  # by the identity of a row, which `_kept` keeps
        self._kept: list[Row] = []

    def _restore(self, collection: Collection, row: Row) -> Document:
        """Return the fields that a row restores. Each row is needed several times."""
        found = self._restored.get(id(row))
        if found is None:
            self._restored[id(row)] = found = restore_fields(collection, row)
            self._kept.append(row)
        return dict(found)

    def compute(self, keys: Iterable[Key]) -> Iterator[Returned]:
        """Yield the documents of rows that changed, with what they cannot hold."""
        merging: list[_Merging] = []
        for key in keys:
            before, after = self._views.before(key), self._views.after(key)
            source_id, residue = self._views.entries[key]
            expected = None
            if before is not None:
                expected = rebuild_document(self._collection, source_id, before, residue, self._restore)
            if after is None:
                yield Returned(key=key, source_id=source_id, expected=expected, document=None)
            elif changed_columns(before, after):
                merging.append(_Merging(key, source_id, residue, before, after, expected, iter(())))
            elif key in self._views.forced:
                raw = rebuild_raw(self._collection, source_id, after, residue)
                kept = Losses(as_before=frozenset(name for name, _ in self._kinds))
                yield Returned(
                    key=key, source_id=source_id, expected=expected, document=raw, residue=residue, losses=kept
                )
        self._derived = self._views.latest_values(self._collection, [each.key[1] for each in merging])
        self._propose(merging)
        waiting = merging
        while waiting:
            waiting = self._try_next(waiting)
        for each in merging:
            if not each.is_loaded:
                self._merge_by_column(each)
            yield self._finish(each)

    def _propose(self, merging: list[_Merging]) -> None:
        rows = [row for each in merging for row in (each.before, each.after) if row is not None]
        self._views.read_aliases(self._collection, rows)
        for each in merging:
            each.proposals = self._proposals(each, each.after)
            if each.expected is not None and each.before is not None:
                each.baseline = cache(partial(translate_row, self._writer, each.expected, each.before))

    def _proposals(self, each: _Merging, after: Row) -> Iterator[Document]:
        """Yield merged documents; none if the row has values of which its rules cannot make fields."""
        with suppress(*DAMAGED):
            yield from self._propose_from(each, each.before, each.expected, after)
            return
        with suppress(*DAMAGED):  # it had such values before
            new = restore_fields(self._collection, self._views.as_document(self._collection, after))
            document = each.expected or decode(each.source_id)
            yield {**document, **new}
            restored = self._collection.restored_fields
            bare = {name: value for name, value in document.items() if name not in restored} | new
            changed = changed_columns(each.before, after)
            yield from merge.complete(self._collection, bare, after, changed)

    def _propose_from(
        self, each: _Merging, before: Row | None, document: Document | None, after: Row
    ) -> Iterator[Document]:
        new = self._views.as_document(self._collection, after)
        if before is None or document is None:
            yield from merge.create(self._collection, decode(each.source_id), new)
            return
        old = self._views.as_document(self._collection, before)
        residue = None if raw_document_of(each.residue) is not None else each.residue
        yield from merge.propose(self._collection, document, residue, old, new, self._restore)

    def _try_next(self, merging: list[_Merging]) -> list[_Merging]:
        """Translate the next proposal of each document, and return the documents that have another one to try."""
        proposed = [(each, found) for each in merging if (found := next(each.proposals, None)) is not None]
        encoded = [(each, found) for each, found in proposed if is_encodable(found)]
        translation = self._writer.translation([found for _, found in encoded])
        for each, found in encoded:
            self._judge(each, found, translation)
        return [each for each, _ in proposed if not each.is_done]

    def _judge(self, each: _Merging, found: Document, translation: Translation) -> None:
        """Take a proposal if it holds more of the row than the one before."""
        row = translation.row_of(found, each.after[self._collection.key.column])
        is_loaded = row is not None
        losses = self._find_lost(each, found, row or {})
        if each.chosen is None or (is_loaded, -len(losses.columns)) > (each.is_loaded, -len(each.losses.columns)):
            each.chosen, each.losses, each.is_loaded = found, losses, is_loaded

    def _find_lost(self, each: _Merging, document: Document, row: Row) -> Losses:
        derived = self._derived.get(each.key[1])
        losses = find_lost(self._kinds, each.before, each.after, row, each.baseline, derived)
        return add_elements(losses, self._collection, each.before, each.after, document, row)

    def _merge_by_column(self, each: _Merging) -> None:
        """Merge those changed columns one by one with which the document can still be loaded.

        A new row begins without a value in any column that may be NULL.
        """
        empty = {column.name: None for column in self._collection.columns if column.nullable}
        row = dict(each.before) if each.before is not None else {**each.after, **empty}
        document = each.expected
        if document is None:
            document = next(self._proposals(replace(each, before=None), row), decode(each.source_id))
        for name in sorted(changed_columns(row, each.after)):
            tried = {**row, name: each.after[name]}
            with suppress(*DAMAGED):
                found = next(self._propose_from(each, row, document, tried))
                if is_encodable(found) and translate_row(self._writer, found, each.after):
                    row, document = tried, found
        given = translate_row(self._writer, document, each.after)
        each.chosen, each.losses, each.is_loaded = document, self._find_lost(each, document, given), bool(given)

    def _finish(self, each: _Merging) -> Returned:
        document = each.chosen
        assert document is not None  # there is always a proposal
        raw = encode(document)
        try:
            restored = self._restore(self._collection, each.after)
            residue = residue_of(self._collection, document, each.after, restored)
        except DAMAGED:  # the row has values of which its rules cannot make fields
            residue = raw_residue(raw)
        return Returned(
            key=each.key,
            source_id=each.source_id,
            expected=each.expected,
            document=raw,
            residue=_compact(self._collection, residue, each.after),
            losses=each.losses,
        )


def _compact(collection: Collection, residue: bytes | None, row: Row) -> bytes | None:
    """Remove the lists from a residue that the ledger can reproduce."""
    if residue is None or not collection.member_lists:
        return residue
    parts = open_residue(residue)
    for rule in collection.member_lists:
        compact(rule, parts, row.get(rule.row_key, []))
    return close_residue(parts)


def find_lost(
    kinds: Iterable[tuple[str, str]],
    before: Row | None,
    after: Row,
    row: Row,
    baseline: Callable[[], Row],
    derived: Row | None = None,
) -> Losses:
    """Return what of a row its document cannot hold. `row`: what the document gives; `baseline`: what it gave before.

    Columns that no document fills are lost if they change, unless they have the value that follows from other rows
    (`derived`).
    """
    others = derived or {}
    as_before = set()
    lost: Lost = {}
    rounded: Lost = {}
    for name, kind in kinds:
        value = after.get(name)
        is_changed = before is None or differs(kind, value, before.get(name))
        if name not in row:
            other = others.get(name)
            is_left_out = before is None and value is None and name in others
            if not is_changed or is_left_out:  # the latest value of other rows is set again by the applier
                as_before.add(name)
            elif is_rounded(kind, value, other):
                rounded[name] = value, other
            elif differs(kind, value, other):
                lost[name] = value, other
        elif differs(kind, value, row[name]):
            if is_rounded(kind, value, row[name]):
                rounded[name] = value, row[name]
            elif not is_changed and not differs(kind, baseline().get(name), row[name]):
                as_before.add(name)
            else:
                lost[name] = value, row[name]
    return Losses(lost, frozenset(as_before), rounded)


def add_elements(
    losses: Losses, collection: Collection, before: Row | None, after: Row, document: Document, row: Row
) -> Losses:
    """Add the columns of elements whose changes a document cannot hold. `row`: what the document gives."""
    for each in compare_elements(collection, before, after, document, row) if collection.children else ():
        if differs(each.kind, each.value, each.other):
            lost = losses.rounded if is_rounded(each.kind, each.value, each.other) else losses.columns
            lost[each.name] = each.value, each.other
    return losses


def is_rounded(kind: str, value: Any, other: Any) -> bool:
    """Return whether a value differs only in the part of a date below a millisecond."""
    return kind == "timestamp" and value is not None and value != other and value // 1000 * 1000 == other


def translate_row(writer: DocumentWriter, document: Document, row: Row) -> Row:
    """Return the row that a document gives; no columns if it cannot be loaded."""
    return writer.translation([document]).row_of(document, row[writer.collection.key.column]) or {}


def is_encodable(document: Document) -> bool:
    try:
        encode(document)
    except NOT_ENCODABLE:
        return False
    return True


def differs(kind: str, one: Any, other: Any) -> bool:
    """Return whether two plain values of a column differ."""
    if kind != "jsonb" or one is None or other is None:
        return not equal(one, other)
    return jsonb.to_text(one) != jsonb.to_text(other)
