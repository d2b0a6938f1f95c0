"""Properties of `verify` besides detection: redacted values, resuming after a kill, parts of the migration."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any, LiteralString

import psycopg
import pytest

from migrator.mapping.loader import load_definition
from migrator.rows.loaded_rows import MANY
from migrator.rows.rebuild import read_loaded
from migrator.rows.store import RowStore
from migrator.state.records import Namespace
from migrator.targets.bundled import program_path
from migrator.translation.encoder import format_target_id
from tests.archive_writer import write_folder
from tests.driving import call
from tests.killing import count, wait_for, wait_for_the_lock
from tests.processes import start
from tests.scenarios import write_config
from tests.talks import make_talks

pytestmark = pytest.mark.usefixtures("quick")

OTHER = "0190b5a0-0000-7000-8000-0000000000ff"
TEXT = "This text must not appear in a report"


def execute(database: str, statement: str) -> list[Any]:
    with psycopg.connect(database, autocommit=True) as connection:
        cursor = connection.execute(statement.encode())
        return cursor.fetchall() if cursor.description else []


def test_values_are_redacted(migrated: Path, database: str, tmp_path: Path) -> None:
    """Values that may be personal are redacted to type and length everywhere, except with --show-values."""
    row = "(SELECT id FROM messages ORDER BY id LIMIT 1)"
    execute(database, f"UPDATE messages SET content = '{TEXT}', completion_tokens = 77 WHERE id = {row}")  # noqa: S608
    junit, html = tmp_path / "junit.xml", tmp_path / "verify.html"
    answer = call("verify", "-c", migrated, "--level", "roundtrip", "--junit", junit, "--html", html, "--json")
    assert answer.code == 4
    found = [each for check in answer.json["checks"] if check["check"] == "rows" for each in check["found"]]
    content = next(each for each in found if each["column"] == "content")
    assert content["actual"] == f"text of {len(TEXT)} characters"
    assert content["fault"] == "target"
    assert next(each for each in found if each["column"] == "completion_tokens")["actual"] == "77"
    assert TEXT not in answer.told + junit.read_text() + html.read_text()
    assert "likely cause: the target changed after the run" in call("verify", "-c", migrated).out
    assert TEXT in call("verify", "-c", migrated, "--show-values").out


def test_only(migrated: Path, database: str) -> None:
    """--only checks the named collections and tables only; an unknown name is an error."""
    execute(database, "UPDATE users SET name = 'other' WHERE id = (SELECT id FROM users LIMIT 1)")
    assert call("verify", "-c", migrated, "--only", "messages,conversations", "--level", "roundtrip").code == 0
    assert call("verify", "-c", migrated, "--only", "users").code == 4
    answer = call("verify", "-c", migrated, "--only", "nonsense")
    assert (answer.code, "nonsense" in answer.err) == (2, True)


def test_sample(migrated: Path) -> None:
    """--sample rebuilds some documents of every collection, and the result says so."""
    answer = call("verify", "-c", migrated, "--level", "roundtrip", "--sample", "1", "--json")
    trips = {each["table"]: each for each in answer.json["checks"] if each["check"] == "round trip"}
    assert answer.code == 0
    assert all("(sample of 1%)" in each["expected"] and each["actual"] > 0 for each in trips.values())


def test_workers_rebuild_documents(migrated: Path, database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two processes rebuild the partitions of a collection; the result has the differences of all partitions."""
    monkeypatch.setenv("MIGRATE_ENGINE__WORKERS", "2")
    monkeypatch.setenv("MIGRATE_ENGINE__PART_BYTES", "20000")
    ends = "(SELECT id FROM messages ORDER BY ctid LIMIT 1), (SELECT id FROM messages ORDER BY ctid DESC LIMIT 1)"
    execute(database, f"UPDATE messages SET content = '{TEXT}' WHERE id IN ({ends})")  # noqa: S608
    answer = call("verify", "-c", migrated, "--level", "roundtrip", "--json")
    trips = {each["table"]: each for each in answer.json["checks"] if each["check"] == "round trip"}
    assert answer.code == 4, answer.told
    counted = {name: counts["source"] for name, counts in answer.json["collections"].items()}
    assert {name: each["expected"] for name, each in trips.items()} == counted
    assert trips["messages"]["expected"] - trips["messages"]["actual"] == 2
    assert len(trips["messages"]["found"]) == 2
    assert all(each["ok"] for name, each in trips.items() if name != "messages")


def test_member_lists_do_not_depend_on_the_query(migrated: Path, database: str) -> None:
    """The members of all rows, of many, and of few are gathered by different queries."""
    mappings = load_definition("mappings", "schema").mappings
    with psycopg.connect(database) as connection:
        rows, collection = RowStore(connection, Namespace(), mappings), mappings["conversations"]
        every = {source_id: row for source_id, row, _ in read_loaded(rows, collection)}
        ids = [format_target_id(row["id"]) for row in every.values()]
        assert len(ids) > MANY
        assert any(row["messages.members"] for row in every.values())
        assert {source_id: row for source_id, row, _ in read_loaded(rows, collection, ids)} == every
        for place in range(0, len(ids), MANY // 2):
            some = ids[place : place + MANY // 2]
            assert all(every[source_id] == row for source_id, row, _ in read_loaded(rows, collection, some))


def test_resumes_after_a_kill(migrated: Path, database: str) -> None:
    """After kill -9 the next verification reads the rest, finds no differences, and leaves nothing behind."""
    kill_verification(migrated, database)
    answer = call("verify", "-c", migrated)
    assert "Resuming an interrupted verification" in answer.told
    assert answer.code == 0, answer.told
    assert execute(database, "SELECT FROM pg_namespace WHERE nspname LIKE 'migrator_scratch%'") == []


BATCHES: LiteralString = "SELECT count(*) FROM migrator_scratch_records.batches"


def kill_verification(config: Path, database: str, batches: LiteralString = BATCHES, most: int = 6) -> None:
    """Start a verification and kill it when it has loaded more than `most` batches."""
    slow = {"MIGRATE_ENGINE__MAX_ROWS_PER_SECOND": "150", "MIGRATE_ENGINE__BATCH_ROWS": "50"}
    process = start("verify", "-c", config, environment=slow)
    wait_for(database, batches, most + 1, process)
    process.kill()
    process.wait(timeout=30)
    wait_for_the_lock(database)
    assert count(database, batches) > most


def test_rows_that_were_there_before(database: str, tmp_path: Path) -> None:
    """Rows of the same tenant that are older than the run are not differences."""
    write_folder(tmp_path / "dump" / "LibreChat", make_talks(messages=50))
    config = write_config(tmp_path / "migrate.toml", f"dump:{tmp_path / 'dump'}", database)
    execute(database, call("schema", "-c", config).out)
    tenant = "0190b5a0-0000-7000-8000-000000000001"
    execute(database, f"INSERT INTO tenants (id, name, subdomain) VALUES ('{tenant}', 'Default', 'default')")  # noqa: S608
    execute(database, f"INSERT INTO courses (tenant_id, title, instructor) VALUES ('{tenant}', 'x', '')")  # noqa: S608
    assert call("run", "-c", config).code == 0
    assert call("verify", "-c", config).code == 0


def test_number_of_table_scans(migrated: Path, database: str) -> None:
    """Without violations each table is scanned once by the pre-scan and three times by the RLS test."""
    execute(database, "UPDATE messages SET parent_id = NULL")  # some parents are as old as their children
    scans = "SELECT seq_scan FROM pg_stat_user_tables WHERE schemaname = 'public' AND relname = 'messages'"
    ((before,),) = execute(database, scans)
    assert call("verify", "-c", migrated, "--level", "counts").code == 0
    ((after,),) = execute(database, scans)
    # The pre-scan joins messages with their parents: five scans, plus scans that earlier sessions report late.
    assert after - before <= 8


def test_parents_of_the_same_age(migrated: Path, database: str) -> None:
    """A parent that is not older than its child needs a second query, and is not a cycle."""
    execute(database, "UPDATE messages SET created_at = '2024-01-01'")
    assert call("verify", "-c", migrated, "--level", "counts").code == 0


def test_duplicate_row(migrated: Path, database: str) -> None:
    """A duplicate row after the primary key was dropped: only the catalog check fails."""
    execute(database, "ALTER TABLE messages DROP CONSTRAINT messages_pkey CASCADE")
    execute(database, "INSERT INTO messages SELECT * FROM messages WHERE parent_id IS NULL")
    answer = call("verify", "-c", migrated, "--level", "counts", "--json")
    wrong = {check["check"] for check in answer.json["checks"] if not check["ok"]}
    assert {name.split(":")[0] for name in wrong} == {"catalog"}


def test_resumes_after_other_rows_were_deleted(database: str, tmp_path: Path) -> None:
    """Rows of another tenant that are deleted between a kill and the resumed verification are not differences."""
    write_folder(tmp_path / "dump" / "LibreChat", make_talks(messages=600))
    config = write_config(tmp_path / "migrate.toml", f"dump:{tmp_path / 'dump'}", database, {"engine": {"workers": 1}})
    execute(database, call("schema", "-c", config).out)
    execute(database, f"INSERT INTO tenants (id, name, subdomain) VALUES ('{OTHER}', 'Other', 'other')")  # noqa: S608
    execute(database, f"INSERT INTO users (tenant_id, email) VALUES ('{OTHER}', 'a@b.c')")  # noqa: S608
    assert call("run", "-c", config).code == 0
    kill_verification(config, database)
    execute(database, f"DELETE FROM users WHERE tenant_id = '{OTHER}'")  # noqa: S608
    answer = call("verify", "-c", config)
    assert "Resuming an interrupted verification" in answer.told
    assert answer.code == 0, answer.told


def test_restored_from_a_dump(
    migrated: Path, database: str, new_database: Callable[[], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After pg_dump and pg_restore there are no differences, and later differences have no likely cause."""
    restored = new_database()
    subprocess.run([program_path("pg_dump"), "-Fc", "-f", tmp_path / "pg.dump", "--dbname", database], check=True)
    subprocess.run([program_path("pg_restore"), "--dbname", restored, tmp_path / "pg.dump"], check=True)
    monkeypatch.setenv("MIGRATE_TARGET__URL", restored)
    assert call("verify", "-c", migrated).code == 0
    execute(restored, "UPDATE messages SET content = 'x' WHERE id = (SELECT id FROM messages LIMIT 1)")
    answer = call("verify", "-c", migrated, "--json")
    assert answer.code == 4
    assert {found["fault"] for check in answer.json["checks"] for found in check["found"]} == {""}
