"""A corruption at a time, in a migrated database or its source: `verify` finds each and names it."""

from __future__ import annotations

import random
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest

from tests.conftest import administer, with_database
from tests.driving import Answer, call, hurried
from tests.mutations import KINDS, Bench, Planted
from tests.mutations.documents import DOCUMENTS
from tests.mutations.dump import make_dump
from tests.scenarios import write_config

TIMES = 5
# One of each sort for every day; all of them, and often, in the long tests.
DAILY = (
    "row gone", "row added", "text: a trailing space", "timestamp: a millisecond later", "jsonb: an array's order",
    "null: a value lost", "parent: moved into another conversation",
    "a ring of messages", "tenant: what a row refers to is another's", "id: not a v7, in the ledger neither",
    "ledger: an entry of a loaded document lost", "ledger: an id that is none", "residue: damaged",
    "rejects: a document changed", "findings: one lost", "journal: a batch lost",
    "foreign key: NOT VALID, with an orphan behind it", "index: of the same name on another column",
    "policy: really lets everybody see", "enum: a label renamed", "table: gone", "rights: granted to everybody",
    "source: a field removed", "source: a document added", "source: a rejected document changed",
)  # fmt: skip
SEED = 20261124


@dataclass(frozen=True, slots=True)
class Migrated:
    """A finished migration, to be copied."""

    server: str
    database: str
    dump: Path
    folder: Path


@pytest.fixture(scope="module")
def migrated(server_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Migrated]:
    folder = tmp_path_factory.mktemp("mutations")
    name = f"mutations_{uuid.uuid4().hex}"
    administer(server_url, "CREATE DATABASE {}", name)
    database, dump = with_database(server_url, name), make_dump(folder / "dump")
    config = write_config(folder / "migrate.toml", f"dump:{dump}", database, {"engine": {"workers": 1}})
    assert call("run", "-c", config).code == 0
    yield Migrated(server_url, database, dump, folder)
    administer(server_url, "DROP DATABASE {} WITH (FORCE)", name)


@contextmanager
def copied(migrated: Migrated, *, dump: bool = False) -> Iterator[tuple[str, Path]]:
    """A database with the same content, and its dump, a copy where that is going to be changed."""
    name = f"mutation_{uuid.uuid4().hex}"
    with psycopg.connect(migrated.server, autocommit=True) as connection:
        template = urlsplit(migrated.database).path[1:]
        connection.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}" STRATEGY file_copy'.encode())
    folder = migrated.dump
    if dump:
        folder = migrated.folder / name
        shutil.copytree(migrated.dump, folder)
    try:
        yield with_database(migrated.server, name), folder
    finally:
        administer(migrated.server, "DROP DATABASE {} WITH (FORCE)", name)
        if dump:
            shutil.rmtree(folder)


def verify(migrated: Migrated, database: str, dump: Path, *more: str) -> Answer:
    config = write_config(migrated.folder / "copy.toml", f"dump:{dump}", database, {"engine": {"workers": 1}})
    with hurried(migrated.server):
        return call("verify", "-c", config, "--level", "roundtrip", "--json", *more)


def plant(migrated: Migrated, kind: str, seed: int) -> tuple[Planted, Answer]:
    with copied(migrated, dump=kind in DOCUMENTS) as (database, dump):
        with psycopg.connect(database, autocommit=True) as connection:
            planted = KINDS[kind](Bench(connection, dump, random.Random(seed)))
        return planted, verify(migrated, database, dump)


def names(planted: Planted, answer: Answer) -> bool:
    """Whether what was planted is told of, as it should be."""
    return any(
        found["row"].startswith(planted.row)
        and found["column"].startswith(planted.column)
        and found["fault"] == planted.fault
        for check in answer.json["checks"]
        if check["check"] in planted.checks
        for found in check["found"]
    )


def failed(answer: Answer) -> list[Any]:
    checks = answer.json.get("checks", [answer.json])
    return [(each.get("check"), each.get("table"), each.get("examples")) for each in checks if not each.get("ok")]


def test_clean(migrated: Migrated) -> None:
    """A database that nobody has touched: no difference, whatever the level."""
    with copied(migrated) as (database, dump):
        answer = verify(migrated, database, dump)
    assert (answer.code, failed(answer)) == (0, [])


def test_kinds_are_many() -> None:
    """No fewer than the bar wants, and the daily ones are among them."""
    assert len(KINDS) >= 40
    assert set(DAILY) <= KINDS.keys()


@pytest.mark.parametrize("kind", DAILY)
def test_planted(kind: str, migrated: Migrated) -> None:
    """Each kind of corruption is found, by the check that it should be, with row, column and whose fault it is."""
    check_planted(migrated, kind, SEED)


@pytest.mark.long
@pytest.mark.parametrize("kind", KINDS)
def test_planted_often(kind: str, migrated: Migrated) -> None:
    """The same, in several places at random."""
    for number in range(TIMES):
        check_planted(migrated, kind, random.randrange(1 << 32) + number)


def check_planted(migrated: Migrated, kind: str, seed: int) -> None:
    planted, answer = plant(migrated, kind, seed)
    assert answer.code == 4, f"{kind} (seed {seed}), {planted}: {answer.told[:2000]}"
    assert names(planted, answer), f"{kind} (seed {seed}): {planted} is not among {failed(answer)}"
