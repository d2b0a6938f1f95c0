"""Residues as fields of the ledger's tuples, with what repeats kept: `exact.pack_residue` to the byte, only faster."""

from __future__ import annotations

import struct
from collections.abc import Set as AbstractSet

import bson

from migrator.exact import CODEC_OPTIONS, Document, pack_residue
from migrator.rows import NULL

_length = struct.Struct(">i").pack
_size = struct.Struct("<i").pack
_MOST = 1000  # combinations of names that are kept

Names = tuple[str, ...]


def as_field(residue: bytes | None) -> bytes:
    """A residue as binary COPY wants it, its length before it."""
    return NULL if residue is None else _length(len(residue)) + residue


class Residues:
    """Packs what the columns of one collection cannot give back. `given` are the fields that its rules give, and `_id`."""

    def __init__(self, given: AbstractSet[str]) -> None:
        self._given = frozenset(given)
        self._exact: dict[Names, frozenset[str]] = {}  # other → the fields that the row gives back as they were
        self._unset: dict[Names, tuple[bytes, bytes]] = {}  # unset → its BSON element, the field without "set"

    def pack(self, document: Document, other: Names, unset: Names) -> bytes:
        """The ledger's field: every field that no rule gives, those of `other`, and the names in `unset`.

        `other` are fields that the rules give with another value, `unset` those that the document lacks.
        """
        exact = self._exact.get(other)
        if exact is None:
            exact = self._learn_exact(other)
        setting = {name: value for name, value in document.items() if name not in exact}
        element, whole = self._unset.get(unset) or self._learn_unset(unset)
        if not setting:
            return whole
        body = bson.encode(setting, False, CODEC_OPTIONS)
        size = 10 + len(body) + len(element)
        return b"".join((_length(size), _size(size), b"\x03set\0", body, element, b"\0"))

    def _learn_exact(self, other: Names) -> frozenset[str]:
        if len(self._exact) >= _MOST:
            self._exact.clear()
        return self._exact.setdefault(other, self._given.difference(other))

    def _learn_unset(self, unset: Names) -> tuple[bytes, bytes]:
        if len(self._unset) >= _MOST:
            self._unset.clear()
        whole = pack_residue({}, list(unset))
        element = b"" if whole is None else whole[4:-1]
        return self._unset.setdefault(unset, (element, as_field(whole)))
