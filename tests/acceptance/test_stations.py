"""Forward, switch, back, forward, switch: the two databases agree at every station."""

from __future__ import annotations

import random
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from tests import mongo
from tests.reverse_rig import FIXTURES, read_dump
from tests.station_changes import SourceChanges, change_rows
from tests.stations import journey, rows_changing, source_changing

pytestmark = pytest.mark.usefixtures("quick")


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.long) for seed in range(1, 21))])
def test_stations(seed: int, live_server: mongo.Server, new_database: Callable[[], str], tmp_path: Path) -> None:
    """Random changes on each side, drained at each station. The daily case leaves out what others show, too."""
    is_daily = seed == 0
    chance, changes, documents = random.Random(seed), 15 if is_daily else 80, read_dump(FIXTURES / "demo")
    with (
        journey(live_server.url, f"stations_{seed}", new_database(), new_database(), tmp_path, documents) as rig,
        closing(SourceChanges(live_server.url, rig.name)) as source,
    ):
        for leg in range(2):
            for number in range(changes):
                source.change(chance, number)
            rig.follow()
            rig.assert_same((seed, leg, "forward"))
            if leg == 1 or not is_daily:
                rig.assert_equals_run((seed, leg))
            if leg == 1 and is_daily:
                break
            rig.cut_over()
            for number in range(changes):
                change_rows(rig, chance, number)
            assert rig.back()["conflicts"] == 0, seed
            rig.assert_same((seed, leg, "back"))
            if leg == 0:
                rig.cut_over("--back")


KILLS = 10
BEFORE = ("suspend TTL", "stop writes", "prove the stop", "apply the last changes", "verify", "switch")
BEFORE_BACK = ("stop writes", "refuse writes", "return the last changes", "verify", "switch", "restore MongoDB")


@pytest.mark.long
@pytest.mark.parametrize("seed", range(100, 110))
def test_hundred_kills(seed: int, live_server: mongo.Server, new_database: Callable[[], str], tmp_path: Path) -> None:
    """Ten kills on the way, ten times: of following in both directions, of its receiver, and of cutovers."""
    chance, documents = random.Random(seed), read_dump(FIXTURES / "demo")
    with (
        journey(live_server.url, f"killed_{seed}", new_database(), new_database(), tmp_path, documents) as rig,
        closing(SourceChanges(live_server.url, rig.name)) as source,
    ):
        for leg in range(2):
            with source_changing(source, seed + leg):
                rig.kill_follow(chance, "command")
                rig.kill_follow(chance, "receiver")
            rig.follow()
            rig.assert_same((seed, leg, "forward"))
            rig.assert_equals_run((seed, leg))
            rig.verify()
            rig.kill_cutover(chance.choice([*BEFORE, "move the application"]))
            with rows_changing(rig, seed + leg):
                rig.kill_follow(chance, "command")
                if leg == 0:
                    rig.kill_follow(chance, "command")
            assert rig.back()["conflicts"] == 0, seed
            rig.assert_same((seed, leg, "back"))
            if leg == 0:
                rig.kill_cutover(chance.choice([*BEFORE_BACK, "move the application"]), "--back")
        assert rig.kills == KILLS
