"""Rows of embedded documents: compiled code gives what the rules give, for documents of every kind."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import pytest
import sqlalchemy as sa
from bson import Int64, ObjectId, encode
from sqlalchemy.dialects.postgresql import UUID

from migrator.mapping.certain_keys import DocumentKey, certain_keys, unread_keys
from migrator.mapping.children import Children
from migrator.mapping.codecs import INTEGER, LONG, OBJECTID_HEX
from migrator.mapping.collection import Collection
from migrator.mapping.references import Key
from migrator.mapping.rules import map_field
from migrator.translation.elements import compile_elements
from migrator.workflows.profile import fate_of, fates_of
from tests.elements import compare
from tests.every_kind import HERE as KINDS
from tests.every_kind import make_collections
from tests.shop import HERE, Shop
from tests.user_projects import import_mappings

FIELD = "things in this box, with a name that SHA-1 needs more than one block for"
BIG, ID = Key(path="number", collection="boxes", column="number", codec=LONG), Key(path="_id", collection="boxes")
SEEDS = [1, 2, 3, *(pytest.param(seed, marks=pytest.mark.long) for seed in range(4, 60))]


@pytest.fixture(scope="module")
def mappings() -> dict[str, Collection]:
    return import_mappings(HERE, "shop")


def test_keys_of_elements_are_certain(mappings: dict[str, Collection]) -> None:
    """The key, and the parent with the place. A table that two rules fill has none."""
    place = (frozenset({"order_id", "position"}),)
    expected = {
        "order_items": (frozenset({"id"}), *place),
        "discounts": (frozenset({"item_id", "position"}),),
        "payments": (frozenset({"order_id"}),),
        "order_tags": place,
        "product_attributes": (frozenset({"product_id", "position"}),),
    }
    assert certain_keys(mappings.values()) == expected
    twice = [*mappings.values(), replace(mappings["orders"], name="other orders")]
    assert certain_keys(twice) == {"product_attributes": expected["product_attributes"]}


def test_keys_of_documents_that_nothing_refers_to_are_unread(mappings: dict[str, Collection]) -> None:
    """Not those of a collection with unique columns, of one that another must wait for, or of shared tables."""
    orders = mappings["orders"]
    found = DocumentKey(frozenset({"id"}), orders.table_names)
    assert unread_keys(mappings.values()) == [found]
    for others in (
        {"orders": replace(orders, unique={"number": "duplicate_number"})},
        {"products": replace(mappings["products"], after=("orders",))},
        {"more": replace(orders, name="other orders", rules=())},
    ):
        assert unread_keys({**mappings, **others}.values()) == []


def test_keys_that_can_be_too_long_are_not_unread() -> None:
    """Their documents are rejected during the load. Short texts and values of a fixed size are no problem."""
    found = {}
    for name, kind, key in (
        ("number", sa.BigInteger, {"codec": LONG}),
        ("uuid", UUID, {}),
        ("short", sa.Text, {"text": True}),
        ("long", sa.Text, {"text": True, "most": 9000}),
        ("hex", sa.Text, {"codec": OBJECTID_HEX}),
    ):
        table = sa.Table(name, sa.MetaData(), sa.Column("id", kind, primary_key=True))
        found[name] = unread_keys(
            [Collection(name=name, table=table, key=Key(path="k", collection=name, **key), rules=())]
        )
    assert {name for name, keys in found.items() if keys} == {"number", "uuid", "short"}


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("name", ["orders", "products"])
def test_cut_elements_equal_those_of_the_rules(name: str, seed: int, mappings: dict[str, Collection]) -> None:
    """Rows, rows of elements, ledger rows with residues, and findings are the same bytes."""
    documents = Shop(seed, 300).collections()[name]
    assert compare(mappings[name], map(encode, documents), seed) > len(documents)


def test_many_references(mappings: dict[str, Collection]) -> None:
    """So many ObjectIds that several have one place in the table of the cutter, each of them twice."""
    chance = random.Random(1)
    products = [ObjectId(chance.randbytes(12)) for _ in range(5000)]
    orders = [
        {"_id": ObjectId(chance.randbytes(12)), "items": [{"product": each} for each in products[place : place + 10]]}
        for place in (*range(0, 5000, 10), *range(5, 4990, 10))
    ]
    assert compare(mappings["orders"], map(encode, orders), 1) > len(orders)


@pytest.mark.parametrize("key", [Key(path="_id", collection="boxes", codec=OBJECTID_HEX), BIG, ID], ids=range(3))
@pytest.mark.parametrize("seed", SEEDS)
def test_elements_of_every_kind_equal_those_of_the_rules(key: Key, seed: int) -> None:
    """The same for columns of every kind, references by keys of every kind, and documents with keys of every kind."""
    made, chance = make_collections(seed, 120), random.Random(seed)
    items = [
        {name: each[name] for name in each if name in chance.sample(list(each), 4)} | {**place, "_id": chance.random()}
        for each, place in zip(made["items"] * 3, made["places"] * 3, strict=True)
    ]
    documents = [
        {
            "_id": ObjectId(chance.randbytes(12)), "number": Int64(chance.randrange(2**60)),
            FIELD: [items.pop() for _ in range(chance.randrange(4))],
        }
        for _ in range(120)
    ]  # fmt: skip
    assert compare(boxes(key), map(encode, documents), seed) > len(documents)


def boxes(key: Key) -> Collection:
    """Boxes whose items have columns of every kind, and are in places."""
    things, _, places = import_mappings(KINDS, "kinds").values()
    rules: Any = (*things.rules, *places.rules)  # none of them is a rule that elements cannot have
    types = {name: each.table.c[name].type for each in (things, places) for rule in each.rules for name in rule.columns}
    kind = UUID if key.codec is None else sa.Text if key.codec is OBJECTID_HEX else sa.BigInteger
    schema = sa.MetaData()
    parents = sa.Table("boxes", schema, sa.Column(key.column, kind, primary_key=True))
    columns = [sa.Column(name, type_) for name, type_ in types.items()]
    own = sa.Column("position", sa.SmallInteger), sa.Column("key", UUID), sa.Column("box", kind)
    table = sa.Table("things", schema, *columns, *own)
    field = Children(path=FIELD, table=table, parent="box", key="key", rules=rules)
    assert compile_elements(field) is not None
    return Collection(name="boxes", table=parents, key=key, rules=(field,))


def test_all_fields_of_the_shop_are_compiled(mappings: dict[str, Collection]) -> None:
    """The rules of the shop need no interpreter; a rule with a default value does."""
    children = [rule for mapping in mappings.values() for rule in mapping.children]
    assert len(children) == 4
    assert all(compile_elements(rule) is not None for rule in children)
    items = next(rule for rule in children if rule.path == "items")
    with_default = map_field("quantity", "quantity", INTEGER, default=1)
    assert compile_elements(replace(items, rules=(with_default,))) is None


def test_a_plan_names_the_tables_of_elements(mappings: dict[str, Collection]) -> None:
    """The plan says for each field of an element in which column it is, or that the residue keeps it."""
    fates = {**fates_of(mappings["orders"]), **fates_of(mappings["products"])}
    paths = {
        "items": "order_items", "items[].product": "order_items.product_id", "items[].gift": "residue",
        "items[].discounts[].code": "discounts.code", "payment.method": "payments.method",
        "tags[]": "order_tags.tag_id",
        "attributes": "product_attributes.value", "attributes.colour": "product_attributes",
    }  # fmt: skip
    assert {path: fate_of(path, fates, "residue") for path in paths} == paths
