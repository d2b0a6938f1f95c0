"""Changed rows of elements are merged into their field, whatever positions an application gives them."""

from __future__ import annotations

import copy
import random
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import sqlalchemy as sa

from migrator.documents.codec import same
from migrator.mapping.children import Children
from migrator.mapping.codecs import INTEGER, TEXT
from migrator.mapping.collection import Collection
from migrator.mapping.context import ABSENT, Row
from migrator.mapping.references import Key
from migrator.mapping.rules import map_field
from migrator.reversing.element_changes import number_elements
from migrator.reversing.element_losses import compare_elements
from migrator.reversing.element_merge import merge_field
from migrator.reversing.element_rows import IDENTITY
from migrator.reversing.equality import equal
from migrator.reversing.merge import merge
from migrator.translation.interpreter import Translation

TABLE = sa.Table(
    "items", sa.MetaData(), sa.Column("id", sa.Uuid, primary_key=True), sa.Column("parent", sa.Uuid),
    sa.Column("position", sa.Integer), sa.Column("name", sa.Text), sa.Column("count", sa.Integer),
)  # fmt: skip
RULES = (map_field("name", "name", TEXT), map_field("count", "count", INTEGER, required=True))
LIST = Children(path="items", table=TABLE, parent="parent", key="id", rules=RULES)
MAP = replace(LIST, shape="map", name="name", rules=(RULES[1],))
ELEMENTS: tuple[Any, ...] = (
    {"name": "a", "count": 1}, {"count": 2, "name": "b", "more": [1]}, {"name": 5, "count": 3}, {"name": "no count"},
    "no document", {"count": 4}, None,
)  # fmt: skip


def change(chance: random.Random, rows: list[Row]) -> list[Row]:
    """Change, delete and add rows, as an application without any constraint could."""
    changed = [dict(row) for row in rows if chance.random() < 0.8]
    for row in changed:
        if chance.random() < 0.3:
            row["position"] = chance.choice((None, 0, 1, 2, 7, -3))
        if chance.random() < 0.3:
            row["count"] = chance.randrange(100)
    for number in range(chance.choice((0, 0, 1, 2))):
        new = {"position": chance.choice((None, 0, 3, 9)), "name": f"new {number}", "count": number}
        changed.append({**new, IDENTITY: f"new {number}"})
    chance.shuffle(changed)
    return changed


def rebuild(rule: Children, value: Any, rows: list[Row]) -> Any:
    """The field that rows and the residue of a document restore."""
    document: dict[str, Any] = {}
    row = {rule.row_key: rows}
    rule.to_document(row, document)
    restored = document.get(rule.path, ABSENT)
    if not same(restored, value):
        remainder = rule.subtract(value, rows)
        if remainder is None:
            return value  # the residue has the whole field
        rule.set_remainder(remainder, row, document)
    return document.get(rule.path, ABSENT)


def cases() -> Iterator[tuple[Children, random.Random]]:
    for seed in range(300):
        yield LIST if seed % 3 else MAP, random.Random(seed)


def test_merged_fields_are_rebuilt() -> None:
    """Of any elements and changed rows: the rows and the residue restore the merged field, and all rows are in it."""
    for number, (rule, chance) in enumerate(cases()):
        elements = chance.choices(ELEMENTS, k=chance.randrange(6))
        value: Any = elements if rule is LIST else {f"key {place}": each for place, each in enumerate(elements)}
        mapping = Collection(name="boxes", table=TABLE, key=Key(path="_id", collection="boxes"), rules=(rule,))
        row: Row = {rule.row_key: rule.rows_of(value, Translation(mapping, None, {}))}
        number_elements((rule,), row)
        before = copy.deepcopy(row[rule.row_key])
        assert same(merge_field(rule, value, before, before, merge), value), f"seed {number}"
        after = change(chance, before)
        merged = merge_field(rule, value, before, after, merge)
        assert same(rebuild(rule, merged, after), merged), f"seed {number}"
        found = merged if rule is LIST else list(merged.values())
        loose = len(elements) - len(before)
        assert len(found) == len(after) + loose or rule is MAP, f"seed {number}"
        counts = [each["count"] for each in found if type(each) is dict and "count" in each]
        assert rule is MAP or counts == [each["count"] for each in rule.placed(after).values()], f"seed {number}"


@pytest.mark.parametrize("positions", [(0, 1, 2), (5, 7, 9), (2, 1, 0), (0, 0, None), (-1, 0, 1)])
def test_elements_keep_what_has_no_column(positions: tuple[int | None, ...]) -> None:
    """Wherever rows are moved, their elements keep fields without a column, and nothing is lost."""
    value = [{"name": "a", "count": 1, "x": 1}, {"name": "b", "count": 2, "x": 2}, {"name": "c", "count": 3, "x": 3}]
    mapping = Collection(name="boxes", table=TABLE, key=Key(path="_id", collection="boxes"), rules=(LIST,))
    translation = Translation(mapping, None, {})
    row: Row = {LIST.row_key: LIST.rows_of(value, translation)}
    number_elements((LIST,), row)
    after = [{**each, "position": place} for each, place in zip(row[LIST.row_key], positions, strict=True)]
    merged = merge_field(LIST, value, row[LIST.row_key], after, merge)
    assert sorted((each["name"], each["x"]) for each in merged) == [("a", 1), ("b", 2), ("c", 3)]
    given = {LIST.row_key: LIST.rows_of(merged, translation)}
    compared = list(compare_elements(mapping, None, {LIST.row_key: after}, {"items": merged}, given))
    assert len(compared) == 6
    assert all(each.value == each.other for each in compared)


@pytest.mark.parametrize("value", [float("nan"), -0.0, [{"x": float("nan")}], {"a": [-0.0]}])
def test_equal_values_have_the_same_bits(value: Any) -> None:
    """A NaN is no change of itself, and 0.0 is one of -0.0."""
    assert equal(value, copy.deepcopy(value))
    assert not equal([0.0], [-0.0])
    assert not equal({"x": 1}, {"x": 1, "y": 1})
