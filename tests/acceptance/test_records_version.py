"""Records that another version of migrate has made are not read, whatever is in them."""

from __future__ import annotations

from pathlib import Path
from typing import LiteralString

import psycopg
import pytest

from migrator.state.records import VERSION
from tests.driving import call, digest_database, dump_database
from tests.scenarios import read_scenario, write_config, write_dump

pytestmark = pytest.mark.usefixtures("quick")

COMMANDS = (
    ("plan",), ("run",), ("run", "--dry-run"), ("status",), ("verify",), ("revert", "--yes"), ("report",),
    ("export", "out"), ("embed",), ("rejects", "list"), ("rejects", "show", "1"), ("rejects", "retry"),
    ("rejects", "export", "out.jsonl"),
)  # fmt: skip
OLD: LiteralString = """
    COMMENT ON TABLE migrator.runs IS NULL;
    ALTER TABLE migrator.runs DROP attempt;
    ALTER TABLE migrator.batches DROP part CASCADE;
    DROP TABLE migrator.own_transactions, migrator.foreign_edits, migrator.metadata;
"""
NEW: LiteralString = """
    COMMENT ON TABLE migrator.runs IS 'Records of migrate, version 1000';
    ALTER TABLE migrator.ledger RENAME residue TO rest;
    ALTER TABLE migrator.steps RENAME TO stages;
"""


@pytest.mark.parametrize(
    ("statements", "said"), [(OLD, "an older version of migrate"), (NEW, "a newer version of migrate")]
)
def test_every_command_says_so(
    statements: LiteralString, said: str, database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exit code 2, what is the matter and what to do; nothing is changed."""
    monkeypatch.chdir(tmp_path)
    config = migrate(database, tmp_path)
    with psycopg.connect(database) as connection:
        connection.execute(statements)
    before = dump_database(database)
    for command in COMMANDS:
        answer = call(*command, "-c", config)
        assert (answer.code, said in answer.err) == (2, True), (command, answer.told)
        assert "migrator.runs.version" in answer.err
    assert dump_database(database) == before


def test_a_rehearsal_of_another_version_is_begun_anew(database: str, tmp_path: Path) -> None:
    """What a killed `verify` of another version has left goes, as any rehearsal that was not the same does."""
    config = migrate(database, tmp_path)
    before = digest_database(database)
    with psycopg.connect(database) as connection:
        connection.execute("CREATE SCHEMA migrator_scratch_records CREATE TABLE runs (run integer)")
    assert call("verify", "-c", config).code == 0
    assert digest_database(database) == before


def test_a_restored_database_keeps_the_version(database: str, tmp_path: Path) -> None:
    """pg_dump writes it, like everything else in the schema."""
    migrate(database, tmp_path)
    assert f"'Records of migrate, version {VERSION}'" in dump_database(database)


def migrate(database: str, folder: Path) -> Path:
    source = write_dump(read_scenario("orphans-rejected"), folder / "dump")
    config = write_config(folder / "migrate.toml", f"dump:{source}", database)
    assert call("run", "-c", config).code == 0
    return config
