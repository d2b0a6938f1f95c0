"""How `migrate follow` begins and ends: signals, times, a second process, sources and targets that do not fit."""

from __future__ import annotations

import random
import signal
import subprocess
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import bson
import psycopg
import pytest

from migrator.errors import StoppedError
from migrator.targets.bundled import program_path
from tests import mongo
from tests.acceptance.test_verify_following import FOLLOWING
from tests.archive_writer import write_folder
from tests.changing import Changing, LiveChanges, wait_applied
from tests.driving import call, digest_database
from tests.following_rig import Rig
from tests.killing import wait_for
from tests.processes import start
from tests.scenarios import write_config
from tests.talks import make_talks

pytestmark = pytest.mark.usefixtures("quick")


@pytest.fixture
def rig(live_server: mongo.Server, new_database: Callable[[], str], tmp_path: Path) -> Iterator[Rig]:
    """An empty source, and empty targets."""
    rig = Rig(live_server.url, new_database(), new_database(), tmp_path)
    yield rig
    rig.close()


@pytest.fixture
def live(rig: Rig) -> Iterator[LiveChanges]:
    """Random changes of the source of the rig, which is loaded and has changed during the load."""
    source = Changing(make_talks(5, messages=200), 5)
    mongo.fill(rig.url, rig.name, source.documents())
    live = LiveChanges(rig.url, source, rig.name)
    rig.begin()
    live.write(5)
    rig.run()
    yield live
    live.close()


def read_schema(database: str) -> str:
    """Returns the schema of the rows, as `pg_dump` writes it."""
    command = [str(program_path("pg_dump")), "--schema-only", "--schema", "public", "--dbname", database]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return "\n".join(line for line in done.stdout.splitlines() if not line.startswith(("\\restrict", "\\unrestrict")))


def test_signals(rig: Rig, live: LiveChanges) -> None:
    """Ctrl-C, SIGTERM, a time: the schema is as before, the next process continues. A second one is refused."""
    before = read_schema(rig.followed)
    for number in (signal.SIGINT, signal.SIGTERM):
        process = start("follow", "-c", rig.config)
        try:
            assert wait_for(rig.followed, FOLLOWING, 1, process)
            live.write(20)
            wait_applied(rig.followed, live.fence())
            assert read_schema(rig.followed) != before  # keys are deferrable
            second = call("follow", "-c", rig.config)
            assert second.code == 5, second.told
            assert "another migrate process is using this target: migrate (process" in second.told
            live.write(20)
            process.send_signal(number)
            told = b"".join(process.communicate()).decode()
            assert process.returncode == 5, (number, told)
            assert "interrupted" in told, (number, told)
        finally:
            process.kill()
        assert read_schema(rig.followed) == before, number
    rig.receive()
    moment = datetime.now(UTC) + timedelta(seconds=1)
    answer = call("follow", "--stop-at", moment.isoformat(), "-c", rig.config, "--json")
    assert answer.code == 0, answer.told
    assert datetime.now(UTC) >= moment
    assert answer.json["applied"] + answer.json["waiting"] > 0
    assert read_schema(rig.followed) == before
    rig.drain()
    rig.assert_equals_run()


def test_run_without_follow(rig: Rig) -> None:
    """Nothing was received since the load: all documents are compared. Time series have no events: a warning."""
    source = Changing(make_talks(6, messages=100), 6)
    series = {"system.buckets.weather": [bson.encode({"_id": 1, "t": 20})]}
    mongo.fill(rig.url, rig.name, source.documents() | series)
    assert call("run", "-c", rig.config).code == 0
    live = LiveChanges(rig.url, source, rig.name)
    live.write(30)
    live.close()
    answer = call("follow", "--until-caught-up", "-c", rig.config, "--json")
    assert answer.code == 0, answer.told
    assert answer.json["waiting"] == 0
    assert "these are not followed: weather" in answer.err
    rig.assert_equals_run()


def test_nothing_to_follow(rig: Rig, tmp_path: Path) -> None:
    """A target without a finished run, and a dump: the error says what to do."""
    mongo.fill(rig.url, rig.name, {"users": []})
    empty = call("follow", "-c", rig.config)
    assert empty.code == 2, empty.told
    assert "migrate run" in empty.told
    dump = write_folder(tmp_path / "dump", make_talks(5, messages=20))
    config = write_config(tmp_path / "dump.toml", f"dump:{dump}", rig.followed)
    refused = call("follow", "-c", config)
    assert refused.code == 2, refused.told
    assert "is a dump, which does not change" in " ".join(refused.told.split())
    assert "set source.url to its server" in " ".join(refused.told.split())


@pytest.mark.parametrize("action", ["", pytest.param("ON DELETE CASCADE", marks=pytest.mark.long)])
def test_rows_of_the_owner(action: str, rig: Rig, live: LiveChanges) -> None:
    """Rows of the owner refer to a row that goes: nothing is applied, nothing is lost; later it is."""
    rig.drain()
    with psycopg.connect(rig.followed, autocommit=True) as owner:
        owner.execute(f"CREATE TABLE notes (conversation_id uuid REFERENCES conversations {action})")
        owner.execute("INSERT INTO notes SELECT id FROM conversations")
        before = digest_database(rig.followed)
        query = "SELECT source_id FROM migrator.ledger WHERE collection = 'conversations' AND outcome = 'loaded'"
        for (source_id,) in random.Random(3).sample(sorted(owner.execute(query, binary=True)), 3):
            rig.delete("conversations", bytes(source_id))
        rig.receive()
        with pytest.raises(StoppedError) as stopped:
            rig.apply(1000)
        assert "rows of table notes that migrate did not load refer to its row in conversations" in str(stopped.value)
        rig.restart()
        assert digest_database(rig.followed) == before
        owner.execute("DELETE FROM notes")
        rig.drain()
        rig.assert_equals_run()
