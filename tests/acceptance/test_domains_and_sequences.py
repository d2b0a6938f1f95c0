"""Domains of the schema are created, compared and dropped; sequences continue after the numbers of documents."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest
from bson import ObjectId, encode
from pymongo import MongoClient

from tests import mongo
from tests.driving import call, dump_database
from tests.user_projects import load_and_load_again, write_packages, write_user_project

pytestmark = pytest.mark.usefixtures("quick")
SCHEMA = """
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import DOMAIN, UUID

metadata = sa.MetaData(naming_convention={"pk": "%(table_name)s_pkey"})
short = DOMAIN("short", sa.Text, not_null=True, default="none", check="length(VALUE) < 9", constraint_name="is_short")
price = DOMAIN("price", sa.Numeric(8, 2), check="VALUE >= 0", schema="types")
invoices = sa.Table(
    "invoices", metadata,
    sa.Column("id", sa.BigInteger, sa.Identity(), primary_key=True),
    sa.Column("label", short), sa.Column("total", price),
)
lines = sa.Table(
    "lines", metadata,
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("label", short),
    schema="books",
)
free = sa.Table(
    "free", metadata, sa.Column("id", UUID, primary_key=True), sa.Column("seen", sa.Integer, sa.Identity()),
)
"""
MAPPINGS = """
from migrator.mapping.codecs import BIGINT, INTEGER, TEXT, Numeric
from migrator.mapping.collection import Collection
from migrator.mapping.references import Key
from migrator.mapping.rules import map_field
from ledger_schema import free, invoices, lines

MAPPINGS = (
    Collection(
        name="invoices", table=invoices, key=Key(path="_id", collection="invoices", codec=BIGINT),
        rules=(map_field("label", "label", TEXT, default="none"), map_field("total", "total", Numeric(8, 2))),
    ),
    Collection(
        name="lines", table=lines, key=Key(path="_id", collection="lines", codec=INTEGER, column="number"),
        rules=(map_field("label", "label", TEXT, default="none"),),
    ),
    Collection(name="free", table=free, key=Key(path="_id", collection="free"), rules=()),
)
"""
NEXT = (
    "SELECT nextval(pg_get_serial_sequence('invoices', 'id')),"
    " nextval(pg_get_serial_sequence('books.lines', 'number')), nextval(pg_get_serial_sequence('free', 'seen'))"
)


def documents() -> dict[str, list[dict[str, Any]]]:
    return {
        "invoices": [
            *({"_id": number, "label": "good", "total": None} for number in (3, 7, 4000)),
            {"_id": 4, "label": "far too long"},  # the domain refuses it
        ],
        "lines": [{"_id": number} for number in range(1, 20)],
        "free": [{"_id": ObjectId()} for _ in range(3)],
    }


def write_project(folder: Path, target: str, source: str = "dump:dump") -> Path:
    packages = write_packages(folder / "packages", "ledger", SCHEMA, MAPPINGS)
    return write_user_project(
        packages, "ledger", folder / "project", target, documents() if source == "dump:dump" else None, source
    )


def test_tables_of_the_run(database: str, tmp_path: Path) -> None:
    """Domains are made for the run and dropped by revert; numbering continues after the largest number."""
    settings = write_project(tmp_path, database)
    tables = load_and_load_again(settings, database)
    assert (tables["invoices"], tables["books.lines"]) == (3, 19)
    with psycopg.connect(database, autocommit=True) as connection:
        assert connection.execute(NEXT).fetchone() == (4001, 20, 4)
        connection.execute("ALTER DOMAIN types.price DROP CONSTRAINT price_check")
    verified = call("verify", "-c", settings, "--json")
    wrong = [each for each in verified.json["checks"] if each["check"] == "catalog: domains"]
    assert [each["found"][0]["row"] for each in wrong] == ["domain types.price"]


def test_tables_of_an_owner(database: str, tmp_path: Path) -> None:
    """Sequences of tables that exist are advanced if they are behind, and set back by revert if nobody used them."""
    settings = write_project(tmp_path, database)
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(call("schema", "-c", settings).out.encode())
        connection.execute("SELECT setval('invoices_id_seq', 5000), nextval('free_seen_seq')")
    before = dump_database(database)
    assert call("run", "-c", settings).code == 0
    assert call("revert", "-c", settings, "--yes").code == 0
    assert dump_database(database) == before.replace(
        "'public.free_seen_seq', 1, true", "'public.free_seen_seq', 4, true"
    )
    assert call("run", "-c", settings).code == 0
    with psycopg.connect(database, autocommit=True) as connection:
        assert connection.execute(NEXT).fetchone() == (5001, 20, 8)
    assert call("revert", "-c", settings, "--yes").code == 0
    with psycopg.connect(database, autocommit=True) as connection:  # used since the run: it is not set back
        assert connection.execute(NEXT).fetchone() == (5002, 21, 9)


def test_followed_numbers(live_server: mongo.Server, new_database: Callable[[], str], tmp_path: Path) -> None:
    """Numbers of documents that arrive after the load are followed by the sequences when following ends."""
    database = new_database()
    made = {name: list(map(encode, found)) for name, found in documents().items()}
    mongo.fill(live_server.url, "ledger", made)
    settings = write_project(tmp_path, database, live_server.url)
    ran = call("run", "--follow", "--until-caught-up", "-c", settings)
    assert ran.code == 0, ran.told
    with MongoClient[Any](live_server.url) as client:
        client["ledger"]["lines"].insert_one({"_id": 77})
    assert call("follow", "--until-caught-up", "-c", settings).code == 0
    with psycopg.connect(database, autocommit=True) as connection:
        assert connection.execute(NEXT).fetchone() == (4001, 78, 4)
