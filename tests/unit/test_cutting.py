"""The compiled twins say what Python's own cutter and packer say, of any bytes; if they must, of fewer documents."""

from __future__ import annotations

import shutil
import time
from typing import Any
from uuid import UUID

import bson
import pytest
from bson import DBRef, Int64, ObjectId, Regex
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from migrator.documents.codec import CODEC_OPTIONS, Document, encode
from migrator.mapping.context import ABSENT
from migrator.translation import native
from migrator.translation.projection import Projecting, Projection, Projector, SlotType, projector_of
from migrator.translation.tuple_layout import Slot, TuplePacker, packer_of
from tests import strategies

NAMES = ("a", "b", "c", "text", "é")
WANTED = Projection(
    given=frozenset({"a", "b", "text"}),
    familiar=("a", "c"),
    slots=(
        *((name, SlotType.VALUE) for name in NAMES),
        ("a", SlotType.DATETIME),
        ("b", SlotType.UUID),
        ("", SlotType.WHOLE),
    ),
)
# No moment or UUID among the slots: other values make a document unfit.
VALUES = Projection(given=WANTED.given, familiar=WANTED.familiar, slots=tuple((name, SlotType.VALUE) for name in NAMES))
SETTINGS = settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
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
needs_twins = pytest.mark.skipif(native.Cutter is None, reason="built without a C compiler")


def both(wanted: Projection) -> tuple[Projecting, Projecting]:
    return projector_of(wanted), Projector(wanted)


def test_twins_are_there_where_a_compiler_is() -> None:
    """A build that fails does not pass for a machine without a compiler."""
    assert native.Cutter is not None or shutil.which("cc") is None


def check(raws: list[bytes], wanted: Projection) -> list[bool]:
    """Compares both cutters over a batch; which documents the compiled one has cut."""
    data = b"".join(raws)
    fast, slow = (cutter.cut(data, 0, len(raws) + 1) for cutter in both(wanted))
    assert fast.starts == slow.starts
    assert fast.end == slow.end == len(data)
    for place, (one, other) in enumerate(zip(fast.tuples, slow.tuples, strict=True)):
        assert fast.raw(place) == slow.raw(place) == raws[place]
        if one is None:
            continue
        assert other is not None, "only what Python's driver gives back unchanged may be cut"
        assert one[:2] == other[:2]
        assert list(map(type, one[3:])) == list(map(type, other[3:]))
        assert [packed(value) for value in one[3:]] == [packed(value) for value in other[3:]]
        for names in ((), ("a",), ("b", "text")):
            assert fast.residue(place, names, b"\x0atold\0") == slow.residue(place, names, b"\x0atold\0")
            assert fast.residue(place, names, b"") == slow.residue(place, names, b"")
    for place, one in enumerate(fast.tuples):
        for again, other in enumerate(fast.tuples):
            if one is not None and other is not None:
                assert (one[2] == other[2]) == (slow.tuples[place][2] == slow.tuples[again][2])  # type: ignore[index]
    return [each is not None for each in fast.tuples]


def packed(value: Any) -> bytes:
    """A value with its types, and the sign of its zero."""
    return b"absent" if value is ABSENT else encode({"": value})


@SETTINGS
@given(st.lists(st.one_of(documents, fields), max_size=4), st.sampled_from([WANTED, VALUES]))
def test_documents_are_cut_alike(several: list[Document], wanted: Projection) -> None:
    """Values, types, residues and what is familiar are those of the driver."""
    check([encode({"_id": ObjectId(), **each}) for each in several], wanted)


def damaged(document: Document, changes: list[tuple[int, int]]) -> bytes:
    """A document with some of its bytes changed, but for the length that frames it."""
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
def test_damaged_documents_are_cut_only_if_they_are_sound(document: Document, changes: list[tuple[int, int]]) -> None:
    """Whatever the bytes are: nothing is read beyond them, and nothing is cut that would not come back."""
    check_damaged(document, changes)


@pytest.mark.long
@MANY
@given(st.one_of(documents, fields), changes)
def test_very_many_damaged_documents_are_cut_only_if_sound(document: Document, changes: list[tuple[int, int]]) -> None:
    """The same, at length."""
    check_damaged(document, changes)


@SETTINGS
@given(st.binary(max_size=60))
def test_text_is_utf_8_for_both_or_for_neither(data: bytes) -> None:
    """Any bytes for a text: surrogates, overlong forms and what is beyond Unicode are nobody's text."""
    length = (len(data) + 1).to_bytes(4, "little")
    for name in (b"text", b"other"):
        element = b"\x02" + name + b"\0" + length + data + b"\0"
        body = b"\x07_id\0" + bytes(12) + element + b"\0"
        check([(len(body) + 4).to_bytes(4, "little") + body], VALUES)


@needs_twins
@pytest.mark.parametrize(
    "value",
    [Regex("a"), DBRef("a", 1), {"$ref": 1}, [[DBRef("a", 1)]], {"x": {"$ref": "a", "$id": 1}}, bson.Code("a")],
)
def test_odd_values_are_left_uncut(value: Any) -> None:
    """What the driver may spell in another way goes the long way."""
    assert check([encode({"_id": ObjectId(), "more": value})], VALUES) == [False]


@needs_twins
def test_names_twice_are_left_uncut() -> None:
    """In the document and within it: Python's documents cannot hold them."""
    one = encode({"n": 1})[4:-1]
    inner = (5 + 2 * len(one)).to_bytes(4, "little") + one + one + b"\0"
    for twice in (one + one, b"\x03sub\0" + inner, encode({"a": 1})[4:-1] * 2):
        body = b"\x07_id\0" + bytes(12) + twice + b"\0"
        assert check([(len(body) + 4).to_bytes(4, "little") + body], VALUES) == [False]


@needs_twins
def test_ordinary_documents_are_cut() -> None:
    """Every type of value that applications store, within documents and arrays, too."""
    value: Document = bson.decode(
        encode({"t": "x", "n": [1, 2.5, Int64(3), None, True, {"e": []}], "i": ObjectId(), "d": UUID(int=1).bytes}),
        CODEC_OPTIONS,
    )
    assert check([encode({"_id": ObjectId(), **value, "again": [value] * 12})], VALUES) == [True]


@needs_twins
def test_a_great_many_names_take_no_time() -> None:
    """Looking for names that come twice must not grow with the square of their number."""
    began = time.process_time()
    many = {f"n{number}": number for number in range(200_000)}
    assert (
        check([encode({"_id": ObjectId(), "more": many}), encode({"_id": ObjectId(), **many})], VALUES) == [False] * 2
    )
    assert time.process_time() - began < 10


def test_residues_of_many_pieces_are_whole() -> None:
    """Fields that stay and fields that go, in turns, as many as a document may have to be cut."""
    names = [f"{'ab'[number % 2]}{number}" for number in range(199)]
    wanted = Projection(frozenset(name for name in names if name[0] == "a"), (), ())
    document = encode({"_id": ObjectId(), **dict.fromkeys(names, 1)})
    one, other = (cutter.cut(document, 0, 1) for cutter in both(wanted))
    assert one.tuples[0] is not None
    assert one.residue(0, ("a0", "a100"), b"") == other.residue(0, ("a0", "a100"), b"")


@pytest.mark.parametrize("data", [b"", b"\x05\0\0\0\0" * 2 + b"\x05", b"\x04\0\0\0\0", b"\xff" * 8, b"\x06\0\0\0\0"])
def test_lengths_that_do_not_fit_end_the_batch(data: bytes) -> None:
    """A batch that is not made of documents is an error, not a loop without end."""
    for cutter in both(VALUES):
        if not data:
            assert cutter.cut(data, 0, 9).end == 0
            continue
        with pytest.raises(ValueError, match="length"):
            cutter.cut(data, 0, 9)


VALUES_OF: dict[Slot, st.SearchStrategy[Any]] = {
    Slot.LITERAL: st.binary(min_size=1, max_size=3),
    Slot.FRAGMENT: st.binary(max_size=5),
    Slot.BYTES: st.binary(max_size=20),
    Slot.TEXT: strategies.texts,
    Slot.UUID_TEXT: st.uuids().map(lambda uuid: uuid.bytes),
    Slot.INTEGER: st.integers(-(2**31), 2**31 - 1),
    Slot.BOOLEAN: st.booleans(),
    Slot.TIMESTAMP: st.integers(-(2**62), 2**62),
}


@SETTINGS
@given(st.data())
def test_tuples_are_packed_alike(data: st.DataObject) -> None:
    """Any pieces in any order, NULL among them."""
    kinds = data.draw(st.lists(st.sampled_from(list(VALUES_OF)), max_size=12))
    drawn = [data.draw(VALUES_OF[kind]) for kind in kinds]
    pieces = [(kind, value if kind is Slot.LITERAL else b"") for kind, value in zip(kinds, drawn, strict=True)]
    values = [
        None if data.draw(st.integers(0, 5)) == 0 else value
        for kind, value in zip(kinds, drawn, strict=True)
        if kind is not Slot.LITERAL
    ]
    assert packer_of(pieces)(*values) == TuplePacker(pieces)(*values)


@needs_twins
@pytest.mark.parametrize(
    ("piece", "value"),
    [(Slot.INTEGER, 2**31), (Slot.INTEGER, "1"), (Slot.TIMESTAMP, 2**64), (Slot.BYTES, "text"), (Slot.TEXT, b"b")],
)
def test_wrong_values_are_errors(piece: Slot, value: Any) -> None:
    """No value is bent to fit."""
    with pytest.raises((OverflowError, TypeError)):
        packer_of([(piece, b"")])(value)
