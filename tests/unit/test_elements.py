"""Rows of embedded documents: generated code gives what the rules give, for documents of every kind."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import pytest
from bson import encode

from migrator.documents.codec import Document
from migrator.mapping.codecs import INTEGER
from migrator.mapping.collection import Collection
from migrator.mapping.context import Match
from migrator.mapping.rules import map_field
from migrator.translation.compiler import Compiled, compile_collection, leave_all
from migrator.translation.elements import compile_elements
from migrator.translation.encoder import Output
from migrator.translation.interpreter import Listed, References
from migrator.translation.projection import Projection, SlotType
from migrator.translation.translator import Translator
from migrator.workflows.profile import fate_of, fates_of
from tests.shop import HERE, Shop

SEEDS = [1, 2, 3, *(pytest.param(seed, marks=pytest.mark.long) for seed in range(4, 60))]


class Known:
    """Finds a row for most keys."""

    def references(self, collection: Collection, documents: Iterable[Document]) -> References:
        found = list(documents)
        return {
            lookup.name: {key: (Match(key, {}),) for key in lookup.keys(found) if key[-1] % 5}
            for lookup in collection.lookups
        }

    def listed(self, collection: Collection, documents: Iterable[Document]) -> Listed:
        return {}

    def given_ids(self, collection: Collection, originals: Callable[[], Iterable[Any]]) -> Mapping[Any, Any]:
        return {}


@pytest.fixture(scope="module")
def mappings() -> Iterator[dict[str, Collection]]:
    sys.path.insert(0, str(HERE))
    yield {each.name: each for each in importlib.import_module("shop_mappings").MAPPINGS}
    sys.path.remove(str(HERE))


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("name", ["orders", "products"])
def test_generated_code_equals_the_rules(name: str, seed: int, mappings: dict[str, Collection]) -> None:
    """Rows, rows of elements, ledger rows with residues, and findings are the same bytes."""
    documents = Shop(seed, 300).collections()[name]
    data = b"".join(encode(document) for document in documents)
    interpreted = Compiled(Projection(frozenset(), (), (("", SlotType.DOCUMENT),)), leave_all)
    outputs = [
        Translator(mappings[name], None, Known(), compiled=compiled).translate(data)[0]
        for compiled in (compile_collection(mappings[name], None), interpreted)
    ]
    compiled, expected = map(by_document, outputs)
    assert compiled == expected, f"seed {seed}"
    assert sum(map(len, expected.values())) > len(documents)


def by_document(output: Output) -> dict[int, list[Any]]:
    """Everything about each loaded document. Generated code comes first in an output, in any order."""
    found: dict[int, list[Any]] = {
        index: [row, entry] for index, row, entry in zip(output.indexes, output.rows, output.ledger, strict=True)
    }
    for table, tuples in sorted(output.children.items()):
        for row, data in tuples:
            found[output.indexes[row]].append((table, data))
    for index, finding in sorted(output.findings):
        found[index].append(finding)
    return found


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
