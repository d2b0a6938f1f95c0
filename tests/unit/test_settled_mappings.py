"""Decisions about values of the LibreChat mappings, each for every column or every BSON type that it concerns."""

from __future__ import annotations

from typing import Any

import pytest
from bson import Binary, Code, Decimal128, Int64, MaxKey, MinKey, ObjectId, Regex, Timestamp
from bson.datetime_ms import DatetimeMS

from mappings import MAPPINGS
from mappings.files import encode_source_ids
from migrator.documents.codec import decode, encode
from migrator.documents.raw_bson import duplicate_fields
from migrator.mapping.codecs import UNREADABLE, Enum
from migrator.mapping.rules import Field

ENUMS = [
    (mapping.name, rule, label)
    for mapping in MAPPINGS
    for rule in mapping.rules
    if isinstance(rule, Field) and isinstance(rule.codec, Enum)
    for label in rule.codec.values
]
BLANKS = [" ", "\t", "\n", "\r", "\0", "\u00a0", "\u2003", "\u200b", "\ufeff"]
EVERY_TYPE = [
    1, Int64(2**40), 2.5, Decimal128("1.50"), "text", "bebc6232-a38f-4da4-ad3f-6124b5946ef0", ObjectId(b"0123456789ab"),
    {"a": 1}, {},
    Binary(b"\x01"), Binary(b"\x01" * 16, 4), True, False, DatetimeMS(0), DatetimeMS(-(2**63)), Timestamp(1, 2),
    Regex("a", "i"), Code("f()"), MinKey(), MaxKey(), float("nan"), float("inf"),
]  # fmt: skip


def read(rule: Field, value: Any) -> tuple[Any, list[str]]:
    notes: list[str] = []
    return rule.codec.read(value, lambda code, detail: notes.append(code), "path"), notes


@pytest.mark.parametrize(("name", "rule", "label"), ENUMS, ids=lambda each: str(getattr(each, "column", each)))
def test_enum_columns_ignore_only_the_case(name: str, rule: Field, label: str) -> None:
    """Every spelling of a label in letters of any case is this label; with a blank it is another value."""
    for spelling in (label, label.upper(), label.title(), label[0] + label[1:].upper()):
        assert read(rule, spelling) == (label, [])
    for blank in BLANKS:
        for spelling in (blank + label, label + blank, f"{label[0]}{blank}{label[1:]}"):
            assert read(rule, spelling) == (UNREADABLE, ["unknown_enum"])
    for letter, similar in (("i", "İ"), ("i", "ı"), ("s", "ſ"), ("a", "ａ"), ("e", "е")):
        if letter in label:
            assert read(rule, label.replace(letter, similar)) == (UNREADABLE, ["unknown_enum"])


@pytest.mark.parametrize("value", EVERY_TYPE, ids=repr)
def test_files_are_found_by_an_id_of_every_type(value: Any) -> None:
    """A reference with the value of an `_id` is looked up as the ledger stores this `_id`."""
    document = decode(encode({"_id": value}))
    assert encode(document) in encode_source_ids(document["_id"])


@pytest.mark.parametrize("value", [None, ""])
def test_an_empty_reference_names_no_file(value: Any) -> None:
    assert encode_source_ids(value) == ()


def test_numbers_of_all_types_name_the_same_file() -> None:
    """MongoDB considers them equal."""
    forms = [7, Int64(7), 7.0, Decimal128("7")]
    assert len({frozenset(encode_source_ids(form)) for form in forms}) == 1
    assert encode({"_id": ObjectId("64b000000000000000000001")}) in encode_source_ids("64b000000000000000000001")


def test_duplicate_fields_are_found_at_every_level() -> None:
    """The paths of all names that occur twice in one object."""

    def double(name: str, first: Any, second: Any) -> bytes:
        body = encode({name: first})[4:-1] + encode({name: second})[4:-1] + b"\0"
        return (len(body) + 4).to_bytes(4, "little") + body

    assert duplicate_fields(encode({"a": {"a": 1}, "b": [{"a": 1}, {"a": 2}]})) == []
    assert duplicate_fields(double("a", 1, "x")) == ["a"]
    inner = double("x", 1, 2)
    nested = b"\x03in\0" + inner + b"\0"
    assert duplicate_fields((len(nested) + 4).to_bytes(4, "little") + nested) == ["in.x"]
    assert duplicate_fields(double("a", 1, 2)[:-4]) == []
