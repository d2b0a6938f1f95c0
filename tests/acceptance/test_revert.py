"""Revert gives the database back as it was, to pg_dump equality: from every start, of every stage, killed or not."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

import bson
import psycopg
import pytest
from tenacity import stop_after_attempt

from migrator.errors import StoppedError
from migrator.events import Event, StepAdvanced, StepFinished, StepStarted
from migrator.postgres import schema_changes, schema_undo
from migrator.postgres.statements import Ref
from migrator.terminal.console import Console
from tests.archive_writer import write_folder
from tests.driving import COMMAND, Answer, call, digest_database, dump_database
from tests.integration.schemas import CONTRACT, OTHERS, add_rows
from tests.killing import wait_for, wait_for_the_lock
from tests.processes import start
from tests.scenarios import write_config
from tests.talks import make_talks
from tests.templates import Templates

pytestmark = pytest.mark.usefixtures("quick")

DRIZZLE = """
CREATE SCHEMA drizzle;
CREATE TABLE drizzle.__drizzle_migrations (id serial PRIMARY KEY, hash text NOT NULL, created_at bigint);
INSERT INTO drizzle.__drizzle_migrations (hash, created_at) VALUES ('9f2c', 1735689600000);
"""
# Who made the schema, and whether another tenant is in it.
STARTS = ("empty, made", "empty, there", "filled, made", "filled, there", "filled, drizzle")


@pytest.fixture(scope="module")
def dump(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A few hundred documents with claims, trees and rejects."""
    return write_folder(tmp_path_factory.mktemp("talks") / "dump", make_talks(messages=300))


@pytest.fixture
def config(dump: Path, database: str, tmp_path: Path) -> Path:
    return write_config(tmp_path / "migrate.toml", f"dump:{dump}", database, {"engine": {"batch_rows": 100}})


def execute(database: str, statements: str) -> list[Any]:
    with psycopg.connect(database, autocommit=True) as connection:
        cursor = connection.execute(statements.encode())
        return cursor.fetchall() if cursor.description else []


def set_up(start: str, database: str, config: Path) -> str:
    """Brings a database into one of STARTS; how pg_dump sees it."""
    fill, _, maker = start.partition(", ")
    if maker in ("there", "drizzle"):
        execute(database, CONTRACT)
    elif fill == "filled":
        execute(database, call("schema", "-c", config).out)
    if maker == "drizzle":
        execute(database, DRIZZLE)
    if fill == "filled":
        with psycopg.connect(database, autocommit=True) as connection:
            aside = "ALTER TABLE messages DROP CONSTRAINT messages_parent_id_messages_id_fk"
            again = (
                "ALTER TABLE messages ADD CONSTRAINT messages_parent_id_messages_id_fk"
                " FOREIGN KEY (parent_id) REFERENCES messages ON DELETE SET NULL"
            )
            before = connection.execute(
                "SELECT pg_get_constraintdef(oid) FROM pg_constraint"
                " WHERE conname = 'messages_parent_id_messages_id_fk'"
            ).fetchone()
            assert before is not None
            connection.execute(aside)
            add_rows(connection, OTHERS)
            connection.execute(again.partition(" FOREIGN")[0] + " " + before[0])
    return dump_database(database)


@pytest.fixture
def migrated(dump: Path, database: str, config: Path, templates: Templates) -> str:
    """A finished run into a database with the application's schema and another tenant; how pg_dump saw it before."""

    def build(url: str) -> str:
        there = write_config(config.with_name("there.toml"), f"dump:{dump}", url, {"engine": {"batch_rows": 100}})
        before = set_up("filled, there", url, there)
        assert call("run", "-c", there).code == 0
        return before

    return templates.copy("300 messages, filled", database, build)


@pytest.mark.parametrize("start", STARTS)
def test_a_finished_run_is_taken_back(start: str, database: str, config: Path) -> None:
    """Empty or filled, schema made or already there: pg_dump says afterwards what it said before."""
    before = set_up(start, database, config)
    assert call("run", "-c", config).code == 0
    answer = call("revert", "--yes", "--json", "-c", config)
    assert answer.code == 0, answer.told
    assert answer.json["tables"]["messages"] > 200
    assert dump_database(database) == before


class Stop(BaseException):
    """Stands for whatever ends a run."""


MOMENTS: dict[str, Callable[[Event], bool]] = {
    "after prepare": lambda event: isinstance(event, StepFinished) and event.step == "prepare",
    "before the first batch": lambda event: isinstance(event, StepStarted) and event.step.startswith("load "),
    "after the first batch": lambda event: isinstance(event, StepAdvanced) and event.step.startswith("load "),
    "mid-load": lambda event: isinstance(event, StepAdvanced) and event.step == "load messages" and event.done >= 200,
    "after load": lambda event: isinstance(event, StepFinished) and event.step == "load messages",
    "after the claims": lambda event: isinstance(event, StepFinished) and event.step == "reconcile messages",
    "mid-constrain": lambda event: isinstance(event, StepAdvanced) and event.step == "post-data" and event.done >= 25,
    "after constrain": lambda event: isinstance(event, StepFinished) and event.step == "post-data",
}


RARE_MOMENTS = frozenset({"before the first batch", "after load", "after the claims", "after constrain"})


@pytest.mark.parametrize(
    ("moment", "start"),
    [pytest.param(moment, "filled, there", marks=[pytest.mark.long] * (moment in RARE_MOMENTS)) for moment in MOMENTS]
    + [(moment, "empty, made") for moment in ("after prepare", "mid-load", "mid-constrain")],
)
def test_an_unfinished_run_is_taken_back(moment: str, start: str, database: str, config: Path) -> None:
    """Wherever a run stopped, revert is content with what there is, and gives everything back."""
    before = set_up(start, database, config)
    seen = MOMENTS[moment]

    def emit(console: Console, event: Event) -> None:
        if seen(event):
            raise KeyboardInterrupt

    with patch.object(Console, "emit", emit):
        assert call("run", "-c", config).code == 5
    answer = call("revert", "--yes", "-c", config)
    assert answer.code == 0, answer.told
    assert dump_database(database) == before


def test_a_killed_run_is_taken_back(database: str, config: Path) -> None:
    """Killed in the middle of the load: the revert waits for nobody and gives everything back."""
    before = set_up("filled, there", database, config)
    process = start("run", "-q", "-c", config)
    wait_for(database, "SELECT count(*) FROM migrator.batches", 4, process)
    process.kill()
    process.communicate(timeout=60)
    wait_for_the_lock(database)
    assert call("revert", "--yes", "-c", config).code == 0
    assert dump_database(database) == before


def count(database: str, relation: str) -> int:
    try:
        return int(execute(database, f"SELECT count(*) FROM {relation}")[0][0])  # noqa: S608 - of this file
    except (psycopg.errors.UndefinedTable, psycopg.errors.InvalidSchemaName):
        return 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_a_revert_that_is_stopped_has_done_nothing(
    number: signal.Signals, migrated: str, database: str, config: Path
) -> None:
    """Stopped when the rows are gone and only the schema is left: nothing has happened, and it can be repeated."""
    untouched = digest_database(database)
    with psycopg.connect(database) as reader:
        reader.execute("SELECT FROM conversations")  # holds up whoever wants to alter the table
        process = start("revert", "--yes", "--json", "-c", config)
        wait_until(lambda: count_waiting(database) > 0)
        process.send_signal(number)
        _, told = process.communicate(timeout=60)
        assert process.returncode == (-number if number == signal.SIGKILL else 5), told.decode()
        assert b"Traceback" not in told
    wait_for_the_lock(database)
    assert digest_database(database) == untouched
    assert call("revert", "--yes", "-c", config).code == 0
    assert dump_database(database) == migrated


def count_waiting(database: str) -> int:
    return count(
        database, "pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        " AND application_name LIKE 'migrate%'",
    )  # fmt: skip


def wait_until(condition: Callable[[], bool]) -> None:
    for _ in range(600):
        if condition():
            return
        time.sleep(0.05)
    raise AssertionError("it never came so far")


def test_a_lock_of_others_is_not_waited_for_long(migrated: str, database: str, config: Path) -> None:
    """Somebody reads a table that must be altered: exit code 5 after a while, and nothing has happened."""
    untouched = digest_database(database)
    brief = patch(
        "migrator.postgres.schema_changes.limit_lock_wait",
        lambda connection: connection.execute("SET lock_timeout = '200ms'"),
    )
    with brief, psycopg.connect(database) as reader:
        reader.execute("SELECT FROM conversations")
        answer = call("revert", "--yes", "-c", config)
    assert answer.code == 5, answer.told
    assert "lock" in answer.told
    assert digest_database(database) == untouched


def answered(config: Path, *answers: str, arguments: tuple[str, ...] = ()) -> Answer:
    """Runs revert on a terminal of its own that gives these answers."""
    pid, terminal = os.forkpty()
    if pid == 0:  # pragma: no cover
        os.execv(COMMAND, [str(COMMAND), "revert", "-c", str(config), *arguments])
    out = b""
    try:
        while chunk := os.read(terminal, 4096):
            out += chunk
            if answers and out.rstrip().endswith(b"[y/N]:"):
                os.write(terminal, answers[0].encode() + b"\n")
                answers, out = answers[1:], out + b"\n"
    except OSError:  # Linux says so when the other end is closed
        pass
    _, status = os.waitpid(pid, 0)
    return Answer(code=os.waitstatus_to_exitcode(status), out=out.decode(), err="")


def test_it_says_what_it_will_do_and_asks(database: str, config: Path) -> None:
    """On a terminal: rows, objects, tenant and records are shown; only `y` goes on."""
    before = set_up("empty, there", database, config)
    assert call("run", "-c", config).code == 0
    answer = answered(config, "n")
    assert answer.code == 5
    assert "nothing was changed" in answer.out
    for said in ("messages", "Drops: 10 policies", "tenant that the migration created", "loaded", "rejected"):
        assert said in answer.out, answer.out
    assert count(database, "messages") > 200
    assert answered(config, "y").code == 0
    assert dump_database(database) == before


def test_what_a_killed_verification_left_goes_too(migrated: str, database: str, config: Path) -> None:
    """The scratch schemas of a verification that was killed are the tool's own, and no part of what was before."""
    execute(database, "CREATE SCHEMA migrator_scratch; CREATE SCHEMA migrator_scratch_records")
    execute(database, "CREATE TABLE migrator_scratch.messages (LIKE messages)")
    assert call("revert", "--yes", "-c", config).code == 0
    assert dump_database(database) == migrated


# Objects of the owner on an empty table that cannot hold what the migration loads.
REFUSING = {
    "plain index": "CREATE INDEX owner_idx ON messages (content)",
    "index with an expression": "CREATE INDEX owner_idx ON messages ((content || content))",
    "expression that fails": "CREATE INDEX owner_idx ON messages ((content::int))",
    "two indexes": (
        "CREATE INDEX owner_idx ON messages (content); CREATE INDEX other_idx ON messages ((1 / (id <> id)::int))"
    ),
}


@pytest.mark.parametrize("name", REFUSING)
def test_an_index_that_cannot_hold_the_rows_rejects_them(name: str, database: str, tmp_path: Path) -> None:
    """The rows are rejected, everything else is loaded, and revert restores the target."""
    talks = make_talks(messages=40)
    long = random.Random(7).randbytes(9000).hex()  # over the limit of a B-tree, even compressed
    talks["messages"] = [bson.encode({**bson.decode(each), "text": long}) for each in talks["messages"]]
    source = write_folder(tmp_path / "dump", talks)
    config = write_config(tmp_path / "migrate.toml", f"dump:{source}", database)
    execute(database, call("schema", "-c", config).out)
    execute(database, REFUSING[name])
    before = dump_database(database)
    ran = call("run", "-c", config, "--json")
    assert ran.code == 0, ran.told
    assert ran.json["rejects"]["target_constraint"]
    assert ran.json["collections"]["messages"]["loaded"] == 0
    answer = call("revert", "--yes", "-c", config)
    assert answer.code == 0, answer.told
    assert dump_database(database) == before


def test_an_index_that_still_contains_deleted_rows_is_recreated_later(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A deferred index that refuses rows is recreated after their deletion is committed and no session sees them."""
    monkeypatch.setattr(schema_undo._recreate_after_commit.retry, "stop", stop_after_attempt(1))
    index = Ref("index", "notes", "owner_idx")
    definition = "CREATE INDEX owner_idx ON public.notes USING btree (body)"
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("CREATE TABLE notes (body text)")
        connection.execute(definition.encode())
        with connection.transaction():
            schema_changes.ensure(connection)
            schema_changes.defer(connection, index, definition=definition, drop="DROP INDEX owner_idx")
        connection.execute("INSERT INTO notes VALUES (%s)", (random.Random(7).randbytes(9000).hex(),))
        with psycopg.connect(database) as other:
            other.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            other.execute("SELECT count(*) FROM pg_class")
            with connection.transaction():
                connection.execute("DELETE FROM notes")
                schema_undo.drop_created(connection)
            assert schema_changes.has_deferred(connection)
            with pytest.raises(StoppedError, match="owner_idx"):
                schema_undo.recreate_deferred(connection)
        schema_undo.recreate_deferred(connection)
        schema_undo.drop_records(connection)
        assert connection.execute("SELECT to_regclass('owner_idx') IS NOT NULL").fetchone() == (True,)
