"""Residues as fields of the ledger in binary COPY. `documents.residue.pack_residue` defines their content.

The residue of a projected document is packed from the bytes of its fields, without decoding them (projection.py).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

import bson

from migrator.documents.codec import CODEC_OPTIONS, Document
from migrator.documents.residue import pack_residue
from migrator.postgres.copy_format import NULL

_length = struct.Struct(">i").pack
_size_at = struct.Struct("<i").unpack_from
_MAX_HEADERS = 1000

Names = tuple[str, ...]
VariantNumbers = tuple[tuple[str, int], ...]  # (field, number of its variant)
Remainders = tuple[tuple[str, Document], ...]  # (field, what is left of it)


def as_field(residue: bytes | None) -> bytes:
    """Return a residue as a field of binary COPY: with its length before it."""
    return NULL if residue is None else _length(len(residue)) + residue


class ResidueHeaderCache:
    """Packs the elements of a residue other than `set`. Most documents have one of a few combinations of these."""

    def __init__(self) -> None:
        self._packed: dict[tuple[Names, VariantNumbers], bytes] = {}

    def pack(self, unset: Names, variants: VariantNumbers, remainders: Remainders) -> bytes:
        """Return the BSON elements of fields to unset, variants and remainders (`mapping.rules.Variants`)."""
        if remainders:
            return _encode(unset, variants, remainders)
        packed = self._packed.get((unset, variants))
        return self._learn(unset, variants) if packed is None else packed

    def _learn(self, unset: Names, variants: VariantNumbers) -> bytes:
        if len(self._packed) >= _MAX_HEADERS:
            self._packed.clear()
        return self._packed.setdefault((unset, variants), _encode(unset, variants, ()))


def _encode(unset: Names, variants: VariantNumbers, remainders: Remainders) -> bytes:
    packed = pack_residue({}, list(unset), dict(variants), dict(remainders))
    return b"" if packed is None else packed[4:-1]


def encode_all(documents: list[Document]) -> Iterator[bytes]:
    """Yield the BSON of each document. One call encodes them all, which is faster."""
    together = bson.encode({"": documents}, False, CODEC_OPTIONS)
    position = 10  # two lengths, the type of the array and its empty name
    for number in range(len(documents)):
        start = position + 2 + len(str(number))
        position = start + _size_at(together, start)[0]
        yield together[start:position]
