"""The bars of `migrate cutover`: how long an application that writes 300 times a second must wait."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests import mongo
from tests.acceptance.test_cutover import FAULTS, Moving
from tests.cutting import Application, configure, prepare

pytestmark = [pytest.mark.usefixtures("quick"), pytest.mark.long]
MESSAGES = 20_000
RATE = 300


def test_pause_at_300_writes_a_second(
    live_server: mongo.Server, new_database: Callable[[], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The longest time between two writes of the application, forward and back. It prints it; a bar would fail on a
    slow machine."""
    database = new_database()
    application = Application(live_server.url, database, tmp_path, rate=RATE, first=MESSAGES)
    config = configure(tmp_path, live_server.url, database, application.hooks)
    prepare(live_server.url, config, MESSAGES)
    moving = Moving(application, config, database)
    with moving.following(), application.writing():
        application.wait_writes(10 * RATE, 60)
        for name, fault in FAULTS.items():
            application.wait_writes(RATE, 60)
            application.longest = 0.0
            with monkeypatch.context() as changed, fault(moving, changed):
                answer = moving.cut_over()
            assert answer.code == (4 if name == "damage" else 5), (name, answer.told)
            application.wait_writes(10, 30)
            print(f"{name}: longest pause {application.longest:.2f} s, {answer.json['error']['hint']}")
        for options in (("--dry-run",), (), ("--back", "--dry-run"), ("--back",)):
            application.wait_writes(2 * RATE, 60)
            application.longest, began = 0.0, application.writes
            answer = moving.cut_over(*options)
            assert answer.code == 0, answer.told
            application.wait_writes(10, 30)
            print(options, f"longest pause {application.longest:.2f} s", application.writes - began, answer.json)
    assert application.lost_in_mongo() == {}
