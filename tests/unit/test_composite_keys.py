"""Keys of several columns: their texts, what is refused, and compiled code against the rules."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import sqlalchemy as sa
from bson import encode
from sqlalchemy.dialects.postgresql import UUID

from migrator.documents.codec import decode
from migrator.errors import UsageError
from migrator.mapping.codecs import INTEGER, REAL, TEXT
from migrator.mapping.collection import Collection, LatestOf
from migrator.mapping.composite_key_checks import check_single_keys
from migrator.mapping.composite_keys import CompositeKey
from migrator.mapping.key_texts import formatter, join_key, parser, split_key
from migrator.mapping.references import Key, reference_to
from migrator.mapping.rules import map_field
from migrator.mapping.validation import validate
from migrator.state.row_keys import RowKey
from migrator.translation.compiler import compile_collection
from migrator.translation.encoder import Output
from migrator.translation.interpreter import Translation
from migrator.translation.projection import projector_of
from migrator.workflows.profile import fates_of
from tests.elements import Known, compare
from tests.press import HERE, Press
from tests.user_projects import import_mappings

SEEDS = [1, *(pytest.param(seed, marks=pytest.mark.long) for seed in range(2, 40))]
COMPILED = ("articles", "lines", "readings", "comments")


@pytest.fixture(scope="module")
def mappings() -> dict[str, Collection]:
    return import_mappings(HERE, "press")


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("name", COMPILED)
def test_compiled_code_gives_what_the_rules_give(name: str, seed: int, mappings: dict[str, Collection]) -> None:
    """Rows, rows of elements, ledger rows with residues, findings and rejects are the same bytes."""
    documents = Press(seed, 200).collections()[name]
    mapping = mappings[name]
    if name == "comments":  # the rows of a test have no columns that could be carried
        mapping = replace(mapping, rules=tuple(each for each in mapping.rules if "article" not in each.source_paths))
        mapping = replace(mapping, rules=tuple(each for each in mapping.rules if "line" not in each.source_paths))
    assert compare(mapping, map(encode, documents), seed) > len(documents)


@pytest.mark.parametrize("name", COMPILED[:3])
def test_usual_documents_need_no_interpreter(name: str, mappings: dict[str, Collection]) -> None:
    """Generated code translates documents as expected."""
    raws = list(map(encode, Press(1, 100, dirt=0).collections()[name]))
    compiled = compile_collection(mappings[name], None)
    projections = projector_of(compiled.projection).project(b"".join(raws), 0, len(raws))
    found = Known().references(mappings[name], map(decode, raws))
    translation, output = Translation(mappings[name], None, found), Output()
    left = compiled.translate(projections, translation, output)
    assert len(left) < 40  # those whose order was not found
    assert len(output.rows) + len(left) == len(raws)


VALUES: dict[str, Callable[[random.Random], Any]] = {
    "uuid": lambda chance: chance.randbytes(16),
    "text": lambda chance: "".join(map(chr, chance.choices([*range(1, 400), 0x2028, 0x1F600], k=5))),
    "bigint": lambda chance: chance.randrange(-(2**63), 2**63),
    "bytea": lambda chance: chance.randbytes(chance.randrange(20)),
    "boolean": lambda chance: chance.random() < 0.5,
    "date": lambda chance: chance.randrange(-2_440_000, 100_000_000),
    "timestamp": lambda chance: chance.randrange(-210_866_803_200_000_000, 9_000_000_000_000_000_000),
    "timestamptz": lambda chance: chance.randrange(-62_200_000_000, 253_402_300_799) * 1_000_000,
}


@pytest.mark.parametrize("kind", VALUES)
def test_texts_are_read_back(kind: str) -> None:
    """The text of a plain value gives the value again, alone and in a key."""
    chance = random.Random(1)
    for _ in range(300):
        plain = VALUES[kind](chance)
        text = formatter(kind)(plain)
        assert parser(kind)(text) == plain, text
        assert split_key(join_key([text, "x"]), 2) == [text, "x"]


@pytest.mark.parametrize("text", ["", "x", "[]", '["a"]', '["a", 1]', '{"a": "b"}', '["a", "b", "c"]', "null"])
def test_other_texts_are_no_keys(text: str) -> None:
    """A damaged ID is named as such."""
    with pytest.raises(ValueError):  # noqa: PT011  # the message is for developers
        split_key(text, 2)
    assert not RowKey(("a", "b"), ("text", "text")).can_be(text)


def test_values_of_other_kinds_are_no_keys() -> None:
    """A damaged ID is not looked for."""
    key = RowKey(("a", "b"), ("bigint", "uuid"))
    assert key.can_be('["7", "00000000-0000-0000-0000-000000000000"]')
    assert not key.can_be('["x", "00000000-0000-0000-0000-000000000000"]')
    assert not key.can_be('["7", "0"]')


# --- what is refused ----------------------------------------------------------------------------------------------


def things(*columns: sa.Column[Any]) -> sa.Table:
    """Return a table whose key are all of the columns, in a schema with a table `others`."""
    metadata = sa.MetaData()
    sa.Table("others", metadata, sa.Column("id", UUID, primary_key=True), sa.Column("newest", sa.Integer))
    for each in columns:
        each.primary_key, each.nullable = True, False
    return sa.Table("things", metadata, *columns)


def collection(table: sa.Table, **options: Any) -> Collection:
    """Return the mapping of things, whose rules fill the columns that are not given."""
    rules = tuple(map_field(each.name, each.name, TEXT, required=True) for each in table.columns)
    given: dict[str, Any] = {"name": "things", "table": table, "key": CompositeKey(table=table), "rules": rules}
    return Collection(**given | options)


def two() -> sa.Table:
    return things(sa.Column("a", sa.Text), sa.Column("b", sa.Text))


def with_reference() -> list[Collection]:
    """A key with a reference to rows whose IDs depend on their owner."""
    table, key = things(sa.Column("a", UUID), sa.Column("b", sa.Text)), Key(path="_id", collection="others")
    others = Collection(
        name="others", table=table.metadata.tables["others"], key=key, rules=(), owner=lambda document, row: (1,)
    )
    rules = (reference_to("a", "a", key, str, required=True), map_field("b", "b", TEXT, required=True))
    return [others, collection(table, rules=rules)]


def with_foreign_key() -> list[Collection]:
    """A foreign key to a part of the key."""
    table = two()
    child = sa.Table(
        "children", table.metadata, sa.Column("id", UUID, primary_key=True), sa.Column("a", sa.Text),
        sa.ForeignKeyConstraint(["a"], ["things.a"], name="children_a_fkey"),
    )  # fmt: skip
    key = Key(path="_id", collection="children")
    return [collection(table), Collection(name="children", table=child, key=key, rules=(map_field("a", "a", TEXT),))]


def with_latest() -> list[Collection]:
    """A column of the table gets the newest value of another one."""
    table = two()
    others = Collection(
        name="others",
        table=table.metadata.tables["others"],
        key=Key(path="_id", collection="others"),
        rules=(map_field("newest", "newest", INTEGER),),
        latest_values=(LatestOf(table="things", column="b", value_column="newest", reference_column="id"),),
    )
    return [collection(table), others]


def with_part(table: sa.Table) -> Collection:
    """A part of the key fills a column that does not belong to it."""
    table.append_column(sa.Column("c", UUID))
    return collection(
        table, key=CompositeKey(table=table, parts=(Key(path="_id", collection="things", column="c"),)),
        rules=tuple(map_field(name, name, TEXT, required=True) for name in ("a", "b")),
    )  # fmt: skip


REFUSED: dict[str, Callable[[], list[Collection]]] = {
    "its key is that of the table": lambda: [collection(two(), key=CompositeKey(table=two()))],
    "the primary key of things is one column": lambda: [collection(things(sa.Column("a", sa.Text)))],
    "has no primary key": lambda: [collection(things())],
    "nothing fills the column b of the key": lambda: [
        collection(two(), rules=(map_field("a", "a", TEXT, required=True),))
    ],
    "the column b of the key has the type real": lambda: [
        collection(
            things(sa.Column("a", sa.Text), sa.Column("b", sa.REAL)),
            rules=(map_field("a", "a", TEXT, required=True), map_field("b", "b", REAL, required=True)),
        )
    ],
    "is no column of the primary key": lambda: [with_part(things(sa.Column("a", sa.Text), sa.Column("b", sa.Text)))],
    "the mapping uses owner": lambda: [collection(two(), owner=lambda document, row: (1,))],
    "the mapping uses a section": lambda: [collection(two(), section="recordings")],
    "depend on their owner (others)": with_reference,
    "refers to (a), not to the whole key (a, b)": with_foreign_key,
    "`latest_values` sets a column of things": with_latest,
}


@pytest.mark.parametrize("message", REFUSED)
def test_what_cannot_be_used_is_refused_by_name(message: str) -> None:
    """Before anything is read."""
    found = REFUSED[message]()
    with pytest.raises(UsageError) as caught:
        validate({each.name: each for each in found}, found[0].table.metadata)
    assert message in caught.value.message


def test_merges_need_a_key_of_one_column() -> None:
    """What uses the rows of a collection by their ID says so."""
    with pytest.raises(UsageError, match="EMBEDDED uses the collection things, whose key has several columns"):
        check_single_keys({"things": collection(two())}, {"EMBEDDED": "things"})


def test_a_plan_names_the_column_of_each_field(mappings: dict[str, Collection]) -> None:
    """Of the parts of a key, and of the fields that refer to a row together."""
    fates = {**fates_of(mappings["comments"]), **fates_of(mappings["articles"]), **fates_of(mappings["readings"])}
    assert {fates[name] for name in ("tenant", "slug")} == {"tenant", "slug"}
    assert (fates["article"], fates["_id"]) == ("other_tenant, other_slug", "id")
