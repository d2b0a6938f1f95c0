"""Raw BSON: documents of a batch, their `_id`s and depth, without decoding."""

from __future__ import annotations

import struct
from typing import Any

import bson
import pytest
from bson import ObjectId, Regex
from bson.errors import InvalidBSON
from hypothesis import given
from hypothesis import strategies as st

from migrator.documents import raw_bson
from migrator.documents.codec import decode_untrusted, encode
from tests.strategies import keys, values

EMPTY = encode({})
fields = st.dictionaries(keys.filter(lambda key: key != "_id"), values, max_size=4)


def place_id(before: dict[str, Any], value: Any, after: dict[str, Any]) -> bytes:
    """Return a document whose `_id` is not the first field."""
    return encode({"": {**before, "_id": value, **after}})[6:-1]


@given(fields, values, fields)
def test_source_id_is_the_id(before: dict[str, Any], value: Any, after: dict[str, Any]) -> None:
    """The `_id` is found at any position, with any value, byte for byte."""
    assert raw_bson.source_id(place_id(before, value, after)) == encode({"_id": value})


@given(fields)
def test_source_id_of_none(document: dict[str, Any]) -> None:
    """Without an `_id` the result is the empty document; an `_id` in an embedded document does not count."""
    assert raw_bson.source_id(encode({**document, "a": {"_id": 1}})) == EMPTY


@pytest.mark.parametrize("value", [None, [1], Regex("a", "i"), {"_id": 2}, "", b"", -0.0])
def test_source_id_of_odd_ids(value: Any) -> None:
    """Types that a server refuses as `_id` are found, too."""
    assert raw_bson.source_id(encode({"a": "_id", "_id": value})) == encode({"_id": value})


@given(st.lists(fields.map(encode), max_size=5))
def test_split(documents: list[bytes]) -> None:
    """A batch is split into its documents."""
    assert list(raw_bson.split_documents(b"".join(documents))) == documents


@given(fields, values, st.data())
def test_damage_raises_nothing(before: dict[str, Any], value: Any, data: st.DataObject) -> None:
    """With any wrong bytes, the result is a document with a correct length."""
    damaged = bytearray(place_id(before, value, {}))
    for place in data.draw(st.lists(st.integers(4, len(damaged) - 1), max_size=4)):
        damaged[place] = data.draw(st.integers(0, 255))
    found = raw_bson.source_id(bytes(damaged[: data.draw(st.integers(5, len(damaged)))]))
    assert int.from_bytes(found[:4], "little") == len(found)


@given(st.binary(max_size=60))
def test_noise_raises_nothing(data: bytes) -> None:
    """Random bytes raise no exception, either."""
    found = raw_bson.source_id(data)
    assert int.from_bytes(found[:4], "little") == len(found)


def test_every_single_damage() -> None:
    """Every byte of a document is set to a few values: no exception and no endless loop."""
    raw = encode({"a": "text", "r": Regex("a"), "d": {"x": [1]}, "_id": ObjectId()})
    for place in range(4, len(raw)):
        for byte in (0, 1, 2, 3, 5, 0x0B, 0x0C, 0x7F, 0x80, 0xA5, 0xFF):
            raw_bson.source_id(raw[:place] + bytes([byte]) + raw[place + 1 :])


def nest(levels: int, kind: bytes, before: bytes = b"", after: bytes = b"") -> bytes:
    """Return a document with `levels` nested documents or arrays, each between two other elements."""
    inner = b"\x05\0\0\0\0"
    for _ in range(levels):
        body = before + kind + b"0\0" + inner + after
        inner = struct.pack("<i", len(body) + 5) + body + b"\0"
    return inner


@pytest.mark.parametrize("kind", [b"\x03", b"\x04"])
@pytest.mark.parametrize("beside", [b"", b"\x10n\0\x03\x04\x03\x04", b"\x02s\0\x03\0\0\0\x03\x04\0"])
def test_depth_is_counted_below_the_document(kind: bytes, beside: bytes) -> None:
    """200 levels are decoded and 201 are not, whatever other fields they have."""
    assert not raw_bson.is_too_deep(nest(raw_bson.MAX_DEPTH, kind, beside, beside))
    assert raw_bson.is_too_deep(nest(raw_bson.MAX_DEPTH + 1, kind, beside, beside))
    assert raw_bson.is_too_deep(nest(50_000, kind))


def test_wide_documents_are_not_deep() -> None:
    """Many documents on one level, and texts full of the two type bytes, are not deep."""
    assert not raw_bson.is_too_deep(bson.encode({"many": [{"a": [1]} for _ in range(1000)]}))
    assert not raw_bson.is_too_deep(bson.encode({"text": "\x03\x04" * 1000, "data": b"\x03\x04" * 1000}))


@given(st.binary(max_size=400), st.integers(0, 1 << 12))
def test_depth_of_anything_ends(noise: bytes, place: int) -> None:
    """Bytes that are not BSON are not deep, and raise no exception."""
    whole = bytearray(nest(300, b"\x03"))
    place %= len(whole)
    whole[place : place + len(noise)] = noise
    raw_bson.is_too_deep(bytes(whole))
    raw_bson.is_too_deep(noise)


@pytest.mark.parametrize("longer", [1, 2, 30, 2**30])
@pytest.mark.parametrize("value", [{"b": 1}, [1, "x"], {"b": {"c": []}}])
def test_the_error_of_a_damaged_document_does_not_depend_on_memory(value: Any, longer: int) -> None:
    """The driver reads behind an embedded document that is too long: its error would change from run to run."""
    document = bytearray(encode({"_id": 1, "a": value, "z": 5}))
    start = document.index(b"a\0") + 2
    size = int.from_bytes(document[start : start + 4], "little")
    document[start : start + 4] = (size + longer + 8).to_bytes(4, "little")
    assert raw_bson.is_overlapping(bytes(document))
    with pytest.raises(InvalidBSON, match="an embedded document is longer than the document that it is in"):
        decode_untrusted(bytes(document))


@given(fields)
def test_intact_documents_do_not_overlap(document: dict[str, Any]) -> None:
    assert not raw_bson.is_overlapping(encode(document))
