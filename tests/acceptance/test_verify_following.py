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

import bson
import psycopg
import pytest
from bson import ObjectId
from bson.datetime_ms import DatetimeMS

from tests.changing import ADOPTER, DATABASE, Changing, LiveChanges, changing_server
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
DAMAGE = {  # of documents that the application does not write, by what must be found
    "UPDATE memories SET value = 'damaged'": {"rows", "round trip"},
    "DELETE FROM memories": {"rows", "rows exist", "round trip"},
    "DELETE FROM migrator.archive WHERE collection = 'settings'": {"archive", "archive kept", "round trip"},
    "DELETE FROM migrator.ledger WHERE collection = 'settings'": {
        "accounting", "journal", "ledger", "archive kept",
    },
}  # fmt: skip


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


def add_unwritten(documents: dict[str, list[bytes]]) -> dict[str, list[bytes]]:
    """Adds documents that the application does not write, of a user that no other user gets in conflict with."""
    users = [bson.decode(raw) for raw in documents["users"]]
    owner = bson.decode(ADOPTER)["_id"]
    changed = [{**each, "email": "unwritten@example.com"} if each["_id"] == owner else each for each in users]
    memory = {"_id": ObjectId("65a000000000000000000401"), "userId": owner, "key": "k", "value": "v"}
    return {
        **documents,
        "users": [bson.encode(each) for each in changed],
        "memories": [bson.encode({**memory, "updated_at": DatetimeMS(1_704_067_200_000)})],
        "settings": [bson.encode({"_id": number}) for number in range(3)],
    }


@pytest.fixture
def followed(new_database: Callable[[], str], tmp_path: Path) -> Iterator[Followed]:
    source, database = Changing(add_unwritten(make_talks(3, messages=600)), 3), new_database()
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
        assert (failed(answer), answer.code) == ({}, 0)
        damage = next(iter(DAMAGE))
        followed.execute(damage)
        answer = call("verify", "--level", "roundtrip", "-c", followed.config, "--json")
        assert (failed(answer).keys(), answer.code) == (DAMAGE[damage], 4), failed(answer)


@pytest.mark.long
@pytest.mark.parametrize("damage", DAMAGE, ids=range(len(DAMAGE)))
def test_damage_beside_follow(followed: Followed, damage: str) -> None:
    """Each damage is found while `follow` runs and the application writes, and nothing else."""
    with followed.following(), Application(followed.live).writing():
        followed.execute(damage)
        answer = call("verify", "--level", "roundtrip", "-c", followed.config, "--json")
        assert (failed(answer).keys(), answer.code) == (DAMAGE[damage], 4), failed(answer)


def failed(answer: Answer) -> dict[str, Any]:
    """The differences by check."""
    return {each["check"]: each["examples"] for each in answer.json["checks"] if not each["ok"]}
