"""Collections and tables that several mappings share: divided, loaded, compared, rebuilt, reverted, exported."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest
from bson import decode_all, encode

from migrator.documents import raw_bson
from migrator.documents.codec import CODEC_OPTIONS, decode
from migrator.mapping.conditions import Where
from tests.archive_writer import write_folder
from tests.driving import call
from tests.fleet import NAMES, Fleet, write_project
from tests.user_projects import Document, everything, load_and_load_again, load_every_way

TABLES = ("people", "garage.cars", "garage.trucks", "logs.trips", "logs.notes", "notes")
SEEDS = [1, *(pytest.param(seed, marks=pytest.mark.long) for seed in range(2, 40))]


@pytest.mark.parametrize("seed", SEEDS)
def test_shared(seed: int, database: str, tmp_path: Path) -> None:
    """Each document is in the table of its mapping or a reject; export gives the documents of each collection."""
    fleet = Fleet(seed, 120)
    documents = fleet.collections()
    settings = write_project(tmp_path, database, documents)
    tables = load_and_load_again(settings, database)
    assert min(tables[name] for name in TABLES) > 0
    check_outcomes(database, documents)
    checks = [(each["check"], each["table"]) for each in call("verify", "-c", settings, "--json").json["checks"]]
    assert len(set(checks)) == len(checks)
    assert {table for check, table in checks if check == "rows"} >= {"people of customers", "people of drivers"}
    exported = call("export", "-c", settings, tmp_path / "exported")
    assert exported.code == 0, exported.err
    for name in NAMES:
        found = decode_all((tmp_path / "exported" / "fleet" / f"{name}.bson").read_bytes(), CODEC_OPTIONS)
        raws = [decode(encode(each)) for each in documents[name]]
        assert by_id(found) == by_id(raws), f"seed {seed}"
    assert sorted(path.name for path in (tmp_path / "exported" / "fleet").glob("*.bson")) == sorted(
        f"{name}.bson" for name in NAMES
    )


def by_id(documents: list[Document]) -> dict[str, bytes]:
    """Return the documents by `_id`, with their fields by name: a rebuilt document has them in any order."""
    return {repr(each["_id"]): encode(dict(sorted(each.items())), codec_options=CODEC_OPTIONS) for each in documents}


def check_outcomes(database: str, documents: dict[str, list[Document]]) -> None:
    """Check that the ledger has each document once, and that no mapping has taken one of another."""
    shares = {"vehicles": ("vehicles.cars", "vehicles.trucks"), "events": ("trips", "notes")}
    query = "SELECT collection, count(*) FROM migrator.ledger GROUP BY 1"
    reasons = "SELECT count(*) FROM migrator.rejects WHERE collection = 'vehicles.cars' AND reason = 'no_table'"
    with psycopg.connect(database) as connection:
        counts: dict[str, int] = dict(connection.execute(query).fetchall())
        row = connection.execute(reasons).fetchone()
    for name, found in documents.items():
        assert sum(counts[each] for each in shares.get(name, (name,))) == len(found)
    cars, trucks = Where("kind", ("car",)), Where("kind", ("truck", "van", 7))
    others = [each for each in documents["vehicles"] if not (cars.takes(each) or trucks.takes(each))]
    assert row == (len(others),)
    assert len(others) > 3


def test_archive_and_workers_give_the_same(new_database: Callable[[], str], tmp_path: Path) -> None:
    """A stream, which is read once for all mappings, and partitions in several processes give the same database."""
    digests = load_every_way(write_project, "fleet", Fleet(3, 400).collections(), new_database, tmp_path)
    assert digests[0] == digests[1] == digests[2]


def test_a_retry_moves_documents_to_another_mapping(new_database: Callable[[], str], tmp_path: Path) -> None:
    """A rejected document that another mapping takes now is loaded by it, as in a run; `--only` names the mappings."""
    database, fresh = new_database(), new_database()
    documents = Fleet(12, 80, dirt=0).collections()
    settings = write_project(tmp_path, database, documents)
    refused = call("run", "-c", settings, "--only", "vehicles")
    assert refused.code == 2
    assert "Use their names: vehicles.cars, vehicles.trucks" in refused.err
    assert call("run", "-c", settings).code == 0
    bikes = [each for each in documents["vehicles"] if each.get("kind") == "bike"]
    for each in bikes:
        each["kind"] = "van"
    write_documents(tmp_path, documents)
    retried = call("rejects", "retry", "-c", settings)
    assert retried.code == 0, retried.told
    expected = f"{len(bikes)} rejected documents of vehicles.cars: the mapping vehicles.trucks takes them now."
    assert expected in " ".join(retried.told.split())
    assert len(bikes) > 1
    verified = call("verify", "-c", settings, "--level", "roundtrip", "--json")
    assert [each for each in verified.json["checks"] if not each["ok"]] == []
    assert call("run", "-c", write_project(tmp_path / "fresh", fresh, documents)).code == 0
    assert everything(database) == everything(fresh)


def test_a_retry_takes_no_document_of_another_mapping(database: str, tmp_path: Path) -> None:
    """A rejected document was deleted; the one with its `_id` that another mapping has is not its version."""
    documents = Fleet(12, 80, dirt=0).collections()
    bike, truck = (
        next(each for each in documents["vehicles"] if each.get("kind") == kind) for kind in ("bike", "truck")
    )
    bike["_id"] = truck["_id"]
    settings = write_project(tmp_path, database, documents)
    assert call("run", "-c", settings).code == 0
    documents["vehicles"].remove(bike)
    write_documents(tmp_path, documents)
    query = "SELECT collection FROM migrator.ledger WHERE source_id = %s ORDER BY 1"
    retried = call("rejects", "retry", "-c", settings)
    assert retried.code == 0, retried.told
    assert "because other documents have the same `_id`" in " ".join(retried.told.split())
    with psycopg.connect(database) as connection:
        found = connection.execute(query, (raw_bson.source_id(encode(bike)),)).fetchall()
    assert found == [("vehicles.cars",), ("vehicles.trucks",)]


def write_documents(folder: Path, documents: dict[str, list[Document]]) -> None:
    """Replace the dump of a project."""
    write_folder(folder / "dump" / "fleet", {name: list(map(encode, found)) for name, found in documents.items()})


def test_a_long_text_that_only_its_compressed_form_lets_into_an_index(database: str, tmp_path: Path) -> None:
    """The index of a unique column holds it in the target, and where verify translates it again."""
    documents = Fleet(4, 20, dirt=0).collections()
    documents["customers"][0]["email"] = "x" * 3000
    settings = write_project(tmp_path, database, documents)
    assert call("run", "-c", settings).code == 0
    verified = call("verify", "-c", settings, "--json")
    assert [each for each in verified.json["checks"] if not each["ok"]] == []
