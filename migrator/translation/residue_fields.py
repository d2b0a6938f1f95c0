"""Residues as the ledger's field: what `exact.pack_residue` gives, without making objects of what was cut out whole."""

from __future__ import annotations

import struct
from collections.abc import Iterator

import bson

from migrator.documents.codec import CODEC_OPTIONS, Document
from migrator.documents.residue import pack_residue
from migrator.postgres.copy_format import NULL

_length = struct.Struct(">i").pack
_size_at = struct.Struct("<i").unpack_from
_MOST = 1000  # combinations of names that are kept

Names = tuple[str, ...]
Forms = tuple[tuple[str, int], ...]  # (field, number of its form)
Cuts = tuple[tuple[str, Document], ...]  # (field, what is left of it)


def as_field(residue: bytes | None) -> bytes:
    """A residue as binary COPY wants it, its length before it."""
    return NULL if residue is None else _length(len(residue)) + residue


class ResidueHeaderCache:
    """What a residue tells beside `set`: its elements. Most documents tell one of a few things."""

    def __init__(self) -> None:
        self._told: dict[tuple[Names, Forms], bytes] = {}

    def tell(self, unset: Names, forms: Forms, cuts: Cuts) -> bytes:
        """`unset`: fields that the document lacks; `forms`: those that have another of their forms; `cuts`: what is
        left of fields without what the row gives."""
        if cuts:
            return _encode(unset, forms, cuts)
        told = self._told.get((unset, forms))
        return self._learn(unset, forms) if told is None else told

    def _learn(self, unset: Names, forms: Forms) -> bytes:
        if len(self._told) >= _MOST:
            self._told.clear()
        return self._told.setdefault((unset, forms), _encode(unset, forms, ()))


def _encode(unset: Names, forms: Forms, cuts: Cuts) -> bytes:
    packed = pack_residue({}, list(unset), dict(forms), dict(cuts))
    return b"" if packed is None else packed[4:-1]


def encode_all(documents: list[Document]) -> Iterator[bytes]:
    """The BSON of each document, out of one call for all."""
    together = bson.encode({"": documents}, False, CODEC_OPTIONS)
    position = 10  # two lengths, the array's type and its empty name
    for number in range(len(documents)):
        start = position + 2 + len(str(number))
        position = start + _size_at(together, start)[0]
        yield together[start:position]
