"""`verify --level roundtrip` does not rebuild documents that checksums prove, and rebuilds all that they do not."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from bson import ObjectId, encode
from psycopg import sql

from migrator.documents.raw_bson import split_documents
from migrator.rows import loaded_rows
from migrator.rows.loaded_rows import RowLayout
from migrator.verification import proven_documents, round_trip, round_trip_workers
from migrator.verification.model import Scope
from tests.acceptance.test_verify import BATCHES, execute, kill_verification
from tests.archive_writer import write_archive, write_folder
from tests.driving import Answer, call
from tests.user_projects import write_packages, write_user_project

pytestmark = pytest.mark.usefixtures("quick")
Document = dict[str, Any]
FIRST = 10  # documents that are rebuilt of a proven collection


@pytest.fixture
def rebuilt(monkeypatch: pytest.MonkeyPatch) -> Counter[bytes]:
    """The messages and items that are compared with what PostgreSQL rebuilds, by source ID; small tables count as
    large."""
    found: Counter[bytes] = Counter()
    original = round_trip.find_differences

    def find(scope: Scope, name: str, documents: list[tuple[bytes, bytes]]) -> Iterator[Any]:
        found.update(each for each, _ in documents if name == "messages" or name.endswith("items"))
        return original(scope, name, documents)

    monkeypatch.setattr(round_trip, "find_differences", find)
    monkeypatch.setattr(round_trip_workers, "find_differences", find)
    monkeypatch.setattr(proven_documents, "FEWEST_ROWS", 20)
    monkeypatch.setattr(round_trip_workers, "BATCH", FIRST)
    return found


def verify(config: Path) -> Answer:
    return call("verify", "-c", config, "--level", "roundtrip", "--json")


def trip_of(answer: Answer, name: str = "messages") -> Any:
    found = [each for each in answer.json["checks"] if each["check"] == "round trip"]
    return next(each for each in found if each["table"] == name)


def ids(rows: Iterable[Any]) -> set[bytes]:
    return {bytes(each) for (each,) in rows}


def test_only_documents_that_are_not_proven_are_rebuilt(migrated: Path, database: str, rebuilt: Counter[bytes]) -> None:
    """Rejected messages, and those whose rows were changed after the load, are rebuilt; all are counted."""
    answer = verify(migrated)
    trip = trip_of(answer)
    assert answer.code == 0, answer.told
    assert trip["expected"] == trip["actual"] == answer.json["collections"]["messages"]["source"]
    rejected = "SELECT source_id FROM migrator.rejects WHERE collection = 'messages'"
    changed = "SELECT source_id FROM migrator.findings WHERE collection = 'messages' AND code ~ 'parent|cycle|cross'"
    unproven = ids(execute(database, rejected)) | ids(execute(database, changed))
    assert unproven
    assert unproven <= rebuilt.keys()
    assert len(rebuilt) < trip["actual"] / 2


SCHEMA = """
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import UUID
metadata = sa.MetaData(naming_convention={{"pk": "%(table_name)s_pkey", "fk": "%(table_name)s_%(column_0_name)s_fkey"}})
people = sa.Table("people", metadata, sa.Column("id", {key}, primary_key=True, autoincrement=False),
    sa.Column("name", sa.Text))
items = sa.Table("items", metadata, sa.Column("id", UUID, primary_key=True), sa.Column("name", sa.Text),
    sa.Column("owner_id", {reference}, sa.ForeignKey("people.id")))
"""
MAPPINGS = """
from migrator.mapping.codecs import INTEGER, TEXT
from migrator.mapping.collection import Collection
from migrator.mapping.context import ABSENT, Match
from migrator.mapping.references import Key, Reference
from migrator.mapping.rules import imply_field, map_field
from {package}_schema import items, people
PEOPLE = Key(path="_id", collection="people", codec=INTEGER)
def back(value): return ABSENT if value is None else value
def gone(context, document): return Match(None, {{"name": None}})
MAPPINGS = (
    Collection(name="people", table=people, key=PEOPLE, rules=(map_field("name", "name", TEXT),)),
    Collection(name="{name}", table=items, key=Key(path="_id", collection="{name}"), rules=(
        map_field("name", "name", TEXT),
        Reference(path="owner", column="owner_id", key=PEOPLE, carry=("name",), on_missing=gone, write=back),
        imply_field("ownerName", back, "owner_id.name"))),
)
"""
ITEMS = [
    {"_id": ObjectId(f"{number:024x}"), "name": f"item {number}", "owner": number % 9 or None,
     "ownerName": f"person {number % 9}", "extra": number}
    for number in range(1, 6 * FIRST)
]  # fmt: skip

_numbers = count()


@dataclass(frozen=True)
class Items:
    """A migration of people and items, each of which carries the name of a person."""

    folder: Path
    database: str
    name: str = "items"
    key: str = "sa.Integer"
    reference: str = "sa.Integer"

    def migrate(self, items: list[Document]) -> Path:
        """Migrate people and items, and return the migrate.toml."""
        config = self.write(items)
        run = call("run", "-c", config)
        assert run.code == 0, run.told
        return config

    def write(self, items: list[Document] | None) -> Path:
        """Write the project, and return its migrate.toml; without items the source has no such collection."""
        package = f"items_{next(_numbers)}"  # the folder of a test that has passed is used again
        schema = SCHEMA.format(key=self.key, reference=self.reference)
        mappings = MAPPINGS.format(name=self.name, package=package)
        packages = write_packages(self.folder / "packages", package, schema, mappings)
        people = [{"_id": number, "name": f"person {number}"} for number in range(1, 9)]
        documents = {"people": people} if items is None else {"people": people, self.name: items}
        config = write_user_project(packages, package, self.folder / "project", self.database, documents)
        config.write_text(config.read_text() + "\n[engine]\nworkers = 1\n")
        return config


def ids_of(documents: list[Document]) -> list[bytes]:
    return [encode({"_id": each["_id"]}) for each in documents]


def test_the_first_documents_are_rebuilt(database: str, tmp_path: Path, rebuilt: Counter[bytes]) -> None:
    """If all documents are proven, the first ones are rebuilt all the same: the query must work in this target."""
    config = Items(tmp_path, database).migrate(ITEMS)
    answer = verify(config)
    assert answer.code == 0, answer.told
    assert list(rebuilt) == ids_of(ITEMS[:FIRST])
    assert f"{len(ITEMS)} of them by checksums" in answer.told


def test_a_large_table_without_a_collection(database: str, tmp_path: Path, rebuilt: Counter[bytes]) -> None:
    """Rows that were there before, in the table of a collection that the source lacks, are no obstacle."""
    config = Items(tmp_path, database).write(None)
    execute(database, call("schema", "-c", config).out)
    execute(database, "INSERT INTO items (id) SELECT gen_random_uuid() FROM generate_series(1, 50)")
    assert call("run", "-c", config).code == 0
    answer = verify(config)
    assert (answer.code, sum(rebuilt.values())) == (0, 0), answer.told


def write_dump(project: Path, kind: str, items: list[Document]) -> None:
    """Replace the dump of a project by an archive, or by compressed files."""
    folder = project / "dump"
    (name,) = (each.name for each in folder.iterdir())
    people = split_documents((folder / name / "people.bson").read_bytes())
    documents = {"people": list(people), "items": [encode(each) for each in items]}
    shutil.rmtree(folder)
    if kind == "archive":
        write_archive(folder, {name: documents})
    else:
        write_folder(folder / name, documents, gzipped=True)


@pytest.mark.parametrize("kind", ["archive", "compressed"])
def test_streams_are_proven(kind: str, database: str, tmp_path: Path, rebuilt: Counter[bytes]) -> None:
    """Of a source that can only be read as a stream, the first documents and those that are not proven are rebuilt."""
    items = [*ITEMS, ITEMS[-1]]
    config = Items(tmp_path, database).migrate(items)
    write_dump(config.parent, kind, items)
    assert call("revert", "-c", config, "--yes").code == 0
    assert call("run", "-c", config).code == 0
    answer = verify(config)
    assert answer.code == 0, answer.told
    assert rebuilt == Counter(ids_of([*ITEMS[:FIRST], ITEMS[-1], ITEMS[-1]]))
    assert trip_of(answer, "items")["actual"] == len(items)


@pytest.mark.parametrize("name", ["items", "shop.items"])
def test_records_of_chosen_collections_are_compared(
    name: str, database: str, tmp_path: Path, rebuilt: Counter[bytes]
) -> None:
    """With --only, the records of a collection are compared whatever its name is, so a lost residue is found."""
    config = Items(tmp_path, database, name).migrate(ITEMS)
    assert call("verify", "-c", config, "--level", "roundtrip", "--only", name).code == 0
    assert len(rebuilt) == FIRST
    execute(database, "UPDATE migrator.ledger SET residue = NULL WHERE target_id = (SELECT max(id::text) FROM items)")
    answer = call("verify", "-c", config, "--level", "roundtrip", "--only", name, "--json")
    assert {each["check"] for each in answer.json["checks"] if not each["ok"]} == {"ledger", "round trip"}
    assert len(rebuilt) == len(ITEMS)


@pytest.mark.parametrize(
    ("key", "reference"),
    [("sa.Integer", "sa.Integer"), ("sa.Integer", "sa.BigInteger"), ("sa.BigInteger", "sa.Integer")],
)
def test_references_of_another_type(
    key: str, reference: str, database: str, tmp_path: Path, rebuilt: Counter[bytes]
) -> None:
    """Documents with values of rows to which they refer are proven only if the reference has the type of the key."""
    config = Items(tmp_path, database, key=key, reference=reference).migrate(ITEMS)
    answer = verify(config)
    assert answer.code == 0, answer.told
    assert len(rebuilt) == (FIRST if key == reference else len(ITEMS))


@pytest.mark.parametrize("change", ["UPDATE people SET name = 'x' WHERE id = 3", "DELETE FROM people WHERE id = 3"])
def test_rows_to_which_documents_refer(change: str, database: str, tmp_path: Path, rebuilt: Counter[bytes]) -> None:
    """If a row differs to which documents refer, these differ, too, even if its table is not compared."""
    config = Items(tmp_path, database).migrate(ITEMS)
    execute(database, f"ALTER TABLE items DROP CONSTRAINT items_owner_id_fkey; {change}")
    answer = call("verify", "-c", config, "--level", "roundtrip", "--only", "items", "--json")
    assert answer.code == 4
    owned = [each for each in ITEMS if each["owner"] == 3]
    assert trip_of(answer, "items")["differences"] == len(owned)
    assert rebuilt.keys() >= set(ids_of(owned))


def test_all_documents_are_rebuilt_if_one_of_the_first_differs(
    database: str, tmp_path: Path, rebuilt: Counter[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the query does not return the first documents, all are rebuilt, and each one is reported once."""
    config = Items(tmp_path, database).migrate(ITEMS)
    monkeypatch.setattr(loaded_rows, "_which", lambda choice: sql.SQL(" AND l.source_id = ANY(%s::bytea[]) AND false"))
    monkeypatch.setattr(round_trip, "_rebuild_loaded", lambda *_: [])
    answer = verify(config)
    assert answer.code == 4
    assert trip_of(answer, "items")["differences"] == len(ITEMS)


DIFFERENCES = {
    "row": "UPDATE messages SET content = 'x' WHERE id = (SELECT min(id::text) FROM messages)::uuid",
    "row of another table": "UPDATE users SET name = 'x' WHERE id = (SELECT min(id::text) FROM users)::uuid",
    "record": "UPDATE migrator.rejects SET detail = 'x'",
}


@pytest.mark.parametrize("name", DIFFERENCES)
def test_all_documents_are_rebuilt_if_anything_differs(
    name: str, migrated: Path, database: str, rebuilt: Counter[bytes]
) -> None:
    """Every message is rebuilt if any row or record differs, so that each document with a difference is named."""
    execute(database, DIFFERENCES[name])
    trip = trip_of(verify(migrated))
    assert sum(rebuilt.values()) == trip["expected"]
    assert trip["differences"] == (1 if name == "row" else 0)


def test_all_documents_are_rebuilt_after_an_interruption(
    migrated: Path, database: str, rebuilt: Counter[bytes]
) -> None:
    """What an interrupted verification has loaded is not proven by the one that resumes it."""
    kill_verification(migrated, database, BATCHES + " WHERE collection = 'messages'", 1)
    trip = trip_of(verify(migrated))
    assert sum(rebuilt.values()) == trip["expected"] == trip["actual"]


def test_documents_that_a_sent_row_does_not_restore_are_rebuilt(
    migrated: Path, rebuilt: Counter[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A document that its row does not restore to the byte while it is sent is rebuilt from PostgreSQL."""
    original, refused = RowLayout.restores, set[bytes]()

    def restores(self: RowLayout, raw: bytes, source_id: bytes, fields: Any, residue: bytes | None) -> bool:
        if len(refused) < 5 and len(self.kinds) > 10:
            refused.add(source_id)
        return source_id not in refused and original(self, raw, source_id, fields, residue)

    monkeypatch.setattr(RowLayout, "restores", restores)
    answer = verify(migrated)
    assert answer.code == 0, answer.told
    assert len(refused) == 5
    assert refused <= rebuilt.keys()
