"""Forward, switch, back, forward, switch: the two databases agree at every station."""

from __future__ import annotations

import random
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from tests import mongo
from tests.reverse_rig import FIXTURES, read_dump
from tests.stations import SourceChanges, change_rows, journey

pytestmark = pytest.mark.usefixtures("quick")


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.long) for seed in range(1, 21))])
def test_stations(seed: int, live_server: mongo.Server, new_database: Callable[[], str], tmp_path: Path) -> None:
    """Random changes on each side, drained at each station."""
    chance, changes, documents = random.Random(seed), 25 if seed == 0 else 80, read_dump(FIXTURES / "demo")
    with (
        journey(live_server.url, f"stations_{seed}", new_database(), new_database(), tmp_path, documents) as rig,
        closing(SourceChanges(live_server.url, rig.name)) as source,
    ):
        for leg in range(2):
            for number in range(changes):
                source.change(chance, number)
            rig.follow()
            rig.assert_same((seed, leg, "forward"))
            rig.assert_equals_run((seed, leg))
            rig.cut_over()
            for number in range(changes):
                change_rows(rig, chance, number)
            assert rig.back()["conflicts"] == 0, seed
            rig.assert_same((seed, leg, "back"))
            if leg == 0:
                rig.cut_over("--back")
