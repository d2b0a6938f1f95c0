"""What a cutover loses on the way: the answer to its commit, and the position in the oplog of MongoDB."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
import pytest
from pymongo import MongoClient

from migrator.errors import StoppedError
from migrator.following.source_watch import watching
from migrator.state import sync
from migrator.state.records import Namespace
from migrator.workflows.cutover_back import BackSwitch
from migrator.workflows.cutover_forward import ForwardSwitch
from tests import mongo
from tests.driving import call
from tests.reverse_rig import FIXTURES, read_dump
from tests.station_changes import SourceChanges, change_rows
from tests.stations import Journey, journey

pytestmark = [pytest.mark.long, pytest.mark.usefixtures("quick")]
EVENTS = 500  # that the oplog holds


@pytest.fixture
def rig(new_database: Callable[[], str], tmp_path: Path) -> Iterator[Journey]:
    """A verified target of a server with a short oplog."""
    server = mongo.Server(tmp_path / "mongo")
    server.options = ("--sync-on-commit", "--oplog-max-entries", str(EVENTS), "--oplog-retention-seconds", "1")
    server.start()
    try:
        documents = read_dump(FIXTURES / "demo")
        with journey(server.url, "losses", new_database(), new_database(), tmp_path, documents) as found:
            found.verify()
            yield found
    finally:
        server.kill()


def lose_answer(monkeypatch: pytest.MonkeyPatch, *, committed: bool) -> None:
    """Lets the connection be lost during the commit of a switch: the server has committed, or not."""
    for kind in (ForwardSwitch, BackSwitch):
        switch = kind._switch

        def lose(self: Any, switch: Callable[[Any], str] = switch) -> str:
            if committed:
                switch(self)
            self.connection.close()
            raise psycopg.OperationalError("server closed the connection unexpectedly")

        monkeypatch.setattr(kind, "_switch", lose)


def state(rig: Journey) -> str:
    return str(rig.read("SELECT state FROM migrator.sync")[0])


@pytest.mark.parametrize("committed", [False, True])
def test_answer_to_the_commit(rig: Journey, committed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """The target is asked: a switch that was committed is completed, otherwise everything is undone."""
    for options, there, before in (((), "switched", ("following", "stopped")), (("--back",), None, ("switched",))):
        with monkeypatch.context() as patch:
            lose_answer(patch, committed=committed)
            lost = call("cutover", "--yes", "-c", rig.config, "--json", *options)
        if committed:
            assert (state(rig) == "switched") == (there == "switched"), lost.told
        else:
            assert lost.code != 0
            assert state(rig) in before, lost.told
            assert not rig.read("SELECT EXISTS (SELECT FROM pg_trigger WHERE tgname = 'migrate_stop')")[0]
        if lost.code != 0:
            again = call("cutover", "--yes", "-c", rig.config, "--json", *options)
            assert again.code == 0, (lost.told, again.told)
        assert (state(rig) == "switched") == (there == "switched")
    rig.follow()
    rig.assert_same()


def test_position_in_the_oplog(rig: Journey) -> None:
    """While PostgreSQL was in use, the oplog has lost the position of the switch: a switch back compares everything."""
    chance = random.Random(1)
    rig.cut_over()
    with MongoClient[dict[str, Any]](rig.url) as client:
        others = client[rig.name]["settings"]
        for _ in range(EVENTS * 2):
            others.insert_one({"_id": 1})
            others.delete_one({"_id": 1})
    kept = sync.read(rig.connection, Namespace())
    assert kept is not None
    with pytest.raises(StoppedError), watching(rig.url, rig.name, kept.position):
        pass
    for number in range(20):
        change_rows(rig, chance, number)
    answer = rig.cut_over("--back")
    assert answer.json["status"] == "switched"
    with closing(SourceChanges(rig.url, rig.name)) as source:
        for number in range(20):
            source.change(chance, number)
    rig.follow()
    rig.assert_same()
    rig.assert_equals_run("after a lost position")


def test_killed_after_the_move(rig: Journey) -> None:
    """The last step of a switch back is missing: the same command completes it, so that a revert needs no `--force`."""
    chance = random.Random(2)
    rig.cut_over()
    for number in range(20):
        change_rows(rig, chance, number)
    rig.kill_cutover("record returned rows", "--back")
    rig.follow()
    reverted = call("revert", "--yes", "-c", rig.config)
    assert reverted.code == 0, reverted.told
