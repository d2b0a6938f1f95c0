"""What is drafted for documents of one shape: columns, keys, implied fields, shapes, indexes and foreign keys."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import bson
import pytest
from bson import Binary, Decimal128, Int64, ObjectId

from migrator.events import silent
from migrator.scaffold.draft import ColumnDraft, Draft, Kind, Restore, TableDraft
from migrator.scaffold.drafting import make_draft
from migrator.scaffold.profiling import profile
from migrator.scaffold.writing.project import render_project
from migrator.sources import open_source

Documents = list[dict[str, Any]]
MANY = 40


def draft_of(
    folder: Path, collections: Mapping[str, Documents], indexes: Mapping[str, list[Any]] | None = None
) -> Draft:
    """The draft for a dump with these collections, and their indexes as mongodump writes them."""
    for name, documents in collections.items():
        (folder / f"{name}.bson").write_bytes(b"".join(bson.encode({"_id": ObjectId(), **each}) for each in documents))
        metadata = {"indexes": (indexes or {}).get(name, []), "collectionName": name, "type": "collection"}
        (folder / f"{name}.metadata.json").write_text(json.dumps(metadata))
    return make_draft(profile(open_source(f"dump:{folder}"), silent))


def table_of(folder: Path, documents: Documents, indexes: list[Any] | None = None) -> TableDraft:
    return draft_of(folder, {"things": documents}, {"things": indexes or []}).tables[0]


def column_of(folder: Path, values: list[Any]) -> ColumnDraft:
    """The column for a field with these values; ... is an absent field."""
    (column,) = table_of(folder, [{} if value is ... else {"field": value} for value in values]).columns
    return column


DAY = datetime(2024, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("values", "kind", "required"),
    [
        pytest.param(["a"] * MANY, Kind.TEXT, True, id="texts"),
        pytest.param(["a"] * (MANY - 1) + [...], Kind.TEXT, False, id="absent once"),
        pytest.param(["a"] * (MANY - 1) + [None], Kind.TEXT, False, id="null once"),
        pytest.param(["a"] * 3, Kind.TEXT, False, id="too few documents"),
        pytest.param([str(UUID(int=number)) for number in range(MANY)], Kind.UUID_TEXT, True, id="texts of UUIDs"),
        pytest.param([str(UUID(int=number)) for number in range(MANY)] + [""], Kind.TEXT, True, id="one is none"),
        pytest.param([Binary.from_uuid(UUID(int=number)) for number in range(MANY)], Kind.UUID, True, id="UUIDs"),
        pytest.param([b"a", b""] * MANY, Kind.BYTES, True, id="binary data"),
        pytest.param([1, 1, Int64(2)] * MANY, Kind.INTEGER, True, id="ints and longs"),
        pytest.param([1, Int64(2), Int64(3)] * MANY, Kind.LONG, True, id="longs and ints"),
        pytest.param([2.0, 2.5] * MANY, Kind.DOUBLE, True, id="doubles"),
        pytest.param([1, 2.5] * MANY, Kind.NUMBER, True, id="ints and doubles"),
        pytest.param([Int64(2**60), 2.5] * MANY, Kind.NUMBER, False, id="longs that no double holds"),
        pytest.param([Decimal128("1.50")] * MANY, Kind.DECIMAL, False, id="decimals"),
        pytest.param([True, False] * MANY, Kind.BOOLEAN, True, id="booleans"),
        pytest.param([DAY] * MANY, Kind.DATE, True, id="dates"),
        pytest.param([DAY] * MANY + ["2024-01-01"], Kind.DATE, False, id="dates and one text"),
        pytest.param([DAY] * MANY + ["2024-01-01"] * MANY, Kind.ANY, False, id="as many texts as dates"),
        pytest.param([bson.datetime_ms.DatetimeMS(2**62)] + [DAY] * MANY, Kind.DATE, False, id="date out of range"),
        pytest.param(["a", {"b": 1}] * MANY, Kind.ANY, False, id="texts and documents"),
        pytest.param([["a"], []] * MANY, Kind.ARRAY, True, id="arrays of texts"),
        pytest.param([["a", 1], []] * MANY, Kind.LIST, True, id="arrays of several types"),
        pytest.param([{"a": [1]}] * MANY, Kind.OBJECT, True, id="documents with arrays"),
        pytest.param([ObjectId() for _ in range(MANY)], Kind.OBJECT_ID, True, id="IDs that refer to nothing"),
    ],
)
def test_the_column_fits_the_values(tmp_path: Path, values: list[Any], kind: Kind, required: bool) -> None:
    column = column_of(tmp_path, values)
    assert (column.kind, column.required) == (kind, required)


def test_fields_without_information_are_implied(tmp_path: Path) -> None:
    table = table_of(tmp_path, [{"__v": 0, "tags": [], "gone": None, "kept": False}] * MANY)
    assert [(each.path, each.value) for each in table.implied] == [("__v", "0"), ("tags", "[]"), ("gone", "None")]
    assert [each.name for each in table.columns] == ["kept"]


def test_a_small_stable_document_becomes_columns(tmp_path: Path) -> None:
    table = table_of(tmp_path, [{"home": {"street": "a", "zipCode": "b"}, "log": {"a": [1]}}] * MANY)
    assert [(each.name, each.path) for each in table.columns] == [
        ("home_street", "home.street"),
        ("home_zip_code", "home.zipCode"),
        ("log", "log"),
    ]


def test_keys_that_are_data_are_recognized(tmp_path: Path) -> None:
    table = table_of(tmp_path, [{"votes": {str(ObjectId()): 1}} for _ in range(400)])
    assert table.columns[0].kind is Kind.OBJECT
    assert "keys are data (400 distinct keys)" in table.questions[0]


def test_names_of_columns_are_unique(tmp_path: Path) -> None:
    table = table_of(tmp_path, [{"id": "a", "agentId": "b", "agent_id": "c", "a.b": 1, "": 2, "class": "d"}] * MANY)
    assert [each.name for each in table.columns] == ["thing_id", "agent_id", "agent_id_2", "class"]
    assert sum("stays in the residue" in each for each in table.questions) == 2


def test_references_become_foreign_keys_and_never_a_circle(tmp_path: Path) -> None:
    users = [{"_id": ObjectId(), "name": f"u{number}"} for number in range(MANY)]
    teams = [{"_id": ObjectId(), "owner": users[number]["_id"]} for number in range(MANY)]
    users = [{**user, "teamId": str(teams[number]["_id"])} for number, user in enumerate(users)]
    notes = [{"user": users[0]["_id"], "team": ObjectId()}] * MANY
    draft = draft_of(tmp_path, {"users": users, "teams": teams, "notes": notes})
    found = {(table.collection, each.name, each.target) for table in draft.tables for each in table.references}
    assert ("notes", "user_id", "users") in found
    assert len(found & {("teams", "owner_id", "users"), ("users", "team_id", "teams")}) == 1
    assert not any(each[1] == "team_id" and each[0] == "notes" for each in found)
    order = [table.collection for table in draft.tables]
    assert all(order.index(target) < order.index(source) for source, _, target in found)


def test_orphans_make_a_reference_nullable(tmp_path: Path) -> None:
    users = [{"_id": ObjectId()} for _ in range(100)]
    posts = [{"user": each["_id"]} for each in users] + [{"user": ObjectId()}]
    draft = draft_of(tmp_path, {"users": users, "posts": posts})
    (column,) = next(table for table in draft.tables if table.collection == "posts").references
    assert not column.required
    assert column.note == "1 of 101 distinct values have no document"


def test_the_field_that_others_refer_to_is_the_key(tmp_path: Path) -> None:
    orders = [{"orderId": f"0000000{number:05d}-1111-4111-8111-111111111111"[-36:]} for number in range(MANY)]
    items = [{"orderId": each["orderId"]} for each in orders for _ in range(2)]
    tables = {table.collection: table for table in draft_of(tmp_path, {"orders": orders, "items": items}).tables}
    assert (tables["orders"].key.path, tables["orders"].key.kind) == ("orderId", None)
    assert [each.target for each in tables["items"].references] == ["orders"]


@pytest.mark.parametrize(
    ("ids", "kind", "restore"),
    [
        pytest.param([ObjectId() for _ in range(MANY)], None, Restore.OBJECT_ID, id="ObjectIds"),
        pytest.param([f"user-{number}" for number in range(MANY)], Kind.TEXT, Restore.TEXT, id="texts"),
        pytest.param([str(UUID(int=number)) for number in range(MANY)], None, Restore.UUID_TEXT, id="texts of UUIDs"),
        pytest.param([Int64(number) for number in range(MANY)], Kind.LONG, Restore.LONG, id="longs"),
        pytest.param(
            [Binary.from_uuid(UUID(int=number)) for number in range(MANY)], Kind.UUID, Restore.UUID, id="UUIDs"
        ),
    ],
)
def test_keys_of_every_kind_have_foreign_keys(tmp_path: Path, ids: list[Any], kind: Kind, restore: Restore) -> None:
    users = [{"_id": each} for each in ids]
    posts = [{"userId": each, "friends": [each]} for each in ids]
    tables = {table.collection: table for table in draft_of(tmp_path, {"users": users, "posts": posts}).tables}
    assert tables["users"].key.kind is kind
    (column,) = tables["posts"].references
    assert (column.name, column.restore, column.required) == ("user_id", restore, True)


def test_arrays_of_ids_and_self_references_hold_keys(tmp_path: Path) -> None:
    """They have no foreign key, but the values can be joined."""
    ids = [ObjectId() for _ in range(MANY)]
    nodes = [{"_id": each, "parent": ids[0], "children": ids[:number]} for number, each in enumerate(ids)]
    columns = {each.path: each for each in draft_of(tmp_path, {"nodes": nodes}).tables[0].columns}
    assert (columns["parent"].name, columns["parent"].kind, columns["parent"].is_key) == ("parent_id", Kind.ID, False)
    assert (columns["children"].kind, columns["children"].item) == (Kind.ARRAY, Kind.ID)


def test_indexes_follow_those_of_the_source(tmp_path: Path) -> None:
    indexes = [
        {"name": "_id_", "key": {"_id": 1}},
        {"name": "email", "key": {"email": {"$numberInt": "1"}}, "unique": True},
        {"name": "twice", "key": {"twice": 1}, "unique": True},
        {"name": "tags", "key": {"tags": 1}},
        {"name": "both", "key": {"name": 1, "at": -1}},
        {"name": "ttl", "key": {"at": 1}, "expireAfterSeconds": {"$numberInt": "60"}},
        {"name": "text", "key": {"_fts": "text", "_ftsx": 1}},
        {"name": "deep", "key": {"log.a": 1}},
        {"name": "long", "key": {"long": 1}},
        {"name": "together", "key": {"half": 1, "other": 1}},
        {"name": "code", "key": {"parts.code": 1}},
        {"name": "apart", "key": {"name": 1, "parts.code": 1}},
        {"name": "pair", "key": {"name": 1, "email": 1}, "unique": True},
    ]
    documents = [
        {
            "email": f"e{number}",
            "twice": "t",
            "tags": ["x"],
            "name": "n",
            "at": DAY,
            "log": {"a": [1]},
            "long": "x" * 3000,
            "half": "x" * 2000,
            "other": "x" * 2000,
            "parts": [{"code": "a"}],
        }
        for number in range(MANY)
    ]
    table = table_of(tmp_path, documents, indexes)
    assert table.unique == ["email"]
    assert [(each.name, each.columns, each.is_gin) for each in table.indexes] == [
        ("things_twice_idx", ("twice",), False),
        ("things_tags_idx", ("tags",), True),
        ("things_name_at_idx", ("name", "at"), False),
        ("things_at_idx", ("at",), False),
        ("things_name_email_idx", ("name", "email"), False),
    ]
    assert [each.columns for each in table.children[0].indexes] == [("code",)]
    asked = [each.split("`")[1] for each in table.questions if each.startswith("The index")]
    assert asked == ["twice", "text", "deep", "long", "together", "apart", "pair"]
    assert table.indexes[2].descending == {"at"}
    assert "60 s after at" in table.comments[0]


def test_secrets_of_the_url_are_not_written(tmp_path: Path) -> None:
    draft = draft_of(tmp_path, {"things": [{"a": 1}]})
    files = render_project(draft, "mongodb://reader:s3cret-word@host/app", "app", tmp_path)
    assert "mongodb://reader:${MONGO_PASSWORD}@host/app" in files["migrate.toml"]
    assert not any("s3cret-word" in text for text in files.values())


def test_values_are_not_in_the_review(tmp_path: Path) -> None:
    draft = draft_of(tmp_path, {"things": [{"secret": "planted-value", "map": {"planted-key": 1}}] * MANY})
    files = render_project(draft, f"dump:{tmp_path}", None, tmp_path)
    assert not any("planted-value" in text for text in files.values())


def test_elements_of_arrays_become_rows(tmp_path: Path) -> None:
    """Documents, documents in documents, and IDs; not what few documents have, or what has no common shape."""
    tags = [{"_id": ObjectId(), "name": f"t{number}"} for number in range(MANY)]
    posts = [
        {
            "tags": [each["_id"] for each in tags[:number]],
            "parts": [{"_id": ObjectId(), "text": "a", "links": [{"url": "b", "tag": tags[0]["_id"]}]}],
            "mixed": [{"a": 1}, "b"],
            "wild": [{f"f{number}": 1}],
            **({"rare": [{"a": 1}]} if number < 5 else {}),
        }
        for number in range(1, MANY)
    ]
    tables = {table.collection: table for table in draft_of(tmp_path, {"tags": tags, "posts": posts}).tables}
    post = tables["posts"]
    assert [(each.table, each.path, each.is_junction) for each in post.descendants] == [
        ("post_tags", "tags", True),
        ("post_parts", "parts", False),
        ("post_part_links", "links", False),
    ]
    links, parts = (next(each for each in post.descendants if each.path == path) for path in ("links", "parts"))
    assert [(each.name, each.target, each.required) for each in links.columns] == [
        ("url", "", True),
        ("tag_id", "tags", True),
    ]
    assert [each.name for each in parts.columns] == ["post_part_id", "text"]
    assert (parts.parent, parts.has_key, links.parent, links.has_key) == ("post_id", True, "post_part_id", False)
    assert [each.name for each in post.columns] == ["mixed", "wild", "rare"]


def test_a_validator_is_evidence(tmp_path: Path) -> None:
    """Required fields of $jsonSchema become NOT NULL also in a small collection, and its enums are mentioned."""
    rules = {"required": ["name", "gone"], "properties": {"state": {"enum": ["on", "off"]}}}
    (tmp_path / "things.bson").write_bytes(bson.encode({"_id": 1, "name": "a", "state": "on"}))
    metadata = {"collectionName": "things", "options": {"validator": {"$jsonSchema": rules}}}
    (tmp_path / "things.metadata.json").write_text(json.dumps(metadata))
    (table,) = make_draft(profile(open_source(f"dump:{tmp_path}"), silent)).tables
    assert [(each.name, each.required) for each in table.columns] == [("name", True), ("state", False)]
    assert "`state` has 2 values by the validator: it could become an enum or a CHECK." in table.questions


def test_keys_of_objects_are_looked_up(tmp_path: Path) -> None:
    users = [{"_id": ObjectId()} for _ in range(MANY)]
    votes = [{"votes": {str(users[(number + each) % MANY]["_id"]): 1 for each in range(3)}} for number in range(MANY)]
    tables = {table.collection: table for table in draft_of(tmp_path, {"users": users, "polls": votes}).tables}
    assert any("its keys are in users._id (40 of 40)" in each for each in tables["polls"].questions)
