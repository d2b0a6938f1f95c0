"""A batch of raw BSON → an `Output`, for one collection: decode, look up, translate, encode.

Translators are made once per collection and level; they keep nothing of a batch but the resolver's cache.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import bson
from bson.errors import BSONError, InvalidBSON

from migrator.handover import Reject
from migrator.mapping import Collection
from migrator.resolve import Resolver
from migrator.translation import rawbson
from migrator.translation.compile import Fast, compile_collection
from migrator.translation.encode import Encoder, Output, add_archived
from migrator.translation.exact import CODEC_OPTIONS, Document, decode_sound, is_faithful
from migrator.translation.residues import encode_all
from migrator.translation.translate import Translation

Documents = list[Document | None]
# Documents translated together: few, so that little is decoded at one time. From 100 to 5,000 the speed is the same.
TOGETHER = 500


def archive_batch(collection: str, data: bytes) -> Output:
    """Every document whole: for collections without a mapping. Nothing is decoded."""
    output = Output()
    for raw in rawbson.split(data):
        add_archived(output, collection, rawbson.source_id(raw), raw)
    return output


def find_unfaithful(raws: list[bytes], documents: Documents) -> frozenset[int]:
    """The places of documents that do not encode to the bytes they came from: hardly ever any."""
    some = [(place, document) for place, document in enumerate(documents) if document is not None]
    try:
        encoded = list(encode_all([document for _, document in some]))
    except (BSONError, ValueError, OverflowError, TypeError, RecursionError):
        return frozenset(place for place, document in some if not is_faithful(document, raws[place]))
    return frozenset(place for (place, _), data in zip(some, encoded, strict=True) if data != raws[place])


class Translator:
    """Translates batches of one mapped collection."""

    def __init__(self, collection: Collection, options: Any, resolver: Resolver, lister: str | None = None) -> None:
        self.collection = collection
        self._options = options
        self._resolver = resolver
        self.encoder = Encoder(collection, lister)
        self._fast: Fast = compile_collection(collection, options, lister)

    def translate(self, data: bytes) -> tuple[Output, list[bytes]]:
        """What becomes of a batch, and its documents' BSON one by one."""
        output = Output()
        raws = list(rawbson.split(data))
        for first in range(0, len(raws), TOGETHER):
            self._translate_some(raws[first : first + TOGETHER], first, output)
        return output, raws

    def _translate_some(self, raws: list[bytes], first: int, output: Output) -> None:
        """Some documents of a batch, from place `first` on: few enough to keep memory small."""
        documents = self._decode(raws, output)
        known = [document for document in documents if document is not None]
        unfaithful = find_unfaithful(raws, documents)
        references = self._resolver.references(self.collection, known)
        listed = self._resolver.listed(self.collection, known)
        translation = Translation(self.collection, self._options, references, listed)
        usual = [None if n in unfaithful else each for n, each in enumerate(documents)] if unfaithful else documents
        left = self._fast(usual, translation, output, first)
        for place in sorted([*left, *(first + n for n in unfaithful)]):
            document, raw = documents[place - first], raws[place - first]
            assert document is not None  # the compiled function passes over what could not be decoded
            result, findings = translation.translate(document, raw=raw if place - first in unfaithful else None)
            self.encoder.add(output, place, rawbson.source_id(raw), raw, result, document)
            self.encoder.add_findings(output, place, findings)

    def _decode(self, raws: list[bytes], output: Output) -> Documents:
        if not any(map(rawbson.why_not_to_decode, raws)):
            with suppress(InvalidBSON):
                return list(bson.decode_all(b"".join(raws), CODEC_OPTIONS))
        return [self._decode_one(raw, output) for raw in raws]

    def _decode_one(self, raw: bytes, output: Output) -> Document | None:
        try:
            return decode_sound(raw)
        except InvalidBSON as error:
            reject = Reject(reason="undecodable", detail=str(error))
            self.encoder.add_reject(output, rawbson.source_id(raw), raw, reject)
            return None

    def reject(self, output: Output, raw: bytes, reject: Reject) -> None:
        """Accounts for a document that was translated but may not be loaded after all."""
        self.encoder.add_reject(output, rawbson.source_id(raw), raw, reject)
