"""A batch of raw BSON → an `Output`, for one collection: cut, look up, translate, encode.

Translators are made once per collection and level; they keep nothing of a batch but the resolver's cache.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Protocol

from bson.errors import InvalidBSON

from migrator.documents import raw_bson
from migrator.documents.codec import Document, decode_untrusted, is_faithful
from migrator.mapping.collection import Collection
from migrator.translation.compiler import compile_collection
from migrator.translation.encoder import Encoder, Output, add_archived
from migrator.translation.interpreter import Listed, References, Translation
from migrator.translation.outcomes import Reject
from migrator.translation.projection import Projections, projector_of

# Documents translated together: many, so that few questions are put to the server; few, so that little is decoded at
# one time.
TOGETHER = 2000


def archive_batch(collection: str, data: bytes) -> Output:
    """Every document whole: for collections without a mapping. Nothing is decoded."""
    output = Output()
    for raw in raw_bson.split_documents(data):
        add_archived(output, collection, raw_bson.source_id(raw), raw)
    return output


class Lookups(Protocol):
    """Who answers what documents ask about rows (`rows.lookup`)."""

    def references(self, collection: Collection, documents: Iterable[Document]) -> References: ...

    def listed(self, collection: Collection, documents: Iterable[Document]) -> Listed: ...


class Translator:
    """Translates batches of one mapped collection."""

    def __init__(self, collection: Collection, options: Any, resolver: Lookups, lister: str | None = None) -> None:
        self.collection = collection
        self._options = options
        self._resolver = resolver
        self.encoder = Encoder(collection, lister)
        self.compiled = compile_collection(collection, options, lister)
        self.cutter = projector_of(self.compiled.wanted)

    def translate(self, data: bytes) -> tuple[Output, list[int]]:
        """What becomes of a batch, and where its documents begin."""
        output, starts = Output(), list[int]()
        position = 0
        while position < len(data):
            cuts = self.cutter.cut(data, position, TOGETHER)
            self._translate_some(cuts, len(starts), output)
            starts += cuts.starts
            position = cuts.end
        return output, starts

    def _translate_some(self, cuts: Projections, first: int, output: Output) -> None:
        """Some documents of a batch, from place `first` on."""
        uncut = self._decode_uncut(cuts, output)
        asking = [*self.compiled.asking(cuts), *uncut.values()]
        references = self._resolver.references(self.collection, asking)
        listed = self._resolver.listed(self.collection, asking)
        translation = Translation(self.collection, self._options, references, listed)
        left = self.compiled.fast(cuts, translation, output, first)
        for place in sorted([*(place - first for place in left), *uncut]):
            raw = cuts.raw(place)
            document = uncut[place] if place in uncut else decode_untrusted(raw)
            unfaithful = place in uncut and not is_faithful(document, raw)
            result, findings = translation.translate(document, raw=raw if unfaithful else None)
            self.encoder.add(output, first + place, raw_bson.source_id(raw), raw, result, document)
            self.encoder.add_findings(output, first + place, findings)

    def _decode_uncut(self, cuts: Projections, output: Output) -> dict[int, Document]:
        """The documents that have not been cut, by place: hardly ever any. What cannot be decoded is rejected."""
        uncut: dict[int, Document] = {}
        for place, found in enumerate(cuts.tuples):
            if found is None:
                raw = cuts.raw(place)
                try:
                    uncut[place] = decode_untrusted(raw)
                except InvalidBSON as error:
                    self.reject(output, raw, Reject(reason="undecodable", detail=str(error)))
        return uncut

    def reject(self, output: Output, raw: bytes, reject: Reject) -> None:
        """Accounts for a document that was translated but may not be loaded after all."""
        self.encoder.add_reject(output, raw_bson.source_id(raw), raw, reject)
