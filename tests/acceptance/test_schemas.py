"""Tables of several schemas: made and dropped, found with objects of their owner, compared, and protected."""

from __future__ import annotations

import json
from pathlib import Path
from typing import LiteralString

import psycopg
import pytest
from bson import ObjectId

from tests.driving import call, dump_database
from tests.fleet import Fleet, write_project
from tests.target_server import Server
from tests.user_projects import load_and_load_again, write_packages, write_user_project

pytestmark = pytest.mark.usefixtures("quick")

# What an owner has in the target: a row and a trigger in one schema, a check in another, and a view over both.
OWNED = """
    INSERT INTO people (id, role) VALUES ('owner', 'none');
    INSERT INTO garage.cars (id, plate, mood) VALUES ('00000000-0000-0000-0000-00000000000a', 'mine', 'good');
    CREATE FUNCTION garage.spoil() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.kind := 'x'; RETURN NEW; END $$;
    CREATE TRIGGER spoil BEFORE INSERT OR UPDATE ON garage.trucks FOR EACH ROW EXECUTE FUNCTION garage.spoil();
    ALTER TABLE logs.notes ADD CONSTRAINT short CHECK (length(text) < 10);
    CREATE INDEX trips_at_idx ON logs.trips (at);
    CREATE VIEW logs.all_plates AS SELECT plate FROM garage.cars
"""


def write_fleet(folder: Path, target: str, seed: int = 1) -> tuple[Path, int]:
    """Write a project without dirt; return its settings, and the number of notes that are too long for the owner."""
    documents = Fleet(seed, 60, dirt=0).collections()
    notes = [each for each in documents["events"] if each["meta"]["type"] not in ("trip", 1)]
    for each in notes[:3]:
        each["text"] = "longer than ten"
    return write_project(folder, target, documents), len(notes[:3])


def test_schemas_of_an_owner(database: str, tmp_path: Path) -> None:
    """Schemas that exist with rows, triggers and constraints stay as they are; plan predicts what they refuse."""
    settings, long = write_fleet(tmp_path, database)
    schema = call("schema", "-c", settings)
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(schema.out.encode())
        connection.execute(OWNED)
    before = dump_database(database)
    planned = call("plan", "-c", settings, "--json")
    assert planned.code == 0, planned.told
    run = call("run", "-c", settings, "--json")
    assert run.code == 0, run.told
    with psycopg.connect(database) as connection:
        query = "SELECT count(*) FROM migrator.rejects WHERE collection = 'notes' AND reason = 'target_constraint'"
        assert connection.execute(query).fetchone() == (long,)
        assert connection.execute("SELECT count(*) FROM garage.trucks WHERE kind = 'x'").fetchone() == (0,)
    assert planned.json["tables"] == run.json["tables"]
    verified = call("verify", "-c", settings, "--level", "roundtrip", "--json")
    assert [each for each in verified.json["checks"] if not each["ok"]] == []
    assert call("revert", "-c", settings, "--yes").code == 0
    assert dump_database(database) == before


# change → the check and the table that must report it
FAULTS: dict[LiteralString, tuple[str, str]] = {
    "UPDATE garage.cars SET doors = 77 WHERE id = (SELECT id FROM garage.cars LIMIT 1)": ("rows", "garage.cars"),
    "UPDATE logs.notes SET text = 'x' WHERE id = (SELECT id FROM logs.notes LIMIT 1)": ("rows", "logs.notes"),
    "UPDATE notes SET mood = 'bad' WHERE id = (SELECT id FROM notes WHERE mood = 'good' LIMIT 1)": ("rows", "notes"),
    "DELETE FROM garage.visits WHERE ctid = (SELECT min(ctid) FROM garage.visits)": ("rows", "garage.visits"),
    "DROP INDEX garage.cars_owner_id_idx": ("catalog: indexes", "index garage.cars.cars_owner_id_idx"),
    "ALTER TABLE logs.trips DROP CONSTRAINT trips_truck_id_fkey":
        ("catalog: constraints", "constraint logs.trips.trips_truck_id_fkey"),
    "ALTER TYPE garage.mood ADD VALUE 'mixed'": ("catalog: enums", "enum garage.mood"),
}  # fmt: skip


def test_changes_are_found(database: str, tmp_path: Path) -> None:
    """Each change of a row or an object of another schema is reported under its name."""
    settings, _ = write_fleet(tmp_path, database)
    assert call("run", "-c", settings).code == 0
    with psycopg.connect(database, autocommit=True) as connection:
        for change in FAULTS:
            connection.execute(change)
    verified = call("verify", "-c", settings, "--json")
    assert verified.code == 4
    checks = [each for each in verified.json["checks"] if not each["ok"]]
    found = {(each["check"], each["table"] or each["found"][0]["row"]) for each in checks}
    assert set(FAULTS.values()) <= found


def test_what_others_put_into_a_schema_is_kept(database: str, tmp_path: Path) -> None:
    """A revert refuses to drop a schema with a table of another client; their rows are saved before they go."""
    settings, _ = write_fleet(tmp_path, database)
    assert call("run", "-c", settings).code == 0
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("INSERT INTO garage.cars (id, plate, mood) VALUES (gen_random_uuid(), 'new', 'good')")
        connection.execute("UPDATE logs.notes SET text = 'edited' WHERE id = (SELECT id FROM logs.notes LIMIT 1)")
        connection.execute("CREATE TABLE logs.other (id integer)")
    refused = call("revert", "-c", settings, "--yes", "--json")
    assert refused.code != 0
    assert "garage.cars: 1 not migrated, in a table that will be dropped" in refused.told
    assert "logs.notes: 1 migrated, modified later" in refused.told
    saved = tmp_path / "saved"
    refused = call("revert", "-c", settings, "--yes", "--force", "--save", saved)
    assert refused.code != 0
    assert "cannot drop schema logs" in refused.told
    with psycopg.connect(database, autocommit=True) as connection:
        assert connection.execute("SELECT count(*) > 0 FROM garage.cars").fetchone() == (True,)
        connection.execute("DROP TABLE logs.other")
    assert call("revert", "-c", settings, "--yes", "--force", "--save", tmp_path / "again").code == 0
    rows = [json.loads(line) for line in (tmp_path / "again" / "garage.cars.jsonl").read_text().splitlines()]
    assert any("new" in json.dumps(each) for each in rows)
    with psycopg.connect(database) as connection:
        query = "SELECT nspname::text FROM pg_namespace WHERE nspname IN ('garage', 'logs', 'migrator')"
        assert connection.execute(query).fetchall() == []


def test_privileges(server: Server, tmp_path: Path) -> None:
    """A role that may not use or fill a schema is told which statement permits it, before anything is written."""
    name = server.create()
    role = server.role(name)
    settings, _ = write_fleet(tmp_path, server.url_of(name, role))
    server.execute("CREATE SCHEMA garage", database=name)
    refused = call("run", "-c", settings)
    assert refused.code != 0
    assert f"GRANT CREATE ON SCHEMA garage TO {role}" in refused.told
    server.execute(f"GRANT ALL ON SCHEMA garage TO {role}", database=name)
    run = call("run", "-c", settings)
    assert run.code == 0, run.told
    assert call("verify", "-c", settings).code == 0
    assert call("revert", "-c", settings, "--yes").code == 0


TENANT_SCHEMA = """
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import UUID

from migrator.postgres.tenancy import Tenancy

metadata = sa.MetaData(
    naming_convention={"pk": "%(table_name)s_pkey"}, info={"tenancy": Tenancy(table="crm.firms", column="firm_id")}
)
firms = sa.Table(
    "firms", metadata, sa.Column("id", UUID, primary_key=True), sa.Column("name", sa.Text),
    sa.Column("subdomain", sa.Text), schema="crm",
)
items = sa.Table(
    "items", metadata, sa.Column("id", UUID, primary_key=True), sa.Column("firm_id", UUID, nullable=False),
    sa.Column("name", sa.Text), schema="stock",
)
"""
TENANT_MAPPINGS = """
from migrator.mapping.codecs import TEXT
from migrator.mapping.collection import Collection
from migrator.mapping.references import Key
from migrator.mapping.rules import map_field
from rented_schema import items

MAPPINGS = (
    Collection(
        name="items", table=items, key=Key(path="_id", collection="items"), rules=(map_field("name", "name", TEXT),)
    ),
)
"""


def test_rules_without_a_comma(database: str, tmp_path: Path) -> None:
    """Rules that are no tuple are refused by name."""
    mappings = TENANT_MAPPINGS.replace('map_field("name", "name", TEXT),)', 'map_field("name", "name", TEXT))')
    packages = write_packages(tmp_path / "packages", "rented", TENANT_SCHEMA, mappings)
    settings = write_user_project(packages, "rented", tmp_path / "project", database, {"items": []})
    refused = call("plan", "-c", settings)
    assert refused.code == 2
    assert "collection items: `rules` is not a tuple" in refused.told


def test_tenants(database: str, tmp_path: Path) -> None:
    """Tables of tenants in other schemas get row-level security, which verify checks with a role of its own."""
    packages = write_packages(tmp_path / "packages", "rented", TENANT_SCHEMA, TENANT_MAPPINGS)
    documents = {"items": [{"_id": ObjectId(), "name": f"item {number}"} for number in range(9)]}
    settings = write_user_project(packages, "rented", tmp_path / "project", database, documents)
    load_and_load_again(settings, database)
    verified = call("verify", "-c", settings, "--json")
    seen = [each for each in verified.json["checks"] if each["check"] == "row security"]
    assert {(each["table"], each["ok"]) for each in seen} == {("stock.items", True)}
