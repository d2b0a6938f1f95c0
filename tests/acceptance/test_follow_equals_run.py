"""Changes that are applied to a finished run lead to the database that a run on the final source would make."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from migrator.following import deferral
from tests.archive_writer import write_folder
from tests.changing import Changing, applier_of, apply_changes
from tests.driving import call, digest_database
from tests.scenarios import write_config
from tests.talks import make_talks

pytestmark = pytest.mark.usefixtures("quick")


def check(seed: int, first: str, second: str, folder: Path, changes: int = 115) -> None:
    source = Changing(make_talks(seed, messages=600), seed)
    url = f"dump:{write_folder(folder / 'dump', source.documents())}"
    config = write_config(folder / "migrate.toml", url, first)
    ran = call("run", "-c", config, "--json")
    assert ran.code == 0, ran.told
    for _ in range(changes):
        source.change()
    chance = random.Random(seed)
    with applier_of(config) as (applier, _):
        apply_changes(applier, source.take(), chance)
        deferral.restore(applier.stage.rows)
    write_folder(folder / "dump", source.documents())
    again = call("run", "-c", write_config(folder / "fresh.toml", url, second), "--json")
    assert again.code == 0, again.told
    found, expected = digest_database(first), digest_database(second)
    assert found == expected, f"seed {seed}"


@pytest.mark.parametrize("seed", range(2))
def test_random_changes(seed: int, new_database: Callable[[], str], tmp_path: Path) -> None:
    """Ids, owners, e-mails, parents and groups change; documents come and go."""
    check(seed, new_database(), new_database(), tmp_path)
