"""Planted secrets: nothing of the configuration's, and nothing of a document's values, gets out where others read.

What may hold values by contract (rows, residues, rejected and archived documents; `rejects show`, `rejects export`,
`export`, `revert --save`) is looked through for the configuration's only. Where else a secret may be put, and what may
go wrong then: test_secrets_in_settings.
"""

from __future__ import annotations

from pathlib import Path
from typing import LiteralString
from unittest.mock import patch
from urllib.parse import quote

import psycopg
import pytest
from psycopg import sql

from migrator.commands.registry import COMMANDS
from migrator.commands.rejects import rejects_app
from tests.driving import hurried, spawn
from tests.scenarios import write_config
from tests.security.planting import ASKED, MONGO, PASSWORD, PLANT, ask, check

JOURNAL: dict[str, LiteralString] = {
    "runs": "*", "steps": "*", "partitions": "*", "batches": "*", "heartbeats": "*", "metadata": "*", "findings": "*",
    "schema_changes": "*", "rejects": "collection, reason, detail", "links": "*",
}  # fmt: skip


def test_nothing_planted_gets_out(config: Path, database: str, server_url: str, tmp_path: Path, logs: Path) -> None:
    """Every command, in words and as JSON, quiet and verbose; its files; the journal."""
    ASKED.clear()
    told, kept = tmp_path / "told", tmp_path / "kept"  # files without values, and those that are there to hold them
    told.mkdir()
    kept.mkdir()
    plan, proof = told / "plan.json", told / "verify.json"
    ask("init", told / "starter.toml", "-v")
    ask("id", "users", "64baaaafd882a3fac3fb6a01", "-c", config)
    ask("version")
    ask("scaffold", told / "draft", "-c", config, "-v")
    ask("scaffold", told / "again", "-c", config, "--json")
    ask("check", "-c", config, "-v")
    ask("check", "-c", config, "--json")
    with hurried(server_url):
        ask("plan", "-c", config, "--out", plan, "-v")
        ask("plan", "-c", config, "--details", "users")
        ask("run", "--dry-run", "-c", config, "--junit", told / "dry.xml", "-v")
        ask("run", "--dry-run", "-c", config, "--json")
    ask("report", "--plan", plan, "--html", told / "p.html")
    ask("run", "-c", config, "-v")
    ask("run", "-c", config, "--json")
    for command in ("follow", "cutover", "complete"):  # a dump does not change
        ask(command, "-c", config, code=2)
    ask("status", "-c", config)
    ask("status", "-c", config, "--watch", "--json")
    prove(config, proof, code=0)
    ask("report", "-c", config, "--json")
    rejects = ask("rejects", "list", "-c", config, "--json").json["rejects"]
    ask("rejects", "list", "-c", config)
    ask("rejects", "show", rejects[0]["id"], "-c", config, values=False)
    ask("rejects", "export", kept / "rejects.jsonl", "-c", config)
    ask("rejects", "retry", "-c", config)
    ask("schema", "-c", config, "--json")
    ask("embed", "-c", config, "-v")
    ask("psql", "-c", config, "--", "-f", tmp_path / "no.sql", code=1, by=spawn)
    check_journal(database)
    spoil(database)
    prove(config, proof, code=4)
    ask("verify", "-c", config, "--level", "roundtrip", "-v", code=4)
    ask("verify", "-c", config, "--show-values", code=4, values=False)
    ask("export", "-c", config, kept / "out", code=None)
    ask("revert", "-c", config, "--yes", "-v", code=6)
    ask("revert", "-c", config, "--yes", "--force", "--save", kept / "saved", "--json")
    ask("history", "-c", config)
    ask("history", "-c", config, "--json")
    check_files(told, logs)
    check_files(kept, values=False)
    assert set(ASKED) == names_of_commands()


def prove(config: Path, proof: Path, code: int) -> None:
    """A verification with all its files, and the page that shows it with the run; all stand beside `proof`."""
    junit, page, run = (proof.with_name(name) for name in ("verify.xml", "verify.html", "run.html"))
    level = ("--level", "roundtrip", "--json", "--junit", junit, "--html", page)
    proof.write_text(ask("verify", "-c", config, *level, code=code).out)
    ask("report", "-c", config, "--html", run, "--verify", proof)
    check_files(proof.parent)


def check_files(*folders: Path, values: bool = True) -> None:
    for path in (path for folder in folders for path in folder.rglob("*") if path.is_file()):
        check(path.read_bytes().decode("utf-8", "backslashreplace"), path, values=values)


def names_of_commands() -> set[str]:
    """So that a new one is looked at, too."""
    of_rejects = {f"rejects {each.name}" for each in rejects_app.registered_commands}
    return {each.name for each in COMMANDS} - {"rejects"} | of_rejects


def check_journal(database: str) -> None:
    with psycopg.connect(database) as connection:
        for relation, columns in JOURNAL.items():
            query = sql.SQL("SELECT {} FROM {}").format(sql.SQL(columns), sql.Identifier("migrator", relation))
            for row in connection.execute(query):
                check(repr(row), relation)


def spoil(database: str) -> None:
    """Differences of every kind that have values to quote."""
    with psycopg.connect(database) as connection:
        connection.execute(
            "UPDATE users SET name = name || 'x', preferences = '{\"a\": 1}' WHERE email LIKE 'planted0value@%'"
        )
        connection.execute("DELETE FROM messages WHERE id = (SELECT max(id::text)::uuid FROM messages)")
        connection.execute("UPDATE migrator.ledger SET residue = NULL WHERE collection = 'users'")


@pytest.mark.parametrize("error", [RuntimeError(f"at {PASSWORD}"), ValueError(PLANT), KeyError(PLANT)])
def test_a_defect_tells_nothing(config: Path, logs: Path, error: Exception) -> None:
    """A crash ends with a message and a log, and neither has what the error quotes."""
    with patch("migrator.commands.run.run_migration", side_effect=error):
        for more in ((), ("-v",), ("--json",)):
            ask("run", "-c", config, *more, code=1)
    assert len(list(logs.glob("*.log"))) == 3
    assert all(path.stat().st_mode & 0o077 == 0 for path in logs.glob("*.log"))
    check_files(logs)


def test_failures_outside_tell_nothing(config: Path, database: str, server_url: str, tmp_path: Path) -> None:
    """No server, a wrong password, a wrong URL: the cause, and no value."""
    head, secret, mongo = "postgresql://planted", quote(PASSWORD, safe=""), quote(MONGO, safe="")
    source, soon = f"dump:{tmp_path / 'dump'}", "serverSelectionTimeoutMS=300"
    for number, (url, target) in enumerate((
        (source, f"{head}:{secret}@127.0.0.1:1/x?connect_timeout=2"),
        (source, f"{head}@127.0.0.1:1/x?password={secret}&connect_timeout=2"),
        (source, f"{head}:{secret}@no.such.host.invalid/x"),
        (source, f"{head}:{PASSWORD}@127.0.0.1:port/x"),
        (source, f"{head}:{secret}@127.0.0.1/x?nonsense={secret}"),
        (f"mongodb://planted:{mongo}@127.0.0.1:1/?{soon}", database),
        (f"mongodb://planted:{mongo}@127.0.0.1:1/?tlsCertificateKeyFilePassword={mongo}&{soon}", database),
        (f"mongodb://planted:{MONGO}@127.0.0.1:1/?{soon}", database),
        (f"mongodb+srv://planted:{mongo}@no.such.host.invalid/?{soon}", database),
        (f"ftp://planted:{mongo}@h/", database),
    )):  # fmt: skip
        config = write_config(tmp_path / f"{number}.toml", url, target)
        with hurried(server_url):
            for command in ("plan", "run", "verify", "status"):
                with patch("migrator.workflows.retry.MAX_ATTEMPTS", 1):
                    answer = ask(command, "-c", config, "-v", code=None)
                assert answer.code != 1, answer.told


def test_rows_that_break_a_rule_of_others(config: Path, database: str) -> None:
    """A row that a constraint of the application refuses is rejected; messages name the constraint, not the row."""
    schema = ask("schema", "-c", config).out
    with psycopg.connect(database) as connection:
        connection.execute(schema.encode())
        connection.execute("ALTER TABLE users ADD CONSTRAINT nobody CHECK (name <> 'planted0value')")
    answer = ask("run", "-c", config, "-v")
    assert "target_constraint" in answer.told
    assert "nobody" in ask("rejects", "list", "-c", config).told
