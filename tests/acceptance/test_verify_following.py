"""`migrate verify` of a target that follows its source, while both change: only real differences are reported."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, LiteralString
from xml.etree import ElementTree

import psycopg
import pytest

from tests.changing import DATABASE, Changing, LiveChanges, changing_server
from tests.driving import Answer, call, spawn
from tests.killing import wait_for
from tests.processes import start
from tests.scenarios import write_config
from tests.talks import make_talks

pytestmark = pytest.mark.usefixtures("quick")
FOLLOWING: LiteralString = (
    "SELECT count(*) FROM pg_locks l JOIN pg_database d ON d.oid = l.database AND d.datname = current_database()"
    " WHERE l.locktype = 'advisory' AND l.objid = 1819045751"  # FOLLOW_KEY
)
DAMAGE = {
    "content": "UPDATE messages SET content = 'damaged' WHERE id = (SELECT min(id::text)::uuid FROM messages)",
    "row": "DELETE FROM messages WHERE id = (SELECT m.id FROM messages m WHERE NOT EXISTS"
    " (SELECT FROM messages c WHERE c.parent_id = m.id) ORDER BY m.id LIMIT 1)",
    "residue": "UPDATE migrator.ledger SET residue = NULL WHERE ctid ="
    " (SELECT ctid FROM migrator.ledger WHERE residue IS NOT NULL AND collection = 'conversations' LIMIT 1)",
}


@dataclass
class Application:
    """Writes to the source until stopped."""

    live: LiveChanges
    stopped: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        while not self.stopped.is_set():
            self.live.write(5)
            self.stopped.wait(0.05)

    @contextmanager
    def writing(self) -> Iterator[None]:
        writer = threading.Thread(target=self.run)
        writer.start()
        try:
            yield
        finally:
            self.stopped.set()
            writer.join()


@dataclass(frozen=True)
class Followed:
    """A finished run of a live source."""

    config: Path
    database: str
    live: LiveChanges

    @contextmanager
    def following(self) -> Iterator[None]:
        """`follow` in another process."""
        process = start("follow", "-c", self.config)
        try:
            assert wait_for(self.database, FOLLOWING, 1, process)
            yield
            assert process.poll() is None
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(60)

    def execute(self, statement: str) -> list[tuple[object, ...]]:
        with psycopg.connect(self.database) as connection:
            cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []


@pytest.fixture
def followed(new_database: Callable[[], str], tmp_path: Path) -> Iterator[Followed]:
    source, database = Changing(make_talks(3, messages=600), 3), new_database()
    with changing_server(tmp_path / "mongo", source) as server, closing(LiveChanges(server.url, source)) as live:
        config = write_config(tmp_path / "migrate.toml", server.url, database, {"source": {"database": DATABASE}})
        ran = call("run", "-c", config, "--json")
        assert ran.code == 0, ran.told
        caught_up = spawn("follow", "--until-caught-up", "-c", config, "--json")
        assert caught_up.code == 0, caught_up.told
        yield Followed(config, database, live)


def test_changes_that_are_not_applied(followed: Followed, tmp_path: Path) -> None:
    """While `follow` is stopped: changed documents, and rows that depend on them, are no differences."""
    followed.live.write(60)
    for level in ("counts", "rows", "roundtrip"):
        answer = call("verify", "--level", level, "-c", followed.config, "--json", "--junit", tmp_path / "junit.xml")
        assert answer.code == 0, answer.told
        assert 30 < answer.json["not_applied"] <= 60
        suite = ElementTree.parse(tmp_path / "junit.xml").getroot()
        assert [each.get("value") for each in suite.iter("property")] == [str(answer.json["not_applied"])]


def test_beside_follow(followed: Followed) -> None:
    """While `follow` runs and the application writes: no difference; a damaged row is found."""
    with followed.following(), Application(followed.live).writing():
        answer = call("verify", "--level", "roundtrip", "-c", followed.config, "--json")
        assert failed(answer) == {}, answer.err
        assert answer.code == 0
        assert {name for name, each in answer.json["collections"].items() if each["source"] == 0} == set()
        followed.execute(DAMAGE["content"])
        answer = call("verify", "--level", "roundtrip", "-c", followed.config, "--json")
        assert answer.code == 4, answer.told
        assert failed(answer).keys() == {"rows", "round trip"}


def failed(answer: Answer) -> dict[str, Any]:
    """The differences by check."""
    return {each["check"]: each["examples"] for each in answer.json["checks"] if not each["ok"]}
