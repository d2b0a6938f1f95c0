"""Drafts onto tables that exist: which table, which column, which codec; and what is said about the rest."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from uuid import UUID as Uuid

import bson
import pytest
import sqlalchemy as sa
from bson import Binary, Decimal128, Int64, ObjectId
from sqlalchemy.dialects import postgresql

from migrator.events import silent
from migrator.postgres.column_kinds import find_kind
from migrator.scaffold.draft import Draft, TableDraft
from migrator.scaffold.existing import ExistingColumn, ExistingKey, ExistingTable
from migrator.scaffold.fitting import fit
from migrator.scaffold.matching import make_draft_onto
from migrator.scaffold.names import score_names
from migrator.scaffold.profiling import SourceStatistics, profile
from migrator.scaffold.writing.project import render_project
from migrator.sources import open_source

MANY = 40
IDS = [ObjectId(f"65f0c0de{number:016x}") for number in range(40)]


def statistics_of(folder: Path, collections: dict[str, list[dict[str, Any]]]) -> SourceStatistics:
    for name, documents in collections.items():
        (folder / f"{name}.bson").write_bytes(b"".join(bson.encode({"_id": ObjectId(), **each}) for each in documents))
    return profile(open_source(f"dump:{folder}"), silent)


def column(name: str, type_: Any, *, nullable: bool = True, default: str | None = None) -> ExistingColumn:
    kind = find_kind(type_)
    return ExistingColumn(name=name, type=type_, kind=kind, nullable=nullable, default=default, is_generated=False)


def table(name: str, *columns: ExistingColumn, keys: tuple[ExistingKey, ...] = ()) -> ExistingTable:
    return ExistingTable(
        name=name,
        columns=columns,
        primary_key=(columns[0].name,),
        primary_key_name=f"{name}_pk",
        foreign_keys=keys,
        unique=frozenset(),
    )


def key_of(name: str, target: str) -> ExistingKey:
    return ExistingKey(name=f"fk_{name}", column=name, table=target, referred="id", options={"ondelete": "CASCADE"})


@pytest.mark.parametrize(
    ("type_", "values", "codec"),
    [
        (sa.Text(), ["a"], "TEXT"),
        (sa.VARCHAR(40), ["a"], "Text(length=40)"),
        (sa.CHAR(3), ["abc"], "Char(3)"),
        (sa.VARCHAR(24), IDS, "OBJECTID_HEX"),
        (sa.VARCHAR(12), IDS, None),
        (sa.Text(), [1], None),
        (sa.SmallInteger(), [1], "SMALLINT"),
        (sa.Integer(), [1, 2.0], "INTEGER"),
        (sa.BigInteger(), [Int64(1)], "LONG"),
        (sa.Integer(), [1.5], None),
        (postgresql.DOUBLE_PRECISION(), [1, 1.5], "Double(whole_as_int=True)"),
        (postgresql.REAL(), [1.5], "REAL"),
        (sa.Numeric(12, 2), [Decimal128("1.50")], "Numeric(12, 2)"),
        (sa.Numeric(), [1.5], 'Numeric(restore="double")'),
        (sa.Boolean(), [True], "BOOLEAN"),
        (sa.Boolean(), ["yes"], None),
        (postgresql.UUID(), [str(Uuid(int=1))], "UUID_TEXT"),
        (postgresql.UUID(), [Binary.from_uuid(Uuid(int=1))], "UUID"),
        (postgresql.UUID(), IDS, None),
        (postgresql.JSONB(), [{"a": [1]}], "JSON_OBJECT"),
        (postgresql.JSONB(), [["a"]], "JSON_ARRAY"),
        (postgresql.JSONB(), ["a"], "JSON"),
        (sa.LargeBinary(), [b"a"], "BYTES"),
        (postgresql.ARRAY(sa.Text()), [["a"]], "Array(TEXT)"),
        (postgresql.ARRAY(sa.Integer()), [["a"]], None),
        (postgresql.TSVECTOR(), ["a"], None),
    ],
    ids=str,
)
def test_the_codec_fits_column_and_values(tmp_path: Path, type_: Any, values: list[Any], codec: str | None) -> None:
    statistics = statistics_of(tmp_path, {"things": [{"field": value} for value in values] * 2})
    field = statistics.collections[0].find("field")
    assert field is not None
    found = fit(type_, field)
    assert (None if found is None else found.codec) == codec


@pytest.mark.parametrize(
    ("path", "column_name", "score"),
    [
        (("createdAt",), "created_at", 5),
        (("address", "city"), "address_city", 5),
        (("createdAt",), "created", 4),
        (("user",), "user_id", 4),
        (("address", "city"), "city", 2),
        (("thumbnailUrl",), "thumbnail", 1),
        (("name",), "email", 0),
        (("user",), "author_id", 0),
    ],
)
def test_names_are_compared(path: tuple[str, ...], column_name: str, score: int) -> None:
    assert score_names(path, column_name) == score


def draft_shop(folder: Path) -> Draft:
    customers = [{"_id": each, "email": f"e{number}@example.com"} for number, each in enumerate(IDS)]
    orders = [
        {"customer": each, "state": "new", "items": [{"a": 1}], "customerOrigin": "x", "due": None} for each in IDS
    ]
    uuid, text = postgresql.UUID(), sa.Text()
    existing = (
        table("customer", column("id", uuid, nullable=False), column("mail", text, nullable=False)),
        table(
            "orders",
            column("id", uuid, nullable=False),
            column("buyer", uuid, nullable=False),
            column("state", postgresql.ENUM("new", "old", name="state"), nullable=False, default="'new'"),
            column("reason", text, nullable=False),
            column("note", text),
            keys=(key_of("buyer", "customer"),),
        ),
        table("other", column("id", sa.BigInteger(), nullable=False)),
    )
    return make_draft_onto(
        statistics_of(folder, {"customers": customers, "orders": orders, "others": [{"a": 1}]}), existing
    )


def test_collections_and_fields_find_their_place(tmp_path: Path) -> None:
    draft = draft_shop(tmp_path)
    tables: dict[str, TableDraft] = {each.collection: each for each in draft.tables}
    assert {name: each.table for name, each in tables.items()} == {"customers": "customer", "orders": "orders"}
    assert draft.archived == {"others": "its key does not fit that of the table other"}
    orders = {each.name: each for each in tables["orders"].columns}
    assert (orders["buyer"].target, orders["buyer"].required, orders["buyer"].is_key) == ("customers", True, True)
    assert (orders["state"].default, orders["state"].required) == ('"new"', False)
    assert [each.path for each in tables["customers"].columns] == ["email"]
    assert tables["orders"].questions == [
        "The column `reason` is NOT NULL, and no field fits it: `run` needs a rule that fills it.",
        "Columns without a field: `note`.",
        "Fields without a column, which stay in the residue: `items`, `customerOrigin`.",
    ]


def test_the_schema_declares_what_the_mappings_fill(tmp_path: Path) -> None:
    files = render_project(draft_shop(tmp_path), f"dump:{tmp_path}", None, tmp_path, "postgresql://u:secret-word@h/d")
    assert '["buyer"], ["customer.id"], name="fk_buyer", ondelete="CASCADE"' in " ".join(
        files["schema/orders.py"].replace(",\n", ", ").split()
    )
    assert "reason" not in files["schema/orders.py"]
    assert 'state_enum = ENUM("new", "old", name="state", metadata=metadata)' in files["schema/base.py"]
    assert 'STATE_ENUM = Enum(("new", "old"))' in files["mappings/orders.py"]
    assert 'url = "postgresql://u:${PGPASSWORD}@h/d"' in files["migrate.toml"]
