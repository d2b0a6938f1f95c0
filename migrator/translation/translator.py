"""Translates batches of raw BSON to an `Output`, for one collection: project, look up, translate, encode."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol

from bson import ObjectId
from bson.errors import InvalidBSON

from migrator.documents import native, raw_bson
from migrator.documents.codec import Document, decode_untrusted, is_faithful
from migrator.ids import collection_tag, objectid_to_uuid
from migrator.mapping.collection import Collection
from migrator.translation.compiler import Compiled, compile_collection
from migrator.translation.encoder import Encoder, Output, SourceDocument, add_archived
from migrator.translation.interpreter import Listed, References, Translation
from migrator.translation.lowering import reference_program
from migrator.translation.outcomes import Reject
from migrator.translation.projection import Projections, SlotType, projector_of
from migrator.translation.write_output import Destination

# Documents that are translated together. The values of few stay in the cache of a core until they are used: a message
# takes a sixth less time. Many save queries, if it is not known before what they refer to.
FEW_DOCUMENTS, MANY_DOCUMENTS = 256, 5000


def archive_batch(collection: str, data: bytes) -> Output:
    """Return the output for a collection without mapping: all documents are archived. Nothing is decoded."""
    output = Output()
    for raw in raw_bson.split_documents(data):
        add_archived(output, collection, raw_bson.source_id(raw), raw)
    return output


class Lookups(Protocol):
    """Runs the lookups of documents. `rows.lookup` implements it."""

    def references(self, collection: Collection, documents: Iterable[Document]) -> References: ...

    def listed(self, collection: Collection, documents: Iterable[Document]) -> Listed: ...

    def given_ids(self, collection: Collection, originals: Callable[[], Iterable[Any]]) -> Mapping[Any, Any]: ...


class Translator:
    """Translates batches of one mapped collection. It keeps no state between batches, except the cache of lookups."""

    def __init__(
        self,
        collection: Collection,
        options: Any,
        lookups: Lookups,
        lister: str | None = None,
        compiled: Compiled | None = None,
    ) -> None:
        self.collection = collection
        self._options = options
        self._lookups = lookups
        self.encoder = Encoder(collection, lister)
        self.compiled = compiled or compile_collection(collection, options, Destination(lister))
        self._program = reference_program(collection)
        self.projector = projector_of(self.compiled.projection)
        self._fields_ahead = self._find_fields_ahead()

    def _find_fields_ahead(self) -> list[str] | None:
        """Return the fields that all lookups of a batch read; None if they need more of the documents."""
        slots = self.compiled.projection.slots
        needs_more = self.compiled.elements or any(kind is SlotType.DOCUMENT for _, kind in slots)
        if needs_more or self.collection.listed_by is not None:
            return None
        return sorted(self.compiled.projection.lookup_fields)

    def translate(self, data: bytes) -> tuple[Output, list[int]]:
        """Return the output for a batch, and the offsets of its documents."""
        output, offsets = Output(), list[int]()
        position = 0
        most = FEW_DOCUMENTS if self._look_up_ahead(data) else MANY_DOCUMENTS
        while position < len(data):
            projections = self.projector.project(data, position, most)
            self._translate_chunk(projections, len(offsets), output, self._lookups)
            offsets += projections.offsets
            position = projections.end
        return output, offsets

    def _look_up_ahead(self, data: bytes) -> bool:
        """Look up what the documents of a batch refer to, with one query; return whether that was possible.

        The lookups keep the answers for the chunks.
        """
        if self._fields_ahead is None:
            return False
        documents: list[Document] = []
        for name in self._fields_ahead:
            values = native.distinct_values(data, name.encode())
            if values is None:
                return False
            documents += [{name: ObjectId(value) if isinstance(value, bytes) else value} for value in values]
        self._lookups.references(self.collection, documents)
        return True

    def translate_with_lookups(self, data: bytes) -> tuple[Output, References, list[Document | None]]:
        """Return the output for a batch, the answers of its lookups, and of each document at least the fields that
        lookups read; None if it cannot be decoded."""
        output, projections = Output(), self.projector.project(data, 0, len(data))
        decoded, references = self._translate_chunk(projections, 0, output)
        read = self.compiled.lookup_document
        documents = [
            decoded.get(index) if projected is None else read(projections, projected)
            for index, projected in enumerate(projections.tuples)
        ]
        return output, references, documents

    def _translate_chunk(
        self, projections: Projections, first: int, output: Output, known_by: Lookups | None = None
    ) -> tuple[dict[int, Document], References]:
        """Translate some documents of a batch. `first` is the index of the first one.

        The answers of `known_by` do not change while it is used.

        Return the documents that were decoded, by index, and the answers of all lookups.
        """
        decoded = self._decode_unprojected(projections, output)
        given_ids = self._lookups.given_ids(self.collection, lambda: self._ids_of(projections, decoded))
        if given_ids:
            self._decode_given(projections, given_ids, decoded)
        documents = [*self.compiled.lookup_documents(projections, known_by), *decoded.values()]
        references = self._lookups.references(self.collection, documents)
        if not all(each.is_answered(references) for each in self.compiled.elements.values()):
            documents = [*self.compiled.lookup_documents(projections), *decoded.values()]
            references = self._lookups.references(self.collection, documents)
        listed = self._lookups.listed(self.collection, documents)
        translation = Translation(self.collection, self._options, references, listed, self._program, given_ids)
        left = self.compiled.translate(projections, translation, output, first)
        for index in sorted([*(index - first for index in left), *decoded]):
            raw = projections.raw(index)
            document = decoded[index] if index in decoded else decode_untrusted(raw)
            is_lossy = index in decoded and not is_faithful(document, raw)
            result, findings = translation.translate(document, raw=raw if is_lossy else None)
            source = SourceDocument(first + index, raw_bson.source_id(raw), raw, document)
            self.encoder.add(output, source, result)
            self.encoder.add_findings(output, first + index, findings)
        return decoded, references

    def _decode_unprojected(self, projections: Projections, output: Output) -> dict[int, Document]:
        """Decode the few documents that could not be projected, by index. Those that cannot be decoded are rejected."""
        decoded: dict[int, Document] = {}
        for index, values in enumerate(projections.tuples):
            if values is None:
                raw = projections.raw(index)
                try:
                    decoded[index] = decode_untrusted(raw)
                except InvalidBSON as error:
                    self.reject(output, raw, Reject(reason="undecodable", detail=str(error)))
        return decoded

    def _ids_of(self, projections: Projections, decoded: Mapping[int, Document]) -> list[Any]:
        """Return the IDs that documents give their rows."""
        projected = [self._id_of(values) for values in projections.tuples if values is not None]
        return projected + [self.collection.key.uuid(each["_id"]) for each in decoded.values() if "_id" in each]

    def _id_of(self, values: tuple[Any, ...]) -> bytes:
        return objectid_to_uuid(values[0], collection_tag(self.collection.key.collection))

    def _decode_given(
        self, projections: Projections, given_ids: Mapping[Any, Any], decoded: dict[int, Document]
    ) -> None:
        """Decode the documents whose rows have other IDs: the compiled function does not know these."""
        for index, values in enumerate(projections.tuples):
            if values is not None and self._id_of(values) in given_ids:
                decoded[index] = decode_untrusted(projections.raw(index))
                projections.tuples[index] = None

    def reject(self, output: Output, raw: bytes, reject: Reject) -> None:
        """Add a document that was translated, but cannot be loaded."""
        self.encoder.add_reject(output, raw_bson.source_id(raw), raw, reject)
