"""Random databases of colliding IDs (tests/collisions.py): the result depends on the documents alone.

Each database is run twice: with one worker and with two, with other batches, and with the documents in another order.
A failure names the seed.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql

from migrator.verification.record_diff import sort_fields
from tests.archive_writer import write_folder
from tests.collisions import Database, make_database
from tests.driving import RECORDS, call, clear, dump_database, hurried
from tests.scenarios import write_config

pytestmark = pytest.mark.usefixtures("quick")

QUICK = 1
LONG = 50
BSON = ("residue", "document")


@pytest.mark.parametrize("seed", range(QUICK))
def test_collisions(seed: int, database: str, server_url: str, tmp_path: Path) -> None:
    """Two runs give identical tables, verify finds no difference, revert restores the target."""
    check_seed(seed, database, server_url, tmp_path)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(QUICK, LONG))
def test_more_collisions(seed: int, database: str, server_url: str, tmp_path: Path) -> None:
    """The same with more seeds."""
    check_seed(seed, database, server_url, tmp_path)


def check_seed(seed: int, url: str, server_url: str, folder: Path) -> None:
    found = make_database(seed)
    with hurried(server_url):
        before = dump_database(url)
        first = migrate(found, {"batch_rows": 27, "workers": 1}, url, folder / "first")
        assert dump_database(url) == before
        second = migrate(found.shuffled(seed), {"batch_rows": 4, "workers": 2}, url, folder / "second")
        assert dump_database(url) == before
    for name in first:
        assert first[name] == second[name], name


def migrate(found: Database, engine: dict[str, int], url: str, folder: Path) -> dict[str, list[str]]:
    """Run, verify and revert; return the rows of the tables and of the records."""
    source = write_folder(folder / "dump", found.documents, gzipped=False)
    settings = {**found.settings, "engine": engine}
    config = write_config(folder / "migrate.toml", f"dump:{source}", url, settings)
    answer = call("run", "-c", config, "--json")
    assert answer.code == 0, answer.told
    rows = dict(read_all(url))
    answer = call("verify", "-c", config, "--level", "roundtrip", "--json")
    assert answer.code == 0, [check for check in answer.json.get("checks", []) if not check.get("ok")][:3]
    answer = call("revert", "-c", config, "--yes", "--json")
    assert answer.code == 0, answer.told
    return rows


def read_all(url: str) -> Iterator[tuple[str, list[str]]]:
    """Yield every table and every record of documents, with its rows as sorted text."""
    with psycopg.connect(url, autocommit=True) as connection:
        query = "SELECT tablename FROM pg_tables WHERE schemaname = 'public' AND tablename <> 'tenants' ORDER BY 1"
        for (name,) in connection.execute(query).fetchall():
            yield name, read_rows(connection, sql.Identifier("public", name), "*")
        for name, columns in RECORDS.items():
            yield f"migrator.{name}", read_rows(connection, sql.Identifier("migrator", name), columns)


def read_rows(connection: psycopg.Connection[Any], table: sql.Identifier, columns: str) -> list[str]:
    with connection.cursor(binary=True) as cursor:
        cursor.execute(sql.SQL("SELECT {} FROM {}").format(sql.SQL(columns), table))
        names = [column.name for column in cursor.description or ()]
        return sorted(repr([describe(name, value) for name, value in zip(names, row, strict=True)]) for row in cursor)


def describe(name: str, value: Any) -> Any:
    """Return a value; BSON with sorted fields, because a document that was a row for a time may have another order."""
    return sort_fields(bytes(value)) if name in BSON and value is not None else value


@pytest.fixture(autouse=True)
def cleared(database: str) -> Iterator[None]:
    """Leave an empty database, also after a failure."""
    yield
    clear(database)
