"""Residues as fields of the ledger in binary COPY. `documents.residue.pack_residue` defines their content.

The residue of a projected document is packed from the bytes of its fields, without decoding them (projection.py).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

import bson

from migrator.documents.codec import CODEC_OPTIONS, Document, encode_embedded
from migrator.documents.residue import pack_residue
from migrator.postgres.copy_format import NULL

_length = struct.Struct(">i").pack
_size_at = struct.Struct("<i").unpack_from
_MAX_HEADERS = 1000

Names = tuple[str, ...]
VariantNumbers = tuple[tuple[str, int], ...]  # (field, number of its variant)
Remainders = tuple[tuple[str, Document | bytes], ...]  # (field, what is left of it, which may be BSON already)


def as_field(residue: bytes | None) -> bytes:
    """Return a residue as a field of binary COPY: with its length before it."""
    return NULL if residue is None else _length(len(residue)) + residue


class ResidueHeaderCache:
    """Packs the elements of a residue other than `set`. Most documents have one of a few combinations of these."""

    def __init__(self) -> None:
        self._packed: dict[tuple[Names, VariantNumbers], bytes] = {}

    def pack(self, unset: Names, variants: VariantNumbers, remainders: Remainders) -> bytes:
        """Return the BSON elements of fields to unset, variants and remainders (`mapping.rules.Variants`)."""
        packed = self._packed.get((unset, variants))
        if packed is None:
            packed = self._learn(unset, variants)
        return packed + _encode_remainders(remainders) if remainders else packed

    def _learn(self, unset: Names, variants: VariantNumbers) -> bytes:
        if len(self._packed) >= _MAX_HEADERS:
            self._packed.clear()
        return self._packed.setdefault((unset, variants), pack_header(unset, variants))


def pack_header(unset: Names, variants: VariantNumbers) -> bytes:
    """Return the BSON elements of fields to unset and of variants."""
    packed = pack_residue({}, list(unset), dict(variants))
    return b"" if packed is None else packed[4:-1]


def _encode_remainders(remainders: Remainders) -> bytes:
    """Return the element `cut` of a residue, the last one of `pack_residue`."""
    parts = [(name.encode(), each if isinstance(each, bytes) else encode_embedded(each)) for name, each in remainders]
    fields = b"".join(b"\x03%b\0%b" % part for part in parts)
    return b"\x03cut\0" + (len(fields) + 5).to_bytes(4, "little") + fields + b"\0"


def encode_all(documents: list[Document]) -> Iterator[bytes]:
    """Yield the BSON of each document. One call encodes them all, which is faster."""
    together = bson.encode({"": documents}, False, CODEC_OPTIONS)
    position = 10  # two lengths, the type of the array and its empty name
    for number in range(len(documents)):
        start = position + 2 + len(str(number))
        position = start + _size_at(together, start)[0]
        yield together[start:position]
