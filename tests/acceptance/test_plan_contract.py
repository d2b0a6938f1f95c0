"""`plan --out` and `run --plan`: what was planned is executed, resumed, or refused; and comes out as foretold."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from unittest.mock import patch

import psycopg
import pytest

from migrator.events import Event, StepFinished
from migrator.terminal.console import Console
from tests.archive_writer import write_folder
from tests.driving import call
from tests.scenarios import write_config
from tests.talks import make_talks

pytestmark = pytest.mark.usefixtures("quick")

OTHER = "0190b5a0-0000-7000-8000-00000000000e"


@pytest.fixture
def config(database: str, tmp_path: Path) -> Path:
    dump = write_folder(tmp_path / "dump", make_talks(messages=200))
    return write_config(tmp_path / "migrate.toml", f"dump:{dump}", database)


@pytest.fixture
def plan(config: Path, tmp_path: Path) -> Path:
    path = tmp_path / "plan.json"
    assert call("plan", "-c", config, "--out", path).code == 0
    return path


def execute(database: str, statements: str) -> None:
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(statements.encode())


def test_everything_comes_out_as_foretold(config: Path, plan: Path) -> None:
    """Not the counts only: rows by table, and every code of findings and rejects in every collection."""
    told: dict[str, Any] = json.loads(plan.read_text())
    ran = call("run", "--plan", plan, "--json", "-c", config)
    assert ran.code == 0, ran.told
    assert "the result differs from the plan" not in ran.err
    assert {name: count for name, count in told["tables"].items() if count} == {
        name: count for name, count in ran.json["tables"].items() if count
    }
    for kind, severity in (("rejects", {"reject"}), ("findings", {"info", "warning"})):
        foretold: dict[str, int] = {}
        for each in (f for c in told["source"]["collections"] for f in c["findings"] if f["severity"] in severity):
            foretold[each["code"]] = foretold.get(each["code"], 0) + each["count"]
        assert foretold == ran.json[kind]


def test_a_stopped_run_goes_on_with_its_plan(config: Path, plan: Path) -> None:
    """The same command, plan and all, goes on: what the run itself has made in the target does not count as moved."""

    def emit(console: Console, event: Event) -> None:
        if isinstance(event, StepFinished) and event.step == "load messages":
            raise KeyboardInterrupt

    with patch.object(Console, "emit", emit):
        assert call("run", "--plan", plan, "-c", config).code == 5
    assert call("run", "--plan", plan, "-c", config).code == 0
    assert call("run", "--plan", plan, "-c", config).code == 0  # nothing left to do


def test_workers_are_no_setting_of_a_plan(config: Path, plan: Path) -> None:
    """How many work at it changes nothing of the outcome."""
    assert call("run", "--plan", plan, "--workers", 1, "-c", config).code == 0


def test_a_rehearsal_takes_a_plan(config: Path, plan: Path) -> None:
    """run --dry-run --plan: the plan fits, though a rehearsal asks no service for embeddings."""
    assert call("run", "--dry-run", "--plan", plan, "-c", config).code == 0


def refuse(config: Path, plan: Path, said: str) -> None:
    answer = call("run", "--plan", plan, "-c", config)
    assert answer.code == 3, answer.told
    assert said in answer.err


def test_a_plan_with_less_in_it_is_refused(config: Path, plan: Path) -> None:
    """A plan that does not say what it was made from fits nothing."""
    for name in ("source", "target", "mappings", "configuration"):
        told = json.loads(plan.read_text())
        del told["fingerprints"][name]
        (other := plan.with_name("other.json")).write_text(json.dumps(told))
        refuse(config, other, name)


def test_an_empty_target_that_was_filled_is_refused(database: str, config: Path, plan: Path) -> None:
    """Planned for an empty database; now the application's schema is there."""
    execute(database, call("schema", "-c", config).out)
    refuse(config, plan, "target")


def test_an_embedded_target_made_meanwhile(config: Path, tmp_path: Path) -> None:
    """Planned before there was a target: an empty one is as good, one with tables is another."""
    url = f"embedded:{tmp_path / 'postgres'}"
    other = write_config(tmp_path / "other.toml", f"dump:{tmp_path / 'dump'}", url)
    plan = tmp_path / "embedded.json"
    assert call("plan", "-c", other, "--out", plan).code == 0
    with patch("migrator.commands.run.run_migration", side_effect=KeyboardInterrupt):
        assert call("run", "--plan", plan, "-c", other).code == 5  # it fits: the target is made, and empty
    made = call("psql", "-c", other, "--", "-c", "CREATE TABLE tenants (id uuid)")
    assert made.code == 0, made.told
    refuse(other, plan, "target")


def test_mappings_that_moved_on_are_refused(config: Path, plan: Path) -> None:
    """A rule of a mapping is another one now."""
    with patch("migrator.mapping.loader._fingerprint", lambda packages: "another"):
        refuse(config, plan, "mappings")


def test_rows_of_others_that_came_since_are_told(database: str, config: Path, tmp_path: Path) -> None:
    """Another tenant took an e-mail between plan and run: the run says that it is not as foretold, and where."""
    execute(database, call("schema", "-c", config).out)
    plan = tmp_path / "plan.json"
    assert call("plan", "-c", config, "--out", plan).code == 0
    with psycopg.connect(database) as connection:
        connection.execute("INSERT INTO tenants (id, name, subdomain) VALUES (%s, 'Other', 'other')", (OTHER,))
        connection.execute("INSERT INTO users (tenant_id, email) VALUES (%s, 'u7@example.com')", (OTHER,))
    answer = call("run", "--plan", plan, "-c", config)
    assert answer.code == 0, answer.told
    assert "the result differs from the plan" in answer.told
    assert "users" in answer.told.partition("the result differs from the plan")[2]
