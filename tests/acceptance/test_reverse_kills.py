"""The process that returns changes is killed while the application writes: MongoDB ends up with what PostgreSQL has."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from tests import mongo
from tests.reverse_killing import application, kill_follow
from tests.reverse_rig import FIXTURES, read_dump, switched

pytestmark = pytest.mark.usefixtures("quick")


@pytest.mark.parametrize(
    ("seed", "kills"), [(1, 2), *(pytest.param(n, 5, marks=pytest.mark.long) for n in range(2, 22))]
)
def test_kills(
    seed: int, kills: int, live_server: mongo.Server, new_database: Callable[[], str], tmp_path: Path
) -> None:
    chance, documents = random.Random(seed), read_dump(FIXTURES / "demo")
    with switched(live_server.url, f"kills_{seed}", new_database(), tmp_path, documents, {}) as rig:
        with application(rig, seed, pause=0.005):
            kill_follow(rig, chance, kills)
        report = rig.back()
        assert report["conflicts"] == 0, seed
        assert report["waiting"] == 0
        rig.assert_same(seed)
