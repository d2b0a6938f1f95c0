"""IDs: an ObjectId becomes a UUIDv7 that contains it, a UUID is kept, other values become a UUIDv5."""

from __future__ import annotations

import uuid
from hashlib import sha256
from typing import Any

import pytest
from bson import Binary, DBRef, Decimal128, Int64, MaxKey, ObjectId, Regex, Timestamp
from bson.datetime_ms import DatetimeMS
from hypothesis import given
from hypothesis import strategies as st

from migrator import ids
from tests.strategies import Values, values

oids = st.binary(min_size=12, max_size=12)
tags = st.integers(0, 1023)
names: Values = st.sampled_from(["users", "courses", "messages", "memoryentries"])


def test_tag_is_the_first_ten_bits_of_the_digest() -> None:
    """The tag of a collection comes from the SHA-256 of its name."""
    assert ids.collection_tag("users") == int.from_bytes(sha256(b"users").digest()[:2], "big") >> 6
    assert ids.collection_tag("users") != ids.collection_tag("courses")


@given(oids, tags)
def test_objectid_both_ways(oid: bytes, tag: int) -> None:
    """The UUID restores every ObjectId, with every tag."""
    assert ids.uuid_to_objectid(ids.objectid_to_uuid(oid, tag)) == (oid, tag)


@given(oids, tags)
def test_uuid_is_version_7(oid: bytes, tag: int) -> None:
    """Version and variant are those of RFC 9562; the time is the second of the ObjectId, in milliseconds."""
    made = uuid.UUID(bytes=ids.objectid_to_uuid(oid, tag))
    assert (made.version, made.variant) == (7, uuid.RFC_4122)
    assert made.int >> 80 == int.from_bytes(oid[:4], "big") * 1000


@given(oids, oids, tags)
def test_order_is_kept(one: bytes, other: bytes, tag: int) -> None:
    """The UUIDs of one collection have the order of their ObjectIds."""
    assert (one < other) == (ids.objectid_to_uuid(one, tag) < ids.objectid_to_uuid(other, tag))


@given(st.uuids())
def test_other_uuids_contain_no_objectid(value: uuid.UUID) -> None:
    """A UUID contains an ObjectId only if that ObjectId becomes the same UUID."""
    found = ids.uuid_to_objectid(value.bytes)
    assert found is None or ids.objectid_to_uuid(*found) == value.bytes


@given(names, oids)
def test_objectids_are_version_7(name: str, oid: bytes) -> None:
    """An ObjectId becomes the UUIDv7 of its collection; its 24 digits only in fields for ObjectIds."""
    expected = ids.objectid_to_uuid(oid, ids.collection_tag(name))
    assert ids.uuid_of(name, ObjectId(oid)) == expected
    for text in (oid.hex(), oid.hex().upper()):
        assert ids.uuid_of(name, text, objectid=True) == expected
        assert ids.uuid_of(name, text) == version_5(name, text)


@given(names, st.uuids())
def test_uuids_are_kept(name: str, value: uuid.UUID) -> None:
    """A UUID in either case is kept, in lower case."""
    for text in (str(value), str(value).upper()):
        assert ids.uuid_text(ids.uuid_of(name, text)) == str(value)


@given(names, st.text(st.characters(exclude_categories=["Cs"])))
def test_other_texts_are_version_5(name: str, text: str) -> None:
    """Any other text becomes the UUIDv5 of its collection."""
    if not ids.is_uuid(text):
        assert ids.uuid_of(name, text) == version_5(name, text)


def version_5(name: str, text: str) -> bytes:
    return uuid.uuid5(uuid.uuid5(uuid.NAMESPACE_URL, f"mongodb:{name}"), text).bytes


@pytest.mark.parametrize("text", ["{%s}", "urn:uuid:%s", "%s ", "%s\n"])
def test_other_spellings_are_not_uuids(text: str) -> None:
    """Only the usual spelling with four hyphens is a UUID."""
    spelled = text % uuid.UUID(int=5)
    assert not ids.is_uuid(spelled)
    assert not ids.is_uuid(uuid.UUID(int=5).hex)


@pytest.mark.parametrize(
    ("value", "spelled"),
    [
        (5, '{"$numberInt":"5"}'),
        (Int64(5), '{"$numberLong":"5"}'),
        (5.0, '{"$numberDouble":"5.0"}'),
        (Decimal128("5"), '{"$numberDecimal":"5"}'),
        (True, "true"),
        (None, "null"),
        (["a"], '["a"]'),
        ({"a": 1}, '{"a":{"$numberInt":"1"}}'),
        (DatetimeMS(2**62), '{"$date":{"$numberLong":"4611686018427387904"}}'),
        (Binary(b"a", 4), '{"$binary":{"base64":"YQ==","subType":"04"}}'),
        (Regex("a", "i"), '{"$regularExpression":{"pattern":"a","options":"i"}}'),
        (Timestamp(1, 2), '{"$timestamp":{"t":1,"i":2}}'),
        (MaxKey(), '{"$maxKey":1}'),
        (DBRef("c", 1), '{"$ref":"c","$id":{"$numberInt":"1"}}'),
    ],
)
def test_other_types_are_version_5_of_extended_json(value: Any, spelled: str) -> None:
    """Other types are identified by their canonical extended JSON, which keeps types apart."""
    assert ids.canonical_json(value) == spelled
    assert ids.uuid_of("users", value) == version_5("users", spelled)


@given(values)
def test_every_value_has_an_id(value: Any) -> None:
    """Any BSON value has an ID of 16 bytes, and always the same one."""
    assert ids.uuid_of("users", value, objectid=True) == ids.uuid_of("users", value, objectid=True)
    assert len(ids.uuid_of("users", value)) == 16


def test_convert_both_ways() -> None:
    """`migrate id` converts an ObjectId to its UUID and back; the UUID of another collection is not converted."""
    oid = "65f0c0dea1b2c3d4e5f60718"
    made = ids.convert("users", oid)["uuid"]
    assert ids.convert("users", made.upper())["value"] == oid
    assert ids.convert("courses", made)["value"] == made
    assert ids.convert("users", "abc")["uuid"] == ids.uuid_text(version_5("users", "abc"))
