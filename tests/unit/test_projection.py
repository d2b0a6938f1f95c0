"""The native projector and packer agree with the Python versions for any bytes, or project fewer documents."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from hashlib import sha1
from typing import Any
from uuid import UUID

import bson
import pytest
from bson import DBRef, Int64, ObjectId, Regex
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from migrator import ids
from migrator.documents.codec import CODEC_OPTIONS, Document, encode
from migrator.mapping.context import ABSENT
from migrator.postgres import copy_format
from migrator.translation import native
from migrator.translation.elements import RuleType
from migrator.translation.field_parts import FieldForm
from migrator.translation.projection import AnyProjector, Projection, Projector, SlotType, projector_of
from migrator.translation.tuple_layout import Parts, PartType, TuplePacker
from tests import strategies

NAMES = ("a", "b", "c", "text", "é")
WANTED = Projection(
    restored=frozenset({"a", "b", "text"}),
    low_cardinality=("a", "c"),
    slots=(
        *((name, SlotType.VALUE) for name in NAMES),
        ("a", SlotType.DATETIME),
        ("b", SlotType.UUID),
        ("", SlotType.DOCUMENT),
    ),
)
# Without DATETIME and UUID slots, which other values do not fit.
VALUES = Projection(
    restored=WANTED.restored,
    low_cardinality=WANTED.low_cardinality,
    slots=tuple((name, SlotType.VALUE) for name in NAMES),
)
SETTINGS = settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
MANY = settings(SETTINGS, max_examples=100_000)
documents = st.dictionaries(st.one_of(st.sampled_from(NAMES), strategies.keys), strategies.values, max_size=6)
fields = st.fixed_dictionaries(
    {},
    optional={
        "a": st.one_of(strategies.moments, st.none(), strategies.values),
        "b": st.one_of(st.uuids().map(str), st.uuids().map(lambda uuid: str(uuid).upper()), strategies.values),
        "text": strategies.texts,
        "c": st.one_of(st.booleans(), st.sampled_from([0.0, -0.0, 1, 1.0, Int64(1), "1", b"1"])),
    },
)
needs_native = pytest.mark.skipif(native.Projector is None, reason="built without a C compiler")


def both(wanted: Projection) -> tuple[AnyProjector, AnyProjector]:
    return projector_of(wanted), Projector(wanted)


def test_native_code_is_built_if_there_is_a_compiler() -> None:
    """A failed build is not mistaken for a machine without a compiler."""
    assert native.Projector is not None or shutil.which("cc") is None


def check(raws: list[bytes], wanted: Projection) -> list[bool]:
    """Compare both projectors on a batch. Return which documents the native one has projected."""
    data = b"".join(raws)
    fast, slow = (projector.project(data, 0, len(raws) + 1) for projector in both(wanted))
    assert fast.offsets == slow.offsets
    assert fast.end == slow.end == len(data)
    for place, (one, other) in enumerate(zip(fast.tuples, slow.tuples, strict=True)):
        assert fast.raw(place) == slow.raw(place) == raws[place]
        if one is None:
            continue
        assert other is not None, "only documents that the driver preserves may be projected"
        assert one[:2] == other[:2]
        assert list(map(type, one[3:])) == list(map(type, other[3:]))
        assert [packed(value) for value in one[3:]] == [packed(value) for value in other[3:]]
        for names in ((), ("a",), ("b", "text")):
            assert fast.residue(place, names, b"\x0aelement\0") == slow.residue(place, names, b"\x0aelement\0")
            assert fast.residue(place, names, b"") == slow.residue(place, names, b"")
    for place, one in enumerate(fast.tuples):
        for again, other in enumerate(fast.tuples):
            if one is not None and other is not None:
                assert (one[2] == other[2]) == (slow.tuples[place][2] == slow.tuples[again][2])  # type: ignore[index]
    return [each is not None for each in fast.tuples]


def packed(value: Any) -> bytes:
    """Return a value with its types, and the sign of zero."""
    return b"absent" if value is ABSENT else encode({"": value})


@SETTINGS
@given(st.lists(st.one_of(documents, fields), max_size=4), st.sampled_from([WANTED, VALUES]))
def test_documents_are_projected_alike(several: list[Document], wanted: Projection) -> None:
    """Values, types, residues and memo keys are the same."""
    check([encode({"_id": ObjectId(), **each}) for each in several], wanted)


def damaged(document: Document, changes: list[tuple[int, int]]) -> bytes:
    """Return a document with some bytes changed, but not its length."""
    raw = bytearray(encode(document))
    for place, value in changes:
        raw[4 + place % (len(raw) - 4)] = value
    return bytes(raw)


def check_damaged(document: Document, changes: list[tuple[int, int]]) -> None:
    for wanted in (WANTED, VALUES):
        check([damaged({"_id": ObjectId(b"\0" * 12), **document}, changes)], wanted)


changes = st.lists(st.tuples(st.integers(0, 5000), st.integers(0, 255)), min_size=1, max_size=4)


@SETTINGS
@example({"text": "é"}, [(26, 0xC3)])
@given(st.one_of(documents, fields), changes)
def test_damaged_documents_are_projected_only_if_valid(document: Document, changes: list[tuple[int, int]]) -> None:
    """For any bytes: nothing is read beyond them, and only documents that the driver preserves are projected."""
    check_damaged(document, changes)


@pytest.mark.long
@MANY
@given(st.one_of(documents, fields), changes)
def test_many_damaged_documents_are_projected_only_if_valid(document: Document, changes: list[tuple[int, int]]) -> None:
    """The same with many examples."""
    check_damaged(document, changes)


@SETTINGS
@given(st.binary(max_size=60))
def test_both_accept_the_same_text(data: bytes) -> None:
    """Any bytes as a text: neither accepts surrogates, overlong forms, or code points beyond Unicode."""
    length = (len(data) + 1).to_bytes(4, "little")
    for name in (b"text", b"other"):
        element = b"\x02" + name + b"\0" + length + data + b"\0"
        body = b"\x07_id\0" + bytes(12) + element + b"\0"
        check([(len(body) + 4).to_bytes(4, "little") + body], VALUES)


@needs_native
@pytest.mark.parametrize(
    "value",
    [Regex("a"), DBRef("a", 1), {"$ref": 1}, [[DBRef("a", 1)]], {"x": {"$ref": "a", "$id": 1}}, bson.Code("a")],
)
def test_unusual_values_are_not_projected(value: Any) -> None:
    """Values that the driver may encode differently are not projected."""
    assert check([encode({"_id": ObjectId(), "more": value})], VALUES) == [False]


@needs_native
def test_duplicate_names_are_not_projected() -> None:
    """At the top level and in embedded documents: a Python dict cannot hold them."""
    one = encode({"n": 1})[4:-1]
    inner = (5 + 2 * len(one)).to_bytes(4, "little") + one + one + b"\0"
    for twice in (one + one, b"\x03sub\0" + inner, encode({"a": 1})[4:-1] * 2):
        body = b"\x07_id\0" + bytes(12) + twice + b"\0"
        assert check([(len(body) + 4).to_bytes(4, "little") + body], VALUES) == [False]


@needs_native
def test_ordinary_documents_are_projected() -> None:
    """All types of values that applications store, also in embedded documents and arrays."""
    value: Document = bson.decode(
        encode({"t": "x", "n": [1, 2.5, Int64(3), None, True, {"e": []}], "i": ObjectId(), "d": UUID(int=1).bytes}),
        CODEC_OPTIONS,
    )
    assert check([encode({"_id": ObjectId(), **value, "again": [value] * 12})], VALUES) == [True]


@needs_native
def test_many_names_are_checked_quickly() -> None:
    """The check for duplicate names must not be quadratic."""
    began = time.process_time()
    many = {f"n{number}": number for number in range(200_000)}
    assert (
        check([encode({"_id": ObjectId(), "more": many}), encode({"_id": ObjectId(), **many})], VALUES) == [False] * 2
    )
    assert time.process_time() - began < 10


def test_residues_of_many_fields_are_complete() -> None:
    """Alternating kept and restored fields, as many as a projected document may have."""
    names = [f"{'ab'[number % 2]}{number}" for number in range(199)]
    wanted = Projection(frozenset(name for name in names if name[0] == "a"), (), ())
    document = encode({"_id": ObjectId(), **dict.fromkeys(names, 1)})
    one, other = (projector.project(document, 0, 1) for projector in both(wanted))
    assert one.tuples[0] is not None
    assert one.residue(0, ("a0", "a100"), b"") == other.residue(0, ("a0", "a100"), b"")


@pytest.mark.parametrize("data", [b"", b"\x05\0\0\0\0" * 2 + b"\x05", b"\x04\0\0\0\0", b"\xff" * 8, b"\x06\0\0\0\0"])
def test_wrong_lengths_are_errors(data: bytes) -> None:
    """A batch that does not consist of documents is an error, not an endless loop."""
    for projector in both(VALUES):
        if not data:
            assert projector.project(data, 0, 9).end == 0
            continue
        with pytest.raises(ValueError, match="length"):
            projector.project(data, 0, 9)


VALUES_OF: dict[PartType, st.SearchStrategy[Any]] = {
    PartType.LITERAL: st.binary(min_size=1, max_size=3),
    PartType.FRAGMENT: st.binary(max_size=5),
    PartType.BYTES: st.binary(max_size=20),
    PartType.TEXT: strategies.texts,
    PartType.UUID_TEXT: st.uuids().map(lambda uuid: uuid.bytes),
    PartType.INTEGER: st.integers(-(2**31), 2**31 - 1),
    PartType.BOOLEAN: st.booleans(),
    PartType.TIMESTAMP: st.integers(-(2**62), 2**62),
}


def native_packer(parts: Parts) -> Callable[..., bytes]:
    assert native.TuplePacker is not None  # needs_native
    return native.TuplePacker(parts, shift=copy_format.EPOCH_SHIFT)


@SETTINGS
@given(st.data())
def test_tuples_are_packed_alike(data: st.DataObject) -> None:
    """Any parts in any order, with NULLs."""
    kinds = data.draw(st.lists(st.sampled_from(list(VALUES_OF)), max_size=12))
    drawn = [data.draw(VALUES_OF[kind]) for kind in kinds]
    parts = [(kind, value if kind is PartType.LITERAL else b"") for kind, value in zip(kinds, drawn, strict=True)]
    values = [
        None if data.draw(st.integers(0, 5)) == 0 else value
        for kind, value in zip(kinds, drawn, strict=True)
        if kind is not PartType.LITERAL
    ]
    assert native_packer(parts)(*values) == TuplePacker(parts)(*values)


@needs_native
@pytest.mark.parametrize(
    ("part", "value"),
    [
        (PartType.INTEGER, 2**31),
        (PartType.INTEGER, "1"),
        (PartType.TIMESTAMP, 2**64),
        (PartType.BYTES, "text"),
        (PartType.TEXT, b"b"),
    ],
)
def test_wrong_values_are_errors(part: PartType, value: Any) -> None:
    """Values of a wrong type or range are errors."""
    with pytest.raises((OverflowError, TypeError)):
        native_packer([(part, b"")])(value)


@needs_native
def test_both_versions_of_sha1() -> None:
    """With and without the instructions of the processor, for messages around the size of a block and of two."""
    from migrator.translation.native._cutter import sha1_of

    message = bytes(range(256))
    for size in range(140):
        digest = sha1(message[:size]).digest()
        assert [sha1_of(message[:size], portable) for portable in (False, True)] == [digest, digest], size


# --- the numbers of the native code -----------------------------------------------------------------------------------


@needs_native
def test_native_enums_equal_those_of_python() -> None:
    """Cython has its own copies of the enums. Names and numbers must be the same."""
    from migrator.translation.native import _cutter, _field_writer, _projector, _tuple_packer

    assert {each.name: each.value for each in RuleType} == _cutter.RULE_TYPES
    assert {each.name: each.value for each in SlotType} == _projector.SLOT_TYPES
    assert {each.name: each.value for each in PartType} == _tuple_packer.PART_TYPES
    assert {each.name: each.value for each in FieldForm} == _field_writer.FORMS


@needs_native
def test_native_bson_types_equal_those_of_the_driver() -> None:
    """The numbers of the BSON types are those that the driver writes."""
    from migrator.translation.native import _projector

    values = {
        "DOUBLE": 1.5, "STRING": "a", "DOCUMENT": {}, "ARRAY": [], "BINARY": b"a", "OBJECTID": ObjectId(),
        "BOOLEAN": True, "DATE": bson.DatetimeMS(0), "NULL_VALUE": None, "INT32": 1, "TIMESTAMP": bson.Timestamp(1, 1),
        "INT64": Int64(1), "DECIMAL128": bson.Decimal128("1"), "MAX_KEY": bson.MaxKey(), "MIN_KEY": bson.MinKey(),
    }  # fmt: skip
    assert {name: encode({"": value})[4] for name, value in values.items()} == _projector.BSON_TYPES


@given(oid=st.binary(min_size=12, max_size=12), tag=st.integers(0, 1023))
def test_native_uuids_of_objectids_equal_those_of_python(oid: bytes, tag: int) -> None:
    """All bits of the ObjectId and of the tag are where Python puts them."""
    assert native.objectid_to_uuid(oid, tag) == ids.objectid_to_uuid(oid, tag)
