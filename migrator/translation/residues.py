"""Residues of many documents: what `exact.pack_residue` gives for each, encoded together, which is cheaper.

Cutting the fields out of the document's own bytes, after a search for their names, was slower by 0.6 µs a document.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from collections.abc import Set as AbstractSet

import bson

from migrator.translation.exact import CODEC_OPTIONS, Document, encode
from migrator.translation.rows import NULL

_length = struct.Struct(">i").pack
_size = struct.Struct("<i").unpack_from
TOGETHER = 32  # documents of 16 MiB are still a fourth of what BSON can hold
_MOST = 1000  # combinations of names that are kept

Names = tuple[str, ...]
Forms = tuple[tuple[str, int], ...]  # (field, number of its form)
Cuts = tuple[tuple[str, Document], ...]  # (field, what is left of it)
Debt = tuple[int, Document]  # place of a ledger tuple that still lacks its residue, and the residue


def as_field(residue: bytes | None) -> bytes:
    """A residue as binary COPY wants it, its length before it."""
    return NULL if residue is None else _length(len(residue)) + residue


class Residues:
    """Tells what the columns of one collection cannot give back. `given`: the fields that its rules give, and `_id`."""

    def __init__(self, given: AbstractSet[str]) -> None:
        self._given = frozenset(given)
        self._exact: dict[Names, frozenset[str]] = {}  # other → the fields that the row gives back as they were

    def find(self, document: Document, other: Names, unset: Names, forms: Forms = (), cuts: Cuts = ()) -> Document:
        """The residue: every field that no rule gives, those of `other`, the names in `unset`, the numbers of forms.

        `other` are fields that the rules give with another value, `unset` those that the document lacks, `forms` those
        that have another of their forms, `cuts` what is left of fields without what the row gives.
        """
        exact = self._exact.get(other) or self._learn(other)
        setting = {name: value for name, value in document.items() if name not in exact}
        residue: Document = {"set": setting} if setting else {}
        if unset:
            residue["unset"] = sorted(unset)
        if forms:
            residue["form"] = dict(forms)
        if cuts:
            residue["cut"] = dict(cuts)
        return residue

    def _learn(self, other: Names) -> frozenset[str]:
        if len(self._exact) >= _MOST:
            self._exact.clear()
        return self._exact.setdefault(other, self._given.difference(other))


def settle(ledger: list[bytes], debts: list[Debt]) -> None:
    """Completes ledger tuples with their residues; the debts are paid then. `TOGETHER` at most."""
    documents = [residue for _, residue in debts]
    try:
        residues = list(encode_all(documents))
    except RecursionError:  # being in an array is one level more than BSON's recursion allows
        residues = [encode(document) for document in documents]
    for (place, _), residue in zip(debts, residues, strict=True):
        ledger[place] += _length(len(residue)) + residue
    debts.clear()


def encode_all(documents: list[Document]) -> Iterator[bytes]:
    """The BSON of each document, out of one call for all."""
    together = bson.encode({"": documents}, False, CODEC_OPTIONS)
    position = 10  # two lengths, the array's type and its empty name
    for number in range(len(documents)):
        start = position + 2 + len(str(number))
        position = start + _size(together, start)[0]
        yield together[start:position]
