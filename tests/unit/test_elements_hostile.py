"""Elements of hostile documents: compiled code gives what the rules give, for random rules and for damaged BSON."""

from __future__ import annotations

import itertools
import random
import struct
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Literal

import pytest
import sqlalchemy as sa
from bson import Decimal128, Int64, ObjectId, encode
from bson.datetime_ms import DatetimeMS
from bson.errors import InvalidBSON
from sqlalchemy.dialects.postgresql import JSONB, UUID

from migrator.documents import raw_bson
from migrator.documents.codec import decode_untrusted, is_faithful
from migrator.errors import UsageError
from migrator.mapping import codecs
from migrator.mapping.children import VALUE, Children
from migrator.mapping.collection import Collection
from migrator.mapping.context import ABSENT, Context, Match, Rejected
from migrator.mapping.references import Key, Reference
from migrator.mapping.rules import map_field
from migrator.mapping.validation import validate
from migrator.translation.interpreter import Translation, rebuild_bson
from migrator.translation.outcomes import Loaded
from migrator.verification.record_diff import sort_fields
from tests.arbitrary import ODD, Arbitrary
from tests.elements import Known, compare

NAMES = ["a", "b", "c", "", "$set", "a.b", "0", "value", "é", "a name that is longer than those of the others"]
ID = Key(path="_id", collection="boxes")
OTHER = Key(path="_id", collection="others", column="id", codec=codecs.Text(most=200))
# columns of several kinds, and what usually becomes their value
KINDS: list[tuple[codecs.Codec, Any, Callable[[random.Random], Any]]] = [
    (codecs.SMALLINT, sa.SmallInteger, lambda chance: chance.choice((0, -1, 32767, 32768, -32769))),
    (codecs.INTEGER, sa.Integer, lambda chance: chance.choice((5, -(2**31), Int64(7)))),
    (codecs.BIGINT, sa.BigInteger, lambda chance: chance.choice((5, Int64(5), Int64(2**31), Int64(-(2**63))))),
    (codecs.LONG, sa.BigInteger, lambda chance: Int64(chance.randrange(-(2**63), 2**63))),
    (codecs.DOUBLE, sa.Double, lambda chance: chance.choice((0.5, -0.0, 7.0, float("nan"), 3))),
    (codecs.Double(whole_as_int=True), sa.Double, lambda chance: chance.choice((0.5, -0.0, 7.0, 7, 2.0**31))),
    (codecs.BOOLEAN, sa.Boolean, lambda chance: chance.choice((True, False, 1))),
    (codecs.DATETIME, sa.DateTime, lambda chance: DatetimeMS(chance.choice((0, -1, 2**62, -(2**62), 253402300800000)))),
    (codecs.OBJECTID_HEX, sa.Text, lambda chance: ObjectId(chance.randbytes(12))),
    (codecs.TEXT, sa.Text, lambda chance: chance.choice(("", "é", "a\0b", "x" * 70, 5, "\uffff"))),
    (codecs.Text(length=3), sa.String(3), lambda chance: chance.choice(("ééé", "éééé", "abc", "abcd"))),
    (codecs.Text(most=3), sa.Text, lambda chance: chance.choice(("é", "éé", "abc", "abcd"))),
    (codecs.Enum(("x", "Y")), sa.Text, lambda chance: chance.choice(("x", "Y", "y", " x"))),
    (codecs.NUMERIC, sa.Numeric, lambda chance: Decimal128(chance.choice(("1.10", "NaN", "-0.0")))),
    (codecs.JSON, JSONB, lambda chance: chance.choice(({"$ref": 1}, [1.0, None], "a\0b", {"a": {"b": []}}))),
    (codecs.BYTES, sa.LargeBinary, lambda chance: chance.randbytes(chance.randrange(90))),
    (codecs.Array(codecs.TEXT), sa.ARRAY(sa.Text), lambda chance: chance.choice(([], ["a"], ["a", None], [[]]))),
]


def refuse(context: Context, document: Any) -> Match:
    raise Rejected("orphan", "element")


class Rules:
    """Random rules of a field, and values that fit them more or less."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.odd = Arbitrary(seed, 10).values
        self._tables = itertools.count()

    def children(self, path: str, parent: Any, depth: int) -> tuple[Children, Callable[[], Any]]:
        """Return the rule of a field, and a function that makes a value of the field."""
        chance, values = self.chance, self.chance.random() < 0.25
        shape: Literal["array", "document", "map"] = chance.choice(("array", "array", "document", "map"))
        names = [VALUE] if values else chance.sample(NAMES, chance.randrange(1, 6))
        if chance.random() < 0.1 and not values:
            names.append(names[0])  # two rules read one field
        columns: list[sa.Column[Any]] = []
        rules, makers = list[Any](), list[tuple[str, Callable[[], Any]]]()
        table = f"t{next(self._tables)}"
        for number, name in enumerate(names):
            rule, maker = self._rule(name, f"c{number}", columns, depth)
            rules.append(rule)
            makers.append((name, maker))
        nested = any(isinstance(each, Children) for each in rules)
        keyed, placed = nested or chance.random() < 0.5, shape != "document" or chance.random() < 0.5
        position = chance.choice((sa.SmallInteger, sa.Integer, sa.BigInteger))
        own = [
            sa.Column("parent", parent),
            sa.Column("place", position),
            sa.Column("key", UUID),
            sa.Column("name", sa.Text),
        ]
        columns += own
        chance.shuffle(columns)
        chance.shuffle(rules)
        nested_paths = [each.path for each in rules if isinstance(each, Children)]
        if len(set(nested_paths)) < len(nested_paths):  # refused by name
            return self.children(path, parent, depth)
        made = Children(
            path=path, table=sa.Table(table, sa.MetaData(), *columns), parent="parent", rules=tuple(rules),
            values=values, position="place" if placed else None, shape=shape, name="name" if shape == "map" else None,
            key="key" if keyed else None,
        )  # fmt: skip
        return made, lambda: self._field(shape, values, makers)

    def _rule(self, name: str, column: str, columns: list[Any], depth: int) -> tuple[Any, Callable[[], Any]]:
        chance, roll = self.chance, self.chance.random()
        if roll < 0.3 and depth:
            return self.children(name, UUID, depth - 1)
        if roll < 0.45:
            columns.append(sa.Column(column, sa.Text))
            write = codecs.OBJECTID_HEX.write if chance.random() < 0.5 else str
            reference = Reference(path=name, column=column, key=OTHER, on_missing=refuse, write=write)
            return reference, lambda: chance.choice((ObjectId(b"0123456789ab"), "x", f"{chance.randrange(99)}", None))
        codec, kind, maker = chance.choice(KINDS)
        columns.append(sa.Column(column, kind))
        return map_field(name, column, codec, required=chance.random() < 0.2), lambda: maker(chance)

    def _field(self, shape: str, values: bool, makers: list[tuple[str, Callable[[], Any]]]) -> Any:
        chance = self.chance
        if chance.random() < 0.1:
            return chance.choice(self.odd)
        elements = [self._element(values, makers) for _ in range(chance.choice((0, 1, 1, 2, 3, 12)))]
        if shape == "array":
            return elements
        if shape == "map":
            return {chance.choice((*NAMES, str(number), "a\ufeff")): each for number, each in enumerate(elements)}
        return elements[0] if elements else {}

    def _element(self, values: bool, makers: list[tuple[str, Callable[[], Any]]]) -> Any:
        chance = self.chance
        if chance.random() < 0.08:
            return chance.choice(self.odd)
        if values:
            return makers[0][1]()
        fields = {name: make() for name, make in makers if chance.random() < 0.85}
        for _ in range(chance.choice((0, 0, 0, 1, 2))):
            fields[chance.choice(NAMES)] = chance.choice(self.odd)
        names = list(fields)
        if chance.random() < 0.3:
            chance.shuffle(names)
        return {name: fields[name] for name in names}


def spoil(chance: random.Random, raw: bytes) -> bytes:
    """Return a document whose length fits, with other bytes inside."""
    data = bytearray(raw)
    for _ in range(chance.choice((1, 1, 2, 5))):
        place = chance.randrange(4, len(data))
        match chance.randrange(6):
            case 0:
                data[place] = chance.randrange(256)
            case 1:
                data[place] ^= 1 << chance.randrange(8)
            case 2:
                data[place : place + 4] = struct.pack("<i", chance.choice((0, 1, 4, 5, -1, 2**31 - 1, len(data))))
            case 3:
                data[place : place + chance.randrange(9)] = b""
            case 4:
                data[place:place] = chance.choice(ODD)
            case 5:
                data[place:place] = data[max(4, place - 20) : place]
    if len(data) < 5:
        return raw
    data[:4] = struct.pack("<i", len(data))
    return bytes(data)


@pytest.mark.parametrize("seed", [1, 2, 3, *(pytest.param(seed, marks=pytest.mark.long) for seed in range(4, 200))])
def test_hostile_elements_equal_those_of_the_rules(seed: int) -> None:
    rules = Rules(seed)
    chance = rules.chance
    fields = [rules.children(name, UUID, 2) for name in ("first", "second")]
    mapping = boxes(*(rule for rule, _ in fields))
    documents = []
    for _ in range(150):
        made = {"_id": ObjectId(chance.randbytes(12))}
        made |= {rule.path: value for rule, make in fields if (value := make()) is not ABSENT and chance.random() < 0.9}
        raw = encode(made)
        documents.append(spoil(chance, raw) if chance.random() < 0.3 else raw)
    assert compare(mapping, documents, seed) > 100
    assert sum(check_way_back(mapping, raw, seed) for raw in documents) > 30


def check_way_back(mapping: Collection, raw: bytes, seed: int) -> bool:
    """Check that row and residue restore a document. Return whether it was loaded."""
    try:
        document = decode_untrusted(raw)
    except InvalidBSON:
        return False
    translation = Translation(mapping, None, Known().references(mapping, [document]))
    result, _ = translation.translate(document, raw=None if is_faithful(document, raw) else raw)
    if isinstance(result, Loaded):
        rebuilt = rebuild_bson(mapping, raw_bson.source_id(raw), result.row, result.residue)
        assert rebuilt == raw or sort_fields(rebuilt) == sort_fields(raw), f"seed {seed}: {document}"
    return isinstance(result, Loaded)


def test_a_place_that_its_column_cannot_hold() -> None:
    """A smallint holds 32,768 places: further elements stay in the residue."""
    mapping = boxes(_numbers("x", "c", sa.SmallInteger))
    document = encode({"_id": ObjectId(), "x": list(range(32_770))})
    assert compare(mapping, [document], 0) == 2 + 1 + 2  # row, ledger; rows of elements; two findings


def test_arrays_in_arrays() -> None:
    """What a row leaves of an element that is no document is the element itself."""
    inner = _numbers(VALUE, "inner", sa.Integer)
    table = sa.Table("outer", sa.MetaData(), *_own(sa.Integer), sa.Column("key", UUID))
    outer = Children(path="x", table=table, parent="parent", key="key", values=True, rules=(inner,))
    documents = [{"_id": ObjectId(), "x": value} for value in ([[1, "a"], [], [2]], [["a"]], [1, [None]], [[[1]], {}])]
    assert compare(boxes(outer), map(encode, documents), 0) > len(documents)


@pytest.mark.parametrize("message", ["two rules make rows of its elements", "a rule fills the column c.position, too"])
def test_rules_that_disagree_are_refused(message: str) -> None:
    numbers = _numbers("x", "c", sa.Integer)
    again = _numbers("x", "d", sa.Integer)
    placed = replace(numbers, rules=(map_field(VALUE, "position", codecs.INTEGER),))
    mapping = boxes(numbers, again) if message.startswith("two") else boxes(placed)
    with pytest.raises(UsageError, match=message):
        validate({"boxes": mapping}, mapping.table.metadata)


def boxes(*fields: Children) -> Collection:
    schema = sa.MetaData()
    table = sa.Table("boxes", schema, sa.Column("id", UUID, primary_key=True))
    return Collection(
        name="boxes",
        table=table,
        key=ID,
        rules=tuple(replace(each, table=each.table.to_metadata(schema)) for each in fields),
    )


def _own(position: Any) -> list[sa.Column[Any]]:
    return [sa.Column("parent", UUID), sa.Column("position", position)]


def _numbers(path: str, table: str, position: Any) -> Children:
    made = sa.Table(table, sa.MetaData(), *_own(position), sa.Column("number", sa.Integer))
    return Children(
        path=path, table=made, parent="parent", values=True, rules=(map_field(VALUE, "number", codecs.INTEGER),)
    )
