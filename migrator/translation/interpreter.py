"""Translates one document to a row and back by running the operations of its mapping one by one.

This is the reference: generated code must agree with it to the byte. It is pure: the lookups of the documents have been
answered before (`References`), and nothing is encoded for PostgreSQL here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, assert_never

from migrator.documents import raw_bson
from migrator.documents.codec import Document, decode, encode
from migrator.documents.residue import (
    Changes,
    add_residue,
    changes_of,
    pack_residue,
    raw_document_of,
    raw_residue,
    subtract,
)
from migrator.mapping.children import Children
from migrator.mapping.collection import Collection, Rule
from migrator.mapping.composite_keys import AnyKey, CompositeKey
from migrator.mapping.context import ABSENT, Archived, Lookup, Match, Rejected, Row
from migrator.mapping.rules import Variants
from migrator.postgres.tenancy import tenant_column
from migrator.translation import operations
from migrator.translation.lowering import reference_program
from migrator.translation.operations import Convert, Emit, Memo, Program, Read, Residue
from migrator.translation.outcomes import Archive, Finding, Loaded, Reject, Result

# (collection, column) of a lookup → plain key → the rows found
References = Mapping[tuple[str, str], Mapping[Any, tuple[Match, ...]]]
Listed = Mapping[Any, tuple[tuple[Any, int], ...]]


def source_id_of(document: Document) -> bytes:
    """Return the `_id` of a document as the ledger stores it: BSON `{"_id": …}`."""
    return encode({"_id": document["_id"]}) if "_id" in document else encode({})


@dataclass(slots=True)
class _State:
    """A document while the operations run: the row so far, and the fields that it restores.

    `row_id` replaces the ID that the key field gives. `raw` is set for a document that decoding does not preserve.
    """

    document: Document
    row: Row
    row_id: Any = None
    raw: bytes | None = None
    restored: Document = field(default_factory=dict)

    def restore(self, rules: Iterable[Rule | AnyKey]) -> None:
        if self.raw is None:
            for rule in rules:
                rule.to_document(self.row, self.restored)

    def residue(self, collection: Collection) -> bytes | None:
        if self.raw is not None:
            return raw_residue(self.raw)
        return _subtract(collection, self.document, self.row, self.restored)


def constants_of(collection: Collection, options: Any) -> Row:
    """Return the plain values of the columns that are the same in every row, with that of the tenant."""
    tenant = tenant_column(collection.table)
    return dict(collection.constants) if tenant is None else {tenant: options.tenant.bytes, **collection.constants}


class Translation:
    """The `Context` of one batch: its lookup results, its options, and the findings of the current document.

    `given_ids`: the ID that documents give → that of the row, if it is another.
    """

    def __init__(
        self,
        collection: Collection,
        options: Any,
        references: References,
        listed: Listed | None = None,
        program: Program | None = None,
        given_ids: Mapping[Any, Any] | None = None,
    ) -> None:
        self.collection = collection
        self.options = options
        self.constants = constants_of(collection, options)
        self.notes: list[tuple[str, str]] = []
        self.references = references
        self._listed = listed or {}
        self._program = program or reference_program(collection)
        self._given_ids = given_ids or {}

    def note(self, code: str, detail: str) -> None:
        self.notes.append((code, detail))

    def find(self, lookup: Lookup, key: Any) -> tuple[Match, ...]:
        return self.references[lookup.name].get(key, ())

    def listed(self, key: Any) -> tuple[tuple[Any, int], ...]:
        return self._listed.get(key, ())

    def translate(
        self, document: Document, row_id: Any = None, raw: bytes | None = None
    ) -> tuple[Result, list[Finding]]:
        """Return the outcome of one document, and its findings. `row_id` replaces the ID that the key field gives.

        `raw` is passed for a document that does not encode to the bytes it came from (`documents.codec.is_faithful`).
        """
        self.notes.clear()
        for path in () if raw is None else raw_bson.duplicate_fields(raw):
            self.note("duplicate_field", path)
        try:
            result: Result = self._load(_State(document, dict(self.constants), row_id, raw))
        except Rejected as rejected:
            result = Reject(reason=rejected.reason, detail=rejected.detail)
            self.notes.clear()
        except RecursionError:
            result = Reject(reason="undecodable", detail="nested too deeply")
            self.notes.clear()
        except Archived as archived:
            result = Archive()
            self.notes[:] = [(archived.code, archived.detail)]
        return result, self.findings(source_id_of(document) if raw is None else raw_bson.source_id(raw))

    def row_of(self, document: Document, row_id: Any) -> Row | None:
        """Return the row of a document, with the ID `row_id`; None if it cannot be loaded. Nothing is restored."""
        self.notes.clear()
        row = dict(self.constants)
        try:
            for operation in self._program:
                match operation:
                    case Convert() | operations.Lookup():
                        operation.rule.to_row(document, row, self)
                    case Memo(rules=memoized):
                        for rule in memoized:
                            rule.to_row(document, row, self)
                    case Read(key=key):
                        key.to_row(document, row, self)
                        row[key.column] = row_id
        except (Rejected, RecursionError, Archived):
            return None
        return row

    def findings(self, source_id: bytes) -> list[Finding]:
        """Return the findings of the current document, each once."""
        name = self.collection.name
        return [Finding(collection=name, code=c, source_id=source_id, detail=d) for c, d in dict.fromkeys(self.notes)]

    def _load(self, state: _State) -> Loaded:
        document, row = state.document, state.row
        for operation in self._program:
            match operation:
                case Convert() | operations.Lookup():
                    operation.rule.to_row(document, row, self)
                case Residue(rules=rules):
                    state.restore(rules)
                case Memo(rules=memoized):
                    for rule in memoized:
                        rule.to_row(document, row, self)
                    state.restore(memoized)
                case Read(key=key):
                    key.to_row(document, row, self)
                    if state.row_id is not None:
                        row[key.column] = state.row_id
                    elif self._given_ids:
                        row[key.column] = self._given_ids.get(row[key.column], row[key.column])
                case Emit(collection=collection):
                    if isinstance(collection.key, CompositeKey):
                        collection.key.complete(row)
                    return Loaded(row=row, residue=state.residue(collection))
                case _:
                    assert_never(operation)
        raise AssertionError("a program ends with Emit")


def restore_fields(collection: Collection, row: Row) -> Document:
    """Return the fields that a row restores, without `_id`."""
    document: Document = {}
    collection.key.to_document(row, document)
    for rule in collection.rules:
        rule.to_document(row, document)
    return document


def residue_of(collection: Collection, document: Document, row: Row, restored: Document | None = None) -> bytes | None:
    """Return the residue: the part of a document that its row cannot reproduce. The ledger has the `_id`.

    `restored`: what `restore_fields` returns for the row, if it is known.
    """
    return _subtract(collection, document, row, restore_fields(collection, row) if restored is None else restored)


def _subtract(collection: Collection, document: Document, row: Row, restored: Document) -> bytes | None:
    fields = {name: value for name, value in document.items() if name != "_id"}
    changed, unset = subtract(fields, restored)
    variants: dict[str, int] = {}
    remainders: dict[str, Document] = {}
    for rule in collection.variant_rules:
        if rule.path in changed or rule.path in unset:
            value, columns = document.get(rule.path, ABSENT), [row[name] for name in rule.inputs]
            number = rule.find_variant(value, *columns)
            if number:
                variants[rule.path] = number
            elif rule.subtract is not None and (remainder := rule.subtract(value, *columns)) is not None:
                remainders[rule.path] = remainder
    described = variants.keys() | remainders.keys()
    changed = {name: value for name, value in changed.items() if name not in described}
    return pack_residue(changed, [name for name in unset if name not in described], variants, remainders)


def rebuild(
    collection: Collection, source_id: Document, row: Row, residue: bytes | None, restored: Document | None = None
) -> Document:
    """Return the document of a row, its `source_id` in the ledger, and its residue.

    `restored`: what `restore_fields` returns for the row, if it is known; it is changed.
    """
    raw = raw_document_of(residue)
    if raw is not None:
        return decode(raw)
    document = restore_fields(collection, row) if restored is None else restored
    add_changes(collection.variant_rules, row, document, changes_of(residue))
    return {**source_id, **add_residue(document, residue)}


def add_changes(rules: Sequence[Variants | Children], row: Row, document: Document, changes: Changes) -> list[str]:
    """Change the restored fields of a document of which the residue has the variant, a remainder or the length.

    `rules`: the `variant_rules` of its collection. Return the fields that have been moved to the end of the document.
    """
    variants, remainders, counts = changes
    restored = set(document)
    for rule in rules if variants else ():
        if rule.path in variants:
            rule.set_variant(variants[rule.path], row, document)
    for rule in rules if remainders else ():
        if rule.path in remainders:
            rule.set_remainder(remainders[rule.path], row, document)
    for name, count in counts.items():
        document[name] = document[name][:count]
    return [name for name in document if name in variants or name not in restored]


def rebuild_bson(collection: Collection, source_id: bytes, row: Row, residue: bytes | None) -> bytes:
    """Return the document as BSON. A document that was kept as raw BSON is returned unchanged."""
    return raw_document_of(residue) or encode(rebuild(collection, decode(source_id), row, residue))
