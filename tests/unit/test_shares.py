"""Which mapping takes a document, and what mappings that share a collection or a table may not have."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
import sqlalchemy as sa
from bson import Decimal128, Int64, ObjectId, encode
from sqlalchemy.dialects.postgresql import UUID

from migrator.errors import UsageError
from migrator.mapping.codecs import TEXT, ObjectIdText
from migrator.mapping.collection import Collection
from migrator.mapping.conditions import Where, is_equal
from migrator.mapping.context import ABSENT
from migrator.mapping.references import Key, reference_to
from migrator.mapping.rules import map_field
from migrator.mapping.shared_collections import SharedCollection, find_shared
from migrator.mapping.shared_tables import order_shared
from migrator.mapping.validation import validate

EQUAL = [(1, 1.0), (1, Int64(1)), (Decimal128("7.0"), 7), ("a", "a"), (None, None), (ABSENT, ABSENT), (True, True)]
DIFFERENT = [
    (1, True), (0, False), ("1", 1), (None, ABSENT), (None, 0), (float("nan"), float("nan")),
    (Decimal128("sNaN"), 1), (Decimal128("NaN"), Decimal128("NaN")), (Decimal("0.1"), 0.1), ([1], (1,)),
]  # fmt: skip


@pytest.mark.parametrize(("one", "other"), EQUAL)
def test_equal(one: Any, other: Any) -> None:
    """Numbers of any type are equal by value."""
    assert is_equal(one, other)
    assert is_equal(other, one)


@pytest.mark.parametrize(("one", "other"), DIFFERENT)
def test_different(one: Any, other: Any) -> None:
    """Booleans are no numbers, a missing field is not null, and what cannot be compared is different."""
    assert not is_equal(one, other)
    assert not is_equal(other, one)


SHARED = SharedCollection("v", (("cars", Where("a.kind", ("car", 1))), ("rest", None), ("none", Where("b", (ABSENT,)))))


@pytest.mark.parametrize(
    ("document", "name"),
    [
        ({"x": 1, "a": {"kind": "car"}, "b": 1}, "cars"),
        ({"a": {"kind": 1.0}, "y": 2}, "cars"),
        ({"a": {"kind": "ship"}, "b": 0}, "rest"),
        ({"a": ["car"]}, "none"),
        ({}, "none"),
        ({"b": None}, "rest"),
    ],
)
def test_choose(document: dict[str, Any], name: str) -> None:
    """The first mapping whose condition a document meets takes it, then the one without a condition."""
    assert SHARED.choose(encode({"_id": ObjectId(), **document})) == name


@pytest.mark.parametrize("raw", [b"\x05\0\0\0\0"[:3], b"\x0c\0\0\0\x99a\0\xff\xff\0\0\0", encode({"a": 1})[:-3]])
def test_choose_damaged(raw: bytes) -> None:
    """A document that cannot be decoded belongs to the mapping that gets the rest."""
    assert SHARED.choose(raw) == "rest"


def make_table(name: str, metadata: sa.MetaData) -> sa.Table:
    columns = (sa.Column("x", sa.Text), sa.Column("other", UUID))
    return sa.Table(name, metadata, sa.Column("id", UUID, primary_key=True), *columns)


METADATA = sa.MetaData()
ONE, TWO = make_table("one", METADATA), make_table("two", METADATA)


def make(name: str, table: sa.Table = ONE, **more: Any) -> Collection:
    key = Key(path="_id", collection=name)
    return Collection(**{"name": name, "table": table, "key": key, "rules": (map_field("x", "x", TEXT),), **more})


REFERENCE = reference_to("other", "other", Key(path="_id", collection="a"), ObjectIdText().write)
BAD = {
    "take its documents without a condition": [make("a", source="s"), make("b", TWO, source="s")],
    "take the same documents": [
        make("a", source="s", where=Where("k", (1, 2))),
        make("b", TWO, source="s", where=Where("k", (2.0,))),
    ],
    "a mapping has its name": [make("s"), make("b", TWO, source="s", where=Where("k", (1,)))],
    "cannot be divided": [make("a", where=Where("k", (1,)), section="chunks")],
    "the mapping has `owner`": [make("a", owner=lambda document, row: ()), make("b")],
    "`unique` columns are not those": [make("a", unique={"x": "duplicate_key"}), make("b")],
    "refer to rows of a in the same table": [make("a"), make("b", rules=(REFERENCE,))],
}


@pytest.mark.parametrize("message", BAD)
def test_refused(message: str) -> None:
    """What mappings cannot share is refused by name before anything is read."""
    with pytest.raises(UsageError, match=message):
        validate({each.name: each for each in BAD[message]}, METADATA)


def test_order_of_a_shared_table() -> None:
    """Mappings of one table are loaded in their order, but after those that they refer to through other tables."""
    made = {each.name: each for each in (make("b"), make("a"), make("c", TWO, after=("a",)))}
    ordered = order_shared(made)
    assert (ordered["b"].earlier, ordered["a"].earlier, ordered["c"].earlier) == ((), ("b",), ())
    ordered = order_shared({**made, "b": replace(made["b"], after=("c",))})
    assert (ordered["b"].earlier, ordered["a"].earlier) == (("a",), ())
    assert ordered["b"].needs == {"a", "c"}


@pytest.mark.parametrize(
    ("name", "schema", "message"),
    [("a.b", None, "dot"), ("a", "b.c", "dot"), ("x" * 60, "long", "more than 63"), ("t", "migrator", "reserved"),
     ("t", "public", "public is named"), ("t", "pg_x", "reserved")],
)  # fmt: skip
def test_refused_names(name: str, schema: str | None, message: str) -> None:
    """The name of a table must have one meaning, and must not be one of ours."""
    metadata = sa.MetaData()
    sa.Table(name, metadata, sa.Column("id", UUID, primary_key=True), schema=schema)
    with pytest.raises(UsageError, match=message):
        validate({}, metadata)


def test_another_name() -> None:
    """A mapping can have another name than its collection; then only that is shared."""
    assert list(find_shared([make("a"), make("b", source="c")])) == ["c"]
