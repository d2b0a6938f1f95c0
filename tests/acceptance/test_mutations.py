"""One mutation of a migrated database or its source at a time: `verify` reports each."""

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

from tests.conftest import CREATE_DATABASE, administer, with_database
from tests.driving import Answer, call, hurried
from tests.mutations import MUTATIONS, Expectation, MutationContext
from tests.mutations.documents import DOCUMENTS
from tests.mutations.dump import make_dump
from tests.scenarios import write_config

TIMES = 5
# A selection for the normal test run. The long tests run all mutations several times.
DAILY = (
    "row deleted", "row inserted", "text: trailing space added",
    "jsonb: array order changed", "parent: message of another conversation",
    "parent cycle", "tenant: reference to another tenant's row", "ID: not a version 7 UUID, also in the ledger",
    "ledger: entry of a loaded document deleted", "residue: damaged",
    "rejects: document changed", "findings: finding deleted",
    "foreign key: NOT VALID, with a dangling reference", "index: same name, other column",
    "policy: added with USING (true)", "enum: label renamed", "privileges: granted to PUBLIC",
    "source: field removed", "source: rejected document changed",
)  # fmt: skip
SEED = 20261124


@dataclass(frozen=True, slots=True)
class Migrated:
    """A completed migration that the tests copy."""

    server: str
    database: str
    dump: Path
    folder: Path


@pytest.fixture(scope="module")
def migrated(server_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Migrated]:
    folder = tmp_path_factory.mktemp("mutations")
    name = f"mutations_{uuid.uuid4().hex}"
    administer(server_url, CREATE_DATABASE, name)
    database, dump = with_database(server_url, name), make_dump(folder / "dump")
    config = write_config(folder / "migrate.toml", f"dump:{dump}", database, {"engine": {"workers": 1}})
    assert call("run", "-c", config).code == 0
    yield Migrated(server_url, database, dump, folder)
    administer(server_url, "DROP DATABASE {} WITH (FORCE)", name)


@contextmanager
def copied(migrated: Migrated, *, dump: bool = False) -> Iterator[tuple[str, Path]]:
    """Yield a copy of the database, and the dump; the dump is copied only if the test changes it."""
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


def inject(migrated: Migrated, name: str, seed: int) -> tuple[Expectation, Answer]:
    with copied(migrated, dump=name in DOCUMENTS) as (database, dump):
        with psycopg.connect(database, autocommit=True) as connection:
            expected = MUTATIONS[name](MutationContext(connection, dump, random.Random(seed)))
        return expected, verify(migrated, database, dump)


def is_reported(expected: Expectation, answer: Answer) -> bool:
    """Tell whether `verify` reports the expected row, column and likely cause."""
    return any(
        found["row"].startswith(expected.row)
        and found["column"].startswith(expected.column)
        and found["fault"] == expected.fault
        for check in answer.json["checks"]
        if check["check"] in expected.checks
        for found in check["found"]
    )


def failed(answer: Answer) -> list[Any]:
    checks = answer.json.get("checks", [answer.json])
    return [(each.get("check"), each.get("table"), each.get("examples")) for each in checks if not each.get("ok")]


def test_clean(migrated: Migrated) -> None:
    """An unchanged database has no differences."""
    with copied(migrated) as (database, dump):
        answer = verify(migrated, database, dump)
    assert (answer.code, failed(answer)) == (0, [])


def test_number_of_mutations() -> None:
    """There are at least 40 mutations, and the selection is a part of them."""
    assert len(MUTATIONS) >= 40
    assert set(DAILY) <= MUTATIONS.keys()


@pytest.mark.parametrize("name", DAILY)
def test_mutation(name: str, migrated: Migrated) -> None:
    """The expected check reports each mutation, with row, column and likely cause."""
    check_mutation(migrated, name, SEED)


@pytest.mark.long
@pytest.mark.parametrize("name", MUTATIONS)
def test_mutations_often(name: str, migrated: Migrated) -> None:
    """All mutations are reported, several times with random seeds."""
    for number in range(TIMES):
        check_mutation(migrated, name, random.randrange(1 << 32) + number)


def check_mutation(migrated: Migrated, name: str, seed: int) -> None:
    expected, answer = inject(migrated, name, seed)
    assert answer.code == 4, f"{name} (seed {seed}), {expected}: {answer.told[:2000]}"
    assert is_reported(expected, answer), f"{name} (seed {seed}): {expected} is not among {failed(answer)}"
