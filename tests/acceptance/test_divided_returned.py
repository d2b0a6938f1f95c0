"""After the switch, changes of rows of divided collections come back to the one collection of MongoDB."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any, LiteralString

import pytest
from bson import ObjectId, encode

from migrator.errors import UsageError
from migrator.workflows.reverse import prepare_reverse
from tests import mongo
from tests.reverse_rig import Switched, switched
from tests.stations import journey
from tests.user_projects import write_packages

pytestmark = pytest.mark.usefixtures("quick")
SCHEMA = """
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import UUID

metadata = sa.MetaData(naming_convention={"pk": "%(table_name)s_pkey", "fk": "%(table_name)s_%(column_0_name)s_fkey"})
cars = sa.Table("cars", metadata, sa.Column("id", UUID, primary_key=True), sa.Column("doors", sa.Integer))
trucks = sa.Table(
    "trucks", metadata, sa.Column("id", UUID, primary_key=True), sa.Column("kind", sa.Text),
    sa.Column("load", sa.Integer), schema="heavy",
)
notes = sa.Table(
    "notes", metadata, sa.Column("id", UUID, primary_key=True), sa.Column("text", sa.Text),
    sa.Column("truck_id", UUID, sa.ForeignKey("heavy.trucks.id")),
)
"""
MAPPINGS = """
from divided_schema import cars, notes, trucks

from migrator.mapping.codecs import INTEGER, TEXT, ObjectIdText
from migrator.mapping.collection import Collection
from migrator.mapping.conditions import Where
from migrator.mapping.references import Key, reference_to
from migrator.mapping.rules import imply_field, map_field

TRUCKS = Key(path="_id", collection="vehicles.trucks")
MAPPINGS = (
    Collection(
        name="vehicles.cars", source="vehicles", where=Where("kind", ("car",)), table=cars,
        key=Key(path="_id", collection="vehicles.cars"),
        rules=(imply_field("kind", "car"), map_field("doors", "doors", INTEGER)),
    ),
    Collection(
        name="vehicles.trucks", source="vehicles", where=Where("kind", ("truck", "van")), table=trucks, key=TRUCKS,
        rules=(map_field("kind", "kind", TEXT), map_field("load", "load", INTEGER)),
    ),
    Collection(
        name="vehicles.others", source="vehicles", table=notes, key=Key(path="_id", collection="vehicles.others"),
        rules=(
            map_field("text", "text", TEXT), reference_to("truck", "truck_id", TRUCKS, ObjectIdText().write),
        ),
    ),
)
"""
RULES = 'imply_field("kind", "car"), map_field("doors", "doors", INTEGER)'
WITHOUT_KIND = 'map_field("doors", "doors", INTEGER),'
SETTINGS = {"migration": {"mappings": "divided_mappings", "schema": "divided_schema"}}
CHANGES: tuple[LiteralString, ...] = (
    "UPDATE cars SET doors = {number} WHERE id = (SELECT id FROM cars ORDER BY md5(id::text || '{number}') LIMIT 1)",
    "DELETE FROM cars WHERE id = (SELECT id FROM cars ORDER BY md5(id::text || '{number}') LIMIT 1)",
    "INSERT INTO cars (id, doors) VALUES (gen_random_uuid(), {number})",
    "INSERT INTO heavy.trucks (id, kind, load) VALUES (gen_random_uuid(), 'van', {number})",
    "UPDATE heavy.trucks SET kind = 'car' WHERE id = (SELECT id FROM heavy.trucks"
    " WHERE id NOT IN (SELECT truck_id FROM notes WHERE truck_id IS NOT NULL) ORDER BY 1 LIMIT 1)",
    "INSERT INTO notes (id, text, truck_id) SELECT gen_random_uuid(), '{number}', id FROM heavy.trucks LIMIT 1",
)


def write_documents(folder: Path, chance: random.Random) -> dict[str, list[bytes]]:
    """Write the packages, and return the documents."""
    write_packages(folder, "divided", SCHEMA, MAPPINGS)
    trucks = [ObjectId(chance.randbytes(12)) for _ in range(20)]
    documents: list[dict[str, Any]] = [
        *({"_id": each, "kind": chance.choice(("truck", "van")), "load": 3, "extra": [1]} for each in trucks),
        *({"_id": ObjectId(chance.randbytes(12)), "kind": "car", "doors": number} for number in range(20)),
        *({"_id": ObjectId(chance.randbytes(12)), "text": "x", "truck": chance.choice(trucks)} for _ in range(10)),
    ]
    return {"vehicles": list(map(encode, documents))}


def change(rig: Switched, chance: random.Random, number: int) -> None:
    rig.connection.execute(chance.choice(CHANGES).replace("{number}", str(number)))


@pytest.mark.parametrize("seed", [1, *(pytest.param(seed, marks=pytest.mark.long) for seed in range(2, 20))])
def test_there_and_back(seed: int, live_server: mongo.Server, new_database: Callable[[], str], tmp_path: Path) -> None:
    """Changed, new and deleted rows of all tables return; a truck that became a car is one after the switch back."""
    chance = random.Random(seed)
    documents = write_documents(tmp_path, chance)
    with journey(live_server.url, f"divided_{seed}", new_database(), "", tmp_path, documents, SETTINGS) as rig:
        rig.cut_over()
        for number in range(30):
            change(rig, chance, number)
        rig.connection.execute(
            "UPDATE heavy.trucks SET kind = 'car', load = 99 WHERE id = (SELECT id FROM"
            " heavy.trucks WHERE id NOT IN (SELECT truck_id FROM notes) LIMIT 1)"
        )
        assert rig.back()["conflicts"] == 0, f"seed {seed}"
        rig.assert_same(f"seed {seed}")
        rig.cut_over("--back")
        rig.follow()
        rig.assert_same(f"seed {seed}, followed")
        rig.verify()
        found = rig.connection.execute("SELECT count(*) FROM heavy.trucks WHERE kind = 'car'").fetchone()
        assert found == (0,), f"seed {seed}"


def test_a_field_that_is_not_restored_is_refused(
    live_server: mongo.Server, new_database: Callable[[], str], tmp_path: Path
) -> None:
    """New rows whose documents would belong to no mapping are refused by name before the switch."""
    documents = write_documents(tmp_path, random.Random(0))
    package = tmp_path / "divided_mappings" / "__init__.py"
    package.write_text(package.read_text().replace(RULES, WITHOUT_KIND))
    url, database = live_server.url, new_database()
    with (
        switched(url, "divided", database, tmp_path, documents, SETTINGS) as rig,
        pytest.raises(UsageError, match=r"vehicles\.cars \(kind\)"),
    ):
        prepare_reverse(rig.context, rig.connection)
