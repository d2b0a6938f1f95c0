"""Changes of documents that share IDs, in all collections, lead to the database of a run on the final source."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from migrator.following import deferral
from tests.acceptance.test_collisions import read_all
from tests.acceptance.test_follow_equals_run import ALONE
from tests.archive_writer import write_folder
from tests.changing import applier_of, apply_changes
from tests.driving import call
from tests.hostile_changes import HostileChanging
from tests.scenarios import write_config

pytestmark = pytest.mark.usefixtures("quick")
DAILY, LONG = (0, 1, 2), 200  # each finds an error of the applier that no other daily test finds
ROUNDS, CHANGES = 3, 30


def check(seed: int, first: str, second: str, folder: Path) -> None:
    """Applies changes to the database `first` in rounds, and compares it with a run into `second`."""
    source = HostileChanging(seed)
    settings = source.settings | ALONE
    url = f"dump:{write_folder(folder / 'dump', source.documents(), gzipped=False)}"
    config = write_config(folder / "migrate.toml", url, first, settings)
    run(config)
    with applier_of(config) as (applier, _):
        for number in range(ROUNDS):
            for _ in range(CHANGES):
                source.change()
            apply_changes(applier, source.take(), random.Random(seed * ROUNDS + number))
        deferral.restore(applier.stage.rows)
    url = f"dump:{write_folder(folder / 'final', source.documents(), gzipped=False)}"
    run(write_config(folder / "fresh.toml", url, second, settings))
    followed, fresh = dict(read_all(first)), dict(read_all(second))
    for name, rows in fresh.items():
        missing, extra = sorted(set(rows) - set(followed[name])), sorted(set(followed[name]) - set(rows))
        assert (missing, extra) == ([], []), (seed, name)


def run(config: Path) -> None:
    answer = call("run", "-c", config, "--json")
    assert answer.code == 0, answer.told


@pytest.mark.parametrize("seed", DAILY)
def test_hostile_changes(seed: int, new_database: Callable[[], str], tmp_path: Path) -> None:
    """IDs, owners, references, `_id`s and types change; whole collections go; documents become undecodable."""
    check(seed, new_database(), new_database(), tmp_path)


@pytest.mark.long
@pytest.mark.parametrize("seed", sorted({*range(LONG)} - {*DAILY}))
def test_more_hostile_changes(seed: int, new_database: Callable[[], str], tmp_path: Path) -> None:
    """The same with more seeds."""
    check(seed, new_database(), new_database(), tmp_path)
