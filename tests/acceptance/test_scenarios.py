"""Every scenario through its whole life: plan → run → verify → revert → run, with what must come out of it."""

from __future__ import annotations

import uuid
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql

from tests.conftest import administer, with_database
from tests.driving import Answer, call, clear, digest_database, dump_database, hurried
from tests.scenarios import ExpectedRow, Scenario, read_scenario, scenario_names, write_config, write_dump

KNOWN: dict[str, str] = {}  # scenario → what is not yet as mapping-decisions.md wants it

SCENARIOS = [
    pytest.param(name, marks=[pytest.mark.xfail(strict=True, reason=KNOWN[name])] if name in KNOWN else [])
    for name in scenario_names()
]


@pytest.fixture(scope="module")
def place(server_url: str) -> Iterator[str]:
    """The URL of a database that the scenarios share: each leaves it as it was, which is part of what it shows."""
    name = f"scenarios_{uuid.uuid4().hex}"
    administer(server_url, "CREATE DATABASE {}", name)
    yield with_database(server_url, name)
    administer(server_url, "DROP DATABASE {} WITH (FORCE)", name)


@pytest.mark.parametrize("name", SCENARIOS)
def test_scenario(name: str, place: str, server_url: str, tmp_path: Path) -> None:
    """What plan foretells happens, is as expected, is proven, can be taken back, and happens again just so."""
    scenario = read_scenario(name)
    try:
        with hurried(server_url):
            live(scenario, place, prepare(scenario, place, tmp_path))
    finally:
        clear(place)


def live(scenario: Scenario, database: str, config: Path) -> None:
    before = dump_database(database)
    planned = call("plan", "-c", config, "--json")
    check_plan(scenario, planned)
    assert dump_database(database) == before

    outcome = run(config)
    check_outcome(scenario, outcome, planned.json)
    check_records(scenario, database)
    check_rows(database, scenario.expect.rows)
    check_absent(database, scenario.expect.absent)
    check_verified(call("verify", "-c", config, "--level", "roundtrip", "--json"), scenario)
    first = digest_database(database)

    assert call("revert", "-c", config, "--yes", "--json").code == 0
    assert dump_database(database) == before
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


def check_plan(scenario: Scenario, planned: Answer) -> None:
    assert planned.code == (3 if scenario.expect.blockers else 0), planned.told
    assert planned.json["blockers"] == scenario.expect.blockers


def check_outcome(scenario: Scenario, outcome: dict[str, Any], planned: dict[str, Any]) -> None:
    """Expected, foretold and reported are one; nothing is left over."""
    reported = {name: pick(counts) for name, counts in outcome["collections"].items()}
    foretold = {each["name"]: pick(each["predicted"]) for each in planned["source"]["collections"]}
    assert reported == scenario.expect.outcomes
    assert {name: counts for name, counts in foretold.items() if name in reported} == reported
    for name, counts in outcome["collections"].items():
        read = scenario.beside[name] if name in scenario.beside else len(scenario.documents[name])
        assert counts["source"] == read == sum(reported[name].values())


def pick(counts: dict[str, int]) -> dict[str, int]:
    return {outcome: counts[outcome] for outcome in ("loaded", "rejected", "archived")}


def check_records(scenario: Scenario, database: str) -> None:
    assert count_records(database, "rejects", "reason") == scenario.expect.rejects
    assert count_records(database, "findings", "code") == scenario.expect.findings


def count_records(database: str, relation: str, column: str) -> dict[str, dict[str, int]]:
    query = sql.SQL("SELECT collection, {column}, count(*) FROM migrator.{relation} GROUP BY 1, 2").format(
        column=sql.Identifier(column), relation=sql.Identifier(relation)
    )
    found: dict[str, dict[str, int]] = defaultdict(dict)
    with psycopg.connect(database, autocommit=True) as connection:
        for collection, name, count in connection.execute(query):
            found[collection][name] = count
    return dict(found)


def check_rows(database: str, rows: tuple[ExpectedRow, ...]) -> None:
    """Values are compared as PostgreSQL itself writes them, each cast to its column's type."""
    with psycopg.connect(database, autocommit=True) as connection:
        for row in rows:
            found = connection.execute(*select_columns(connection, row)).fetchone()
            assert found is not None, f"{row.table} has no row {row.id}"
            actual, wanted = (dict(zip(row.columns, values, strict=True)) for values in found)
            assert actual == wanted, f"{row.table} {row.id}"


def select_columns(connection: psycopg.Connection[Any], row: ExpectedRow) -> tuple[sql.Composed, dict[str, str | None]]:
    """One row of two arrays: what there is and what is expected."""
    types = "SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute WHERE attrelid = %s::regclass"
    kinds: dict[str, str] = dict(connection.execute(types, (f"public.{row.table}",)).fetchall())
    actual = [sql.SQL("{}::text").format(sql.Identifier(name)) for name in row.columns]
    wanted = [sql.SQL("{}::{}::text").format(sql.Placeholder(n), sql.SQL(kinds[n])) for n in row.columns]
    query = sql.SQL("SELECT ARRAY[{}], ARRAY[{}] FROM {} WHERE id::text = {}").format(
        sql.SQL(", ").join(actual), sql.SQL(", ").join(wanted), sql.Identifier(row.table), sql.Literal(row.id)
    )
    return query, row.columns


def check_absent(database: str, absent: dict[str, list[str]]) -> None:
    with psycopg.connect(database, autocommit=True) as connection:
        for table, ids in absent.items():
            query = sql.SQL("SELECT id::text FROM {} WHERE id::text = ANY(%s)").format(sql.Identifier(table))
            assert connection.execute(query, (ids,)).fetchall() == []


def check_verified(answer: Answer, scenario: Scenario) -> None:
    report = answer.json
    assert [check for check in report.get("checks", [report]) if not check.get("ok")] == []
    assert (answer.code, report["ok"]) == (0, True)
    assert {name: pick(counts) for name, counts in report["collections"].items()} == scenario.expect.outcomes
