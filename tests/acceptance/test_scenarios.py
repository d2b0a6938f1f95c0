"""Every scenario: plan → run → verify → revert, with what must come out of it.

Scenarios without settings share a dump with others (tests/packs.py); some run a second time after the revert. The long
tests run each scenario alone, twice.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.conftest import CREATE_DATABASE, administer, with_database
from tests.driving import call, clear, digest_database, dump_database, hurried
from tests.packs import Pack, make_packs
from tests.scenario_checks import (
    check_absent,
    check_outcome,
    check_own_records,
    check_plan,
    check_records,
    check_rows,
    check_verified,
)
from tests.scenarios import Scenario, read_scenario, scenario_names, write_config, write_dump

PACKS = {scenario.name: pack for pack in make_packs() for scenario in pack.scenarios}
# Alone in their dump, and yet run a second time after the revert: rows of others, merged accounts, merged recordings.
TWICE_IN = 5  # every fifth pack, and all scenarios in the long tests
RUN_TWICE = ("target-filled", "emails-merged-chain", "recordings-several")


def list_scenarios() -> Iterator[Any]:
    """Yields the names; scenarios of one pack stay in one test process."""
    for name in scenario_names():
        group = f"scenarios-{PACKS[name].number}" if name in PACKS else f"scenario-{name}"
        yield pytest.param(name, marks=pytest.mark.xdist_group(group))


@pytest.fixture(scope="module")
def place(server_url: str) -> Iterator[str]:
    """The URL of a database that the scenarios share: each leaves it as it was, which is part of what it shows."""
    name = f"scenarios_{uuid.uuid4().hex}"
    administer(server_url, CREATE_DATABASE, name)
    yield with_database(server_url, name)
    administer(server_url, "DROP DATABASE {} WITH (FORCE)", name)


@pytest.fixture(scope="module")
def migrate_pack(place: str, server_url: str, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Migrates a pack, once; returns what is wrong with single scenarios, by name."""

    @cache
    def migrate(number: int) -> dict[str, AssertionError]:
        pack = make_packs()[number]
        folder, twice = tmp_path_factory.mktemp("pack"), number % TWICE_IN == 0
        return migrate_scenario(pack.merge(), place, server_url, folder, pack=pack, twice=twice)

    return migrate


@pytest.mark.parametrize("name", list(list_scenarios()))
def test_scenario(name: str, place: str, server_url: str, migrate_pack: Any, tmp_path: Path) -> None:
    """The run does what the plan predicts, has the expected result, is verified, and can be reverted."""
    if name in PACKS:
        problems = migrate_pack(PACKS[name].number)
        if name in problems:
            raise problems[name]
    else:
        migrate_scenario(read_scenario(name), place, server_url, tmp_path, twice=name in RUN_TWICE)


@pytest.mark.long
@pytest.mark.parametrize("name", scenario_names())
def test_scenario_alone(name: str, place: str, server_url: str, tmp_path: Path) -> None:
    """The same with each scenario in a dump of its own; a second run after the revert gives the same database."""
    migrate_scenario(read_scenario(name), place, server_url, tmp_path)


def migrate_scenario(
    scenario: Scenario, database: str, server_url: str, folder: Path, *, pack: Pack | None = None, twice: bool = True
) -> dict[str, AssertionError]:
    """Takes a scenario through its life in an empty database, which is empty again afterwards."""
    problems: dict[str, AssertionError] = {}
    try:
        with hurried(server_url):
            config = prepare(scenario, database, folder)
            before = dump_database(database)
            check_first_run(scenario, database, config, before)
            for each in pack.scenarios if pack else ():
                try:
                    check_own_records(each, database)
                except AssertionError as error:
                    problems[each.name] = error
            check_reverted(database, config, before, twice=twice)
    finally:
        clear(database)
    return problems


def check_first_run(scenario: Scenario, database: str, config: Path, before: str) -> None:
    """Plan, run and verification; `before` is how pg_dump sees the database."""
    planned = call("plan", "-c", config, "--json")
    check_plan(scenario, planned)
    assert dump_database(database) == before
    outcome = run(config)
    check_outcome(scenario, outcome, planned.json)
    check_records(scenario, database)
    check_rows(database, scenario.expect.rows)
    check_absent(database, scenario.expect.absent)
    check_verified(call("verify", "-c", config, "--level", "roundtrip", "--json"), scenario)


def check_reverted(database: str, config: Path, before: str, *, twice: bool) -> None:
    """The revert restores the database; a second run gives what the first one gave."""
    first = digest_database(database)
    assert call("revert", "-c", config, "--yes", "--json").code == 0
    assert dump_database(database) == before
    if twice:
        run(config)
        assert digest_database(database) == first


def prepare(scenario: Scenario, database: str, folder: Path) -> Path:
    """The dump, the configuration, and what stands in the target before."""
    source = write_dump(scenario, folder / "dump")
    config = write_config(folder / "migrate.toml", f"dump:{source}", database, scenario.settings)
    if scenario.before is not None:
        schema = call("schema", "-c", config)
        assert schema.code == 0, schema.told
        with psycopg.connect(database, autocommit=True) as connection:
            connection.execute(schema.out.encode())
            connection.execute(scenario.before.encode())
    return config


def run(config: Path) -> dict[str, Any]:
    answer = call("run", "-c", config, "--json")
    assert answer.code == 0, answer.told
    report: dict[str, Any] = answer.json
    return report
