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

from tests.changing import ADOPTER, DATABASE, Changing, LiveChanges, changing_server
from tests.driving import Answer, call
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
    "UPDATE users SET name = 'damaged' WHERE email = 'unwritten@example.com'": {"rows", "round trip"},
    "DELETE FROM migrator.archive WHERE collection = 'settings'": {"archive", "archive kept", "round trip"},
    "DELETE FROM migrator.ledger WHERE collection = 'settings'": {"accounting", "ledger", "archive kept"},
    "UPDATE migrator.ledger l SET residue = NULL FROM users u WHERE u.email = 'unwritten@example.com'"
    " AND l.collection = 'users' AND l.target_id = u.id::text": {"ledger", "round trip"},
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

    def damage(self, statement: str) -> None:
        with psycopg.connect(self.database) as connection:
            assert connection.execute(statement.encode()).rowcount > 0


def add_unwritten(documents: dict[str, list[bytes]]) -> dict[str, list[bytes]]:
    """Adds documents that the application does not write, of a user that no other user gets in conflict with."""
    users = [bson.decode(raw) for raw in documents["users"]]
    owner = bson.decode(ADOPTER)["_id"]
    changed = [{**each, "email": "unwritten@example.com"} if each["_id"] == owner else each for each in users]
    return {
        **documents,
        "users": [bson.encode(each) for each in changed],
        "settings": [bson.encode({"_id": number}) for number in range(3)],
    }


@pytest.fixture
def followed(new_database: Callable[[], str], tmp_path: Path) -> Iterator[Followed]:
    source, database = Changing(add_unwritten(make_talks(3, messages=250)), 3), new_database()
    with changing_server(tmp_path / "mongo", source) as server, closing(LiveChanges(server.url, source)) as live:
        config = write_config(tmp_path / "migrate.toml", server.url, database, {"source": {"database": DATABASE}})
        ran = call("run", "--follow", "--until-caught-up", "-c", config, "--json")
        assert ran.code == 0, ran.told
        yield Followed(config, database, live)


def test_changes_that_are_not_applied(followed: Followed, tmp_path: Path) -> None:
    """While `follow` is stopped: changed documents, and rows that depend on them, are no differences; damage is one."""
    followed.live.write(60)
    followed.damage(next(iter(DAMAGE)))
    junit = tmp_path / "junit.xml"
    answer = call("verify", "--level", "roundtrip", "-c", followed.config, "--json", "--junit", junit)
    assert (set(failed(answer)), answer.code) == ({"rows", "round trip"}, 4), failed(answer)
    assert 30 < answer.json["not_applied"] <= 60
    suite = ElementTree.parse(junit).getroot()
    assert [each.get("value") for each in suite.iter("property")] == [str(answer.json["not_applied"])]
    counted = call("verify", "--level", "counts", "-c", followed.config)
    assert (counted.code, "not yet applied by `migrate follow`" in counted.out) == (0, True), counted.told


@pytest.mark.long
@pytest.mark.parametrize("level", ["counts", "rows", "roundtrip"])
def test_beside_follow(followed: Followed, level: str) -> None:
    """While `follow` runs and the application writes: no difference."""
    with followed.following(), Application(followed.live).writing():
        for _ in range(3):
            answer = call("verify", "--level", level, "-c", followed.config, "--json")
            assert (failed(answer), answer.code) == ({}, 0)


@pytest.mark.long
@pytest.mark.parametrize("damage", DAMAGE, ids=range(len(DAMAGE)))
def test_damage_beside_follow(followed: Followed, damage: str) -> None:
    """Each damage is found while `follow` runs and the application writes, and nothing else."""
    with followed.following(), Application(followed.live).writing():
        followed.damage(damage)
        answer = call("verify", "--level", "roundtrip", "-c", followed.config, "--json")
        assert (set(failed(answer)), answer.code) == (DAMAGE[damage], 4), failed(answer)


def failed(answer: Answer) -> dict[str, Any]:
    """The differences by check."""
    return {each["check"]: each["examples"] for each in answer.json["checks"] if not each["ok"]}
