"""Changes that are applied to a finished run lead to the database that a run on the final source would make."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from migrator.following import deferral
from tests.archive_writer import write_folder
from tests.changing import Changing, applier_of, apply_changes
from tests.driving import call, digest_database
from tests.scenarios import write_config
from tests.talks import make_talks

pytestmark = pytest.mark.usefixtures("quick")


ALONE = {"engine": {"workers": 1}}  # a second process costs more than it saves
SETTINGS: dict[str, dict[str, Any]] = {
    "plain": {},
    "adopt": {"policies": {"orphan_owner": "u0@example.com"}},
    "merge": {"policies": {"duplicate_email": "merge"}},
    "both": {"policies": {"orphan_owner": "u0@example.com", "duplicate_email": "merge"}},
}


@dataclass(frozen=True, kw_only=True)
class Case:
    """A seed of random documents and changes, and a name of settings."""

    seed: int
    settings: str = "plain"

    def check(self, first: str, second: str, folder: Path, changes: int = 115) -> None:
        """Applies changes to the database `first`, and compares it with a run into `second`."""
        settings, source = SETTINGS[self.settings] | ALONE, Changing(make_talks(self.seed, messages=600), self.seed)
        url = f"dump:{write_folder(folder / 'dump', source.documents())}"
        config = write_config(folder / "migrate.toml", url, first, settings)
        migrate(config, "run")
        for _ in range(changes):
            source.change()
        with applier_of(config) as (applier, _):
            apply_changes(applier, source.take(), random.Random(self.seed))
            deferral.restore(applier.stage.rows)
        write_folder(folder / "dump", source.documents())
        migrate(write_config(folder / "fresh.toml", url, second, settings), "run")
        assert digest_database(first) == digest_database(second), self


def migrate(config: Path, command: str) -> None:
    answer = call(command, "-c", config, "--json")
    assert answer.code == 0, answer.told


@pytest.mark.parametrize("settings", SETTINGS)
def test_random_changes(settings: str, new_database: Callable[[], str], tmp_path: Path) -> None:
    """Ids, owners, e-mails, parents and groups change; documents come and go."""
    Case(seed=1, settings=settings).check(new_database(), new_database(), tmp_path)


@pytest.mark.long
@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize("seed", range(100, 150))
def test_many_random_changes(seed: int, settings: str, new_database: Callable[[], str], tmp_path: Path) -> None:
    """The same with 200 other cases."""
    Case(seed=seed, settings=settings).check(new_database(), new_database(), tmp_path)
