"""`migrate cutover`: an application that writes all the time is moved, and no acknowledged write is lost."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests import mongo
from tests.cutting import (
    MONGO,
    POSTGRES,
    Application,
    configure,
    dump_schema,
    prepare,
)
from tests.driving import Answer, call

pytestmark = pytest.mark.usefixtures("quick")
MESSAGES = 200


@dataclass
class Moving:
    """A loaded and verified target, and the application that is to be moved."""

    application: Application
    config: Path
    database: str

    def cut_over(self, *options: object) -> Answer:
        return call("cutover", "--yes", "-c", self.config, "--json", *options)

    def read(self, query: str) -> Any:
        with psycopg.connect(self.database, autocommit=True) as connection:
            return connection.execute(query.encode()).fetchall()

    @property
    def state(self) -> str:
        return str(self.read("SELECT state FROM migrator.sync")[0][0])


@pytest.fixture
def moving(live_server: mongo.Server, new_database: Callable[[], str], tmp_path: Path) -> Moving:
    database = new_database()
    application = Application(live_server.url, database, tmp_path, rate=100, first=MESSAGES)
    config = configure(tmp_path, live_server.url, database, application.hooks)
    prepare(live_server.url, config, MESSAGES)
    return Moving(application, config, database)


def test_switch(moving: Moving) -> None:
    """Forward, without a write lost; then only commands that know of the switch; then every trace is removed."""
    before = dump_schema(moving.database)
    with moving.application.writing():
        moving.application.wait_writes(50)
        answer = moving.cut_over()
        assert (answer.code, answer.json["status"]) == (0, "switched"), answer.told
        moving.application.wait_writes(50)
    assert (moving.state, moving.application.route) == ("switched", POSTGRES)
    assert moving.application.lost_in_postgres() == {}
    for command in (("run",), ("verify",), ("rejects", "retry"), ("revert", "--yes"), ("cutover", "--yes")):
        refused = call(*command, "-c", moving.config, "--json")
        assert refused.code in (2, 6), (command, refused.told)
        assert "PostgreSQL" in refused.json["error"]["message"], refused.told
    assert "switched" in call("status", "-c", moving.config).out
    ended = call("complete", "--yes", "-c", moving.config, "--json")
    assert (ended.code, ended.json["status"]) == (0, "complete"), ended.told
    assert dump_schema(moving.database) == before
    assert call("follow", "-c", moving.config).code == 2


def test_rehearsal(moving: Moving) -> None:
    """A dry run stops and resumes the writes, and changes nothing else."""
    with moving.application.writing():
        moving.application.wait_writes(20)
        answer = moving.cut_over("--dry-run")
        assert (answer.code, answer.json["status"]) == (0, "rehearsed"), answer.told
        assert answer.json["downtime_seconds"] > 0
        moving.application.wait_writes(20)
    assert moving.application.route == MONGO
    assert moving.application.lost_in_mongo() == {}
