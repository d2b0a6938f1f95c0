"""Residues: the part of a document that its row cannot reproduce, as BSON in the ledger."""

from __future__ import annotations

from collections.abc import Mapping

from bson.binary import Binary

from migrator.documents import native
from migrator.documents.codec import Document, decode, encode, encode_embedded, same

Changes = tuple[dict[str, int], dict[str, Document], dict[str, int]]  # `form`, `cut` and `first`
RawChanges = tuple[dict[str, int], dict[str, bytes], dict[str, int]]  # with the BSON of remainders


def subtract(document: Document, restored: Document) -> tuple[Document, list[str]]:
    """Return `document − restored`: the fields to set, and the names to unset, to get the document from `restored`."""
    changed = {k: v for k, v in document.items() if k not in restored or not same(v, restored[k])}
    return changed, [name for name in restored if name not in document]


def pack_residue(
    changed: Document,
    unset: list[str],
    variants: Mapping[str, int] | None = None,
    remainders: Mapping[str, Document] | None = None,
) -> bytes | None:
    """Return the residue as BSON `{"set": …, "unset": […], "form": …, "cut": …}`; None for an empty residue.

    `form` has the numbers of variants, `cut` the remainders of fields (`mapping.rules.Variants`). After the load there
    may be a `first`: the number of members that a field lists, if it does not list all (reconciliation/membership.py).
    """
    residue: Document = {}
    if changed:
        residue["set"] = changed
    if unset:
        residue["unset"] = sorted(unset)
    if variants:
        residue["form"] = dict(variants)
    if remainders:
        residue["cut"] = dict(remainders)
    return encode(residue) if residue else None


def changes_of(residue: bytes | None) -> Changes:
    """Return how fields differ from what the row restores: `form`, `cut` and `first` of a residue.

    That is: the number of the variant of a field, if it is not the first; what is left of a field without the content
    that columns hold; how many members a field lists, if it does not list all.
    """
    found = None if residue is None else variant_parts(residue)
    return ({}, {}, {}) if found is None else read_changes(found)


def read_changes(found: bytes) -> Changes:
    """Return `changes_of` a residue of which `variant_parts` has found something."""
    parts = decode(found)
    return parts.get("form", {}), parts.get("cut", {}), parts.get("first", {})


def split_changes(found: bytes) -> RawChanges:
    """Return the same as `read_changes`, with the BSON of remainders."""
    changes = native.split_changes(found)
    if changes is not None:
        return changes
    variants, remainders, counts = read_changes(found)
    return variants, {name: encode_embedded(remainder) for name, remainder in remainders.items()}, counts


def remainder_marker(name: str) -> bytes:
    """Return bytes that occur in every residue with a remainder of the field `name`, and in few others."""
    return b"\x03" + name.encode() + b"\0"


# BSON type and name of the elements. Searching the bytes first avoids decoding nearly all residues.
_RAW, _FORM, _CUT, _FIRST = b"\x05raw\0", b"\x03form\0", b"\x03cut\0", b"\x03first\0"


def variant_parts(residue: bytes) -> bytes | None:
    """Return a residue with at least its `form`, `cut` and `first`; None if it has none of them."""
    found = native.variant_parts(residue)
    if found is residue and not (_FORM in residue or _CUT in residue or _FIRST in residue):
        return None
    return found


def raw_residue(raw: bytes) -> bytes:
    """Return the residue of a document that only its own bytes can restore: BSON `{"raw": …}`."""
    return encode({"raw": Binary(raw)})


def raw_document_of(residue: bytes | None) -> bytes | None:
    """Return the document in a `raw_residue`; None for any other residue."""
    if residue is None or not residue.startswith(_RAW, 4):  # called for every rebuilt document: no decoding
        return None
    return bytes(decode(residue)["raw"])


def add_residue(restored: Document, residue: bytes | None) -> Document:
    """Return `restored + residue`: the document of the source. The order of top-level fields may differ."""
    if residue is None:
        return restored
    parts = decode(residue)
    for name in parts.get("unset", ()):
        restored.pop(name, None)  # the row no longer restores it if another application changed the row
    if "set" in parts:
        restored.update(decode(_first_document(residue, b"set")))
    return restored


def _first_document(data: bytes, name: bytes) -> bytes:
    """Return the bytes of the first embedded document. It is decoded by itself: else $ref and $id make it a DBRef."""
    start = 4 + 1 + len(name) + 1
    return data[start : start + int.from_bytes(data[start : start + 4], "little")]


def open_residue(residue: bytes | None) -> Document:
    """Return the parts of a residue, to change them."""
    parts = {} if residue is None else decode(residue)
    if residue is not None and "set" in parts:
        parts["set"] = decode(_first_document(residue, b"set"))
    return parts


def close_residue(parts: Document) -> bytes | None:
    """Return the residue of changed parts, without empty ones."""
    kept = {name: parts[name] for name in ("raw", "set", "unset", "form", "cut", "first") if parts.get(name)}
    return encode(kept) if kept else None
