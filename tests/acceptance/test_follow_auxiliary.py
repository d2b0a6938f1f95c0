"""Recordings and chunks that change while a live source is followed: read again, and applied as a run would."""

from __future__ import annotations

import random
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path

import pytest

from tests.acceptance.test_follow import assert_equals_run
from tests.changing import DATABASE, Changing, changing_server
from tests.driving import call
from tests.lessons import Lessons, make_lessons
from tests.processes import finish
from tests.scenarios import write_config

pytestmark = pytest.mark.usefixtures("quick")

SETTINGS = {"source": {"database": DATABASE}}
SEED = 5


def change_auxiliary(made: Lessons, chance: random.Random) -> None:
    """Changes, removes and adds recordings and chunks."""
    other = make_lessons(len(made.recordings), len(made.chunks), seed=SEED + 1)
    for several, others, key in ((made.recordings, other.recordings, "id"), (made.chunks, other.chunks, "id")):
        for each, replacement in zip(several, others, strict=True):
            if chance.random() < 0.2:
                each.update({name: value for name, value in replacement.items() if name != key})
        del several[:: len(several) // 5]
        several.append({**deepcopy(several[0]), key: "new"})


def test_changed_recordings_and_chunks(new_database: Callable[[], str], tmp_path: Path) -> None:
    """`follow` applies what differs, also with changes of modules and files; a second call has nothing to do."""
    made, database = make_lessons(60, 100, seed=SEED), new_database()
    sections = {**SETTINGS, **made.write(tmp_path)}
    source = Changing(made.bson(), SEED)
    with changing_server(tmp_path / "mongo", source) as server:
        config = write_config(tmp_path / "migrate.toml", server.url, database, sections)
        assert call("run", "--follow", "--until-caught-up", "-c", config, "--json").code == 0
        change_auxiliary(made, random.Random(SEED))
        made.write(tmp_path)
        followed = finish("follow", "--until-caught-up", "-c", config, "--json")
        assert followed.code == 0, followed.told
        assert followed.json["applied"] > 0
        again = call("follow", "--until-caught-up", "-c", config, "--json")
        assert (again.code, again.json["applied"]) == (0, 0), again.told
        assert_equals_run(config, database, new_database())
