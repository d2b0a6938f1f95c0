"""Residues: what a row cannot give back of its document, packed as BSON."""

from __future__ import annotations

from collections.abc import Mapping

from bson.binary import Binary

from migrator.documents.codec import Document, decode, encode, same


def subtract(document: Document, back: Document) -> tuple[Document, list[str]]:
    """`document − back`: the fields that must be set and the names that must be unset to get from back to document."""
    setting = {k: v for k, v in document.items() if k not in back or not same(v, back[k])}
    return setting, [k for k in back if k not in document]


def pack_residue(
    setting: Document,
    unset: list[str],
    forms: Mapping[str, int] | None = None,
    cuts: Mapping[str, Document] | None = None,
) -> bytes | None:
    """The residue as the ledger keeps it: BSON `{"set": …, "unset": […], "form": …, "cut": …}`, or None for nothing.

    `form` tells which of its forms a field has, `cut` what is left of one without what the row gives (`OneOf`). Once
    all is loaded there may be a `first`: how many of a row's members a field lists, if not all (members.py).
    """
    residue: Document = {}
    if setting:
        residue["set"] = setting
    if unset:
        residue["unset"] = sorted(unset)
    if forms:
        residue["form"] = dict(forms)
    if cuts:
        residue["cut"] = dict(cuts)
    return encode(residue) if residue else None


def variants_of(residue: bytes | None) -> dict[str, int]:
    """The fields of a residue's document that have another form than the first."""
    return {} if residue is None or _FORM not in residue else decode(residue).get("form", {})


def remainders_of(residue: bytes | None) -> dict[str, Document]:
    """What is left of the fields of a residue's document that were cut."""
    return {} if residue is None or _CUT not in residue else decode(residue).get("cut", {})


def member_counts_of(residue: bytes | None) -> dict[str, int]:
    """How many members the fields list that do not list all."""
    return {} if residue is None or _FIRST not in residue else decode(residue).get("first", {})


# BSON's type and name of these elements
_RAW, _FORM, _CUT, _FIRST = b"\x05raw\0", b"\x03form\0", b"\x03cut\0", b"\x03first\0"


def raw_residue(raw: bytes) -> bytes:
    """The residue of a document that only its own bytes can give back: BSON `{"raw": …}`."""
    return encode({"raw": Binary(raw)})


def raw_document_of(residue: bytes | None) -> bytes | None:
    """The document's bytes in a `raw_residue`; None for any other residue."""
    if residue is None or not residue.startswith(_RAW, 4):  # asked of every document that is rebuilt: no decoding
        return None
    return bytes(decode(residue)["raw"])


def add_residue(back: Document, residue: bytes | None) -> Document:
    """`back + residue`: the document as the source had it (the order of top-level fields may differ)."""
    if residue is None:
        return back
    parts = decode(residue)
    for name in parts.get("unset", ()):
        del back[name]
    if "set" in parts:
        back.update(decode(_inner_document(residue, b"set")))
    return back


def _inner_document(data: bytes, name: bytes) -> bytes:
    """The bytes of the sub-document that comes first. Read by itself: inside another, $ref and $id make it a DBRef."""
    start = 4 + 1 + len(name) + 1
    return data[start : start + int.from_bytes(data[start : start + 4], "little")]


def open_residue(residue: bytes | None) -> Document:
    """The parts of a residue, to be changed."""
    parts = {} if residue is None else decode(residue)
    if residue is not None and "set" in parts:
        parts["set"] = decode(_inner_document(residue, b"set"))
    return parts


def close_residue(parts: Document) -> bytes | None:
    """The residue of changed parts; those that became empty are left out."""
    kept = {name: parts[name] for name in ("raw", "set", "unset", "form", "cut", "first") if parts.get(name)}
    return encode(kept) if kept else None
