"""`run --dry-run`: the report of a run, without one; nothing is left behind, no content of others leaves the target."""

from __future__ import annotations

import tempfile
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch
from xml.etree import ElementTree

import psycopg
import pytest

from migrator.events import Event
from migrator.mapping.loader import load_settings
from migrator.targets.base import Target
from migrator.targets.ephemeral import PREFIX
from migrator.workflows import dry_run
from migrator.workflows.run import run_migration
from tests.archive_writer import write_folder
from tests.conftest import administer
from tests.driving import call, dump_database
from tests.integration.schemas import CONTRACT
from tests.scenarios import read_scenario, scenario_names, write_config, write_dump
from tests.talks import make_talks

SAME = ("collections", "tables", "findings", "rejects", "status")


@pytest.fixture
def config(database: str, tmp_path: Path) -> Path:
    dump = write_folder(tmp_path / "dump", make_talks(messages=200))
    return write_config(tmp_path / "migrate.toml", f"dump:{dump}", database)


def execute(database: str, statements: str) -> None:
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(statements.encode())


def left_over() -> set[Path]:
    return set(Path(tempfile.gettempdir()).glob("migrate-scratch-*"))


def test_it_says_what_a_run_says(database: str, config: Path, tmp_path: Path) -> None:
    """In an embedded PostgreSQL of its own: the run's report, every check, the downtime by stage; nothing is left."""
    before, folders, junit = dump_database(database), left_over(), tmp_path / "junit.xml"
    answer = call("run", "--dry-run", "--json", "--junit", junit, "-c", config)
    assert answer.code == 0, answer.told
    assert dump_database(database) == before
    assert left_over() <= folders
    rehearsed = answer.json
    suite = ElementTree.parse(junit).getroot()
    assert (suite.get("failures"), int(suite.get("tests", ""))) == ("0", len(rehearsed["verify"]["checks"]))
    estimate = rehearsed["estimate"]
    assert {"prepare", "load", "reconcile", "post-data", "verify", "other"} == estimate["stages"].keys()
    assert abs(sum(estimate["stages"].values()) - estimate["seconds"]) < 0.2
    assert (rehearsed["dry_run"], rehearsed["verify"]["ok"]) == (True, True)
    ran = call("run", "--json", "-c", config).json
    assert {key: ran[key] for key in SAME} == {key: rehearsed[key] for key in SAME}


def test_a_filled_target_is_rehearsed_as_it_is(quick: None, database: str, tmp_path: Path) -> None:
    """Rows of others are in the way of the rehearsal as they will be of the run; their texts stay where they are."""
    scenario = read_scenario("target-filled")
    config = write_config(tmp_path / "migrate.toml", f"dump:{write_dump(scenario, tmp_path / 'dump')}", database)
    assert scenario.before is not None
    execute(database, CONTRACT + scenario.before)
    before, seen = dump_database(database), []

    def look(context: Any, database: Target) -> Any:
        seen.append(dump_database(database.dsn))
        return verify(context, database)

    verify = dry_run.verify_dry_run
    with patch("migrator.workflows.dry_run.verify_dry_run", look):
        answer = call("run", "--dry-run", "--json", "-c", config)
    assert answer.code == 0, answer.told
    assert answer.json["rows_of_others"] == 6
    assert dump_database(database) == before
    assert "theirs" not in seen[0].lower()
    ran = call("run", "--json", "-c", config).json
    assert {key: ran[key] for key in SAME} == {key: answer.json[key] for key in SAME}


@pytest.mark.long
@pytest.mark.parametrize("name", scenario_names())
def test_every_scenario(name: str, quick: None, database: str, tmp_path: Path) -> None:
    """The rehearsal and the run of every scenario say the same."""
    scenario = read_scenario(name)
    source = write_dump(scenario, tmp_path / "dump")
    config = write_config(tmp_path / "migrate.toml", f"dump:{source}", database, scenario.settings)
    if scenario.before is not None:
        execute(database, call("schema", "-c", config).out + scenario.before)
    answer = call("run", "--dry-run", "--json", "-c", config)
    assert answer.code == 0, answer.told
    ran = call("run", "--json", "-c", config).json
    assert {key: ran[key] for key in SAME} == {key: answer.json[key] for key in SAME}


def databases(server_url: str) -> set[str]:
    with psycopg.connect(server_url, autocommit=True) as connection:
        return {row[0] for row in connection.execute("SELECT datname FROM pg_database")}


def test_beside_the_target(server_url: str, database: str, config: Path) -> None:
    """In a database of the target's own server: dropped at the end, as are those that killed rehearsals left."""
    administer(server_url, "CREATE DATABASE {}", f"{PREFIX}killed_{uuid.uuid4().hex}")
    before = dump_database(database)
    answer = call("run", "--dry-run", "--rehearse-in", "target", "--json", "-c", config)
    assert (answer.code, answer.json["estimate"]["measured_in"]) == (0, "target")
    assert not [name for name in databases(server_url) if name.startswith(PREFIX)]
    assert dump_database(database) == before


def test_a_role_without_the_right_is_told(server_url: str, database: str, config: Path) -> None:
    """Who may not make databases is told what to do."""
    execute(server_url, "DROP ROLE IF EXISTS modest; CREATE ROLE modest")
    execute(database, "CREATE EXTENSION vector; GRANT CREATE ON SCHEMA public TO modest")
    name = psycopg.conninfo.conninfo_to_dict(database)["dbname"]
    execute(server_url, f'GRANT CREATE ON DATABASE "{name}" TO modest')
    url = database + ("&" if "?" in database else "?") + "options=-crole%3Dmodest"
    other = write_config(config.parent / "other.toml", f"dump:{config.parent / 'dump'}", url)
    answer = call("run", "--dry-run", "--rehearse-in", "target", "-c", other)
    execute(database, "DROP OWNED BY modest")
    execute(server_url, "DROP OWNED BY modest; DROP ROLE modest")
    assert answer.code == 7, answer.told
    assert "CREATEDB" in answer.err


def test_a_wrong_result_is_4(quick: None, database: str, config: Path, tmp_path: Path) -> None:
    """What the verification of the rehearsal finds ends with exit code 4, and is in the JUnit file."""

    def spoil(context: Any, database: Target, *others: Any) -> Any:
        report = run(context, database, *others)
        execute(
            database.dsn,
            "UPDATE messages SET content = content || '!' WHERE id = (SELECT min(id::text) FROM messages)::uuid",
        )
        return report

    run, junit = run_migration, tmp_path / "junit.xml"
    with patch("migrator.workflows.dry_run.run_migration", spoil):
        answer = call("run", "--dry-run", "--json", "--junit", junit, "-c", config)
    assert (answer.code, answer.json["verify"]["ok"]) == (4, False)
    assert ElementTree.parse(junit).getroot().get("failures") != "0"


REFUSED: dict[str, tuple[int, tuple[str, ...], str]] = {
    "a table in the way": (3, (), "CREATE TABLE users (id integer PRIMARY KEY)"),
    "--junit alone": (2, ("--junit", "x.xml"), ""),
    "nowhere": (2, ("--rehearse-in", "nowhere"), ""),
    "--junit and --only": (2, ("--dry-run", "--junit", "x.xml", "--only", "users"), ""),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_is_refused(what: str, quick: None, database: str, config: Path) -> None:
    """What is in the way of the run, and options that do not go together."""
    code, arguments, statement = REFUSED[what]
    if statement:
        execute(database, statement)
    answer = call("run", *(arguments or ("--dry-run",)), "-c", config)
    assert answer.code == code, answer.told


def test_a_migrated_target_is_no_place_to_begin(quick: None, database: str, config: Path) -> None:
    """With a migration in the target the rehearsal of another beginning would tell nothing: exit code 2."""
    assert call("run", "-c", config).code == 0
    answer = call("run", "--dry-run", "-c", config)
    assert answer.code == 2
    assert "this target already contains a migration" in answer.err


def test_only_some_collections(quick: None, database: str, config: Path) -> None:
    """With --only these are loaded, and nothing is verified."""
    answer = call("run", "--dry-run", "--only", "users", "--json", "-c", config)
    assert (answer.code, answer.json["verify"]) == (0, None)
    assert answer.json["collections"].keys() == {"users"}


def test_without_a_target(new_database: Callable[[], str], config: Path, tmp_path: Path) -> None:
    """An embedded target that is not there yet is not made by a rehearsal."""
    embedded = tmp_path / "postgres"
    other = write_config(tmp_path / "other.toml", f"dump:{tmp_path / 'dump'}", f"embedded:{embedded}")
    assert call("run", "--dry-run", "-q", "-c", other).code == 0
    assert not embedded.exists()


def test_nothing_is_paid_for(config: Path) -> None:
    """No service is asked for embeddings, and no cluster for its workers; both is said."""
    settings = load_settings(config, {
        "MIGRATE_EMBEDDING__PROVIDER": "openai", "MIGRATE_EMBEDDING__API_KEY": "k",
        "MIGRATE_ENGINE__EXECUTOR": "dask://127.0.0.1:8786",
    })  # fmt: skip
    heard: list[Event] = []
    made = dry_run.offline_config(settings, heard.append)
    assert (made.embedding.provider, made.engine.executor, len(heard)) == ("none", "local", 2)
