"""One document to a row and back, by interpreting the rules: the reference that the compiled functions must agree with.

Pure: what documents ask about other rows has been looked up before (`References`). No SQL, no encoding for PostgreSQL.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from migrator.documents import raw_bson
from migrator.documents.codec import Document, decode, encode
from migrator.documents.residue import (
    add_residue,
    member_counts_of,
    pack_residue,
    raw_document_of,
    raw_residue,
    remainders_of,
    subtract,
    variants_of,
)
from migrator.mapping.collection import Collection
from migrator.mapping.context import ABSENT, Archived, Lookup, Match, Rejected, Row
from migrator.translation.outcomes import Archive, Finding, Loaded, Reject, Result

# (collection, column) of a lookup → plain key → what was found
References = Mapping[tuple[str, str], Mapping[Any, tuple[Match, ...]]]
Listed = Mapping[Any, tuple[tuple[Any, int], ...]]


def source_id_of(document: Document) -> bytes:
    """A document's `_id` as the ledger keeps it: BSON `{"_id": …}`."""
    return encode({"_id": document["_id"]}) if "_id" in document else encode({})


class Translation:
    """The `Context` of one batch: its references, its options, and the findings of the document at hand."""

    def __init__(
        self, collection: Collection, options: Any, references: References, listed: Listed | None = None
    ) -> None:
        self.collection = collection
        self.options = options
        self.constants = collection.constants(options)
        self.notes: list[tuple[str, str]] = []
        self._references = references
        self._listed = listed or {}

    def note(self, code: str, detail: str) -> None:
        self.notes.append((code, detail))

    def find(self, lookup: Lookup, key: Any) -> tuple[Match, ...]:
        return self._references[lookup.name].get(key, ())

    def listed(self, key: Any) -> tuple[tuple[Any, int], ...]:
        return self._listed.get(key, ())

    def translate(
        self, document: Document, row_id: Any = None, raw: bytes | None = None
    ) -> tuple[Result, list[Finding]]:
        """What becomes of one document, and the findings. `row_id` stands in for the id that its own field claims.

        `raw` is given for a document that does not encode to the bytes it came from (`exact.is_faithful`).
        """
        self.notes.clear()
        try:
            result: Result = self._load(document, row_id, raw)
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

    def findings(self, source_id: bytes) -> list[Finding]:
        name = self.collection.name
        return [Finding(collection=name, code=c, source_id=source_id, detail=d) for c, d in dict.fromkeys(self.notes)]

    def _load(self, document: Document, row_id: Any, raw: bytes | None) -> Loaded:
        row: Row = dict(self.constants)
        key = self.collection.key
        key.to_row(document, row, self)
        if row_id is not None:
            row[key.column] = row_id
        for rule in self.collection.rules:
            rule.to_row(document, row, self)
        residue = residue_of(self.collection, document, row) if raw is None else raw_residue(raw)
        return Loaded(row=row, residue=residue)


def restore_fields(collection: Collection, row: Row) -> Document:
    """What the row alone says of its document, `_id` apart."""
    document: Document = {}
    collection.key.to_document(row, document)
    for rule in collection.rules:
        rule.to_document(row, document)
    return document


def residue_of(collection: Collection, document: Document, row: Row) -> bytes | None:
    """`document − back(row)`, `_id` apart: the ledger has that."""
    fields = {name: value for name, value in document.items() if name != "_id"}
    setting, unset = subtract(fields, restore_fields(collection, row))
    forms: dict[str, int] = {}
    cuts: dict[str, Document] = {}
    for rule in collection.variant_rules:
        if rule.path in setting or rule.path in unset:
            value, columns = document.get(rule.path, ABSENT), [row[name] for name in rule.inputs]
            number = rule.find_variant(value, *columns)
            if number:
                forms[rule.path] = number
            elif rule.subtract is not None and (rest := rule.subtract(value, *columns)) is not None:
                cuts[rule.path] = rest
    told = forms.keys() | cuts.keys()
    setting = {name: value for name, value in setting.items() if name not in told}
    return pack_residue(setting, [name for name in unset if name not in told], forms, cuts)


def rebuild(collection: Collection, source_id: Document, row: Row, residue: bytes | None) -> Document:
    """The document that a row, its ledger entry and its residue stand for."""
    whole = raw_document_of(residue)
    if whole is not None:
        return decode(whole)
    back = restore_fields(collection, row)
    forms = variants_of(residue)
    for rule in collection.variant_rules if forms else ():
        if rule.path in forms:
            rule.set_variant(forms[rule.path], row, back)
    cuts = remainders_of(residue)
    for rule in collection.variant_rules if cuts else ():
        if rule.path in cuts:
            rule.set_remainder(cuts[rule.path], row, back)
    for name, count in member_counts_of(residue).items():
        back[name] = back[name][:count]
    return {**source_id, **add_residue(back, residue)}


def rebuild_bson(collection: Collection, source_id: bytes, row: Row, residue: bytes | None) -> bytes:
    """The same as BSON; a document that was kept by its bytes comes back by its bytes."""
    return raw_document_of(residue) or encode(rebuild(collection, decode(source_id), row, residue))
