"""kill -9 of the command, its receiver, the source or the target while a source is followed: no change is lost."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from migrator.targets.embedded import SETTINGS, EmbeddedTarget
from tests import mongo
from tests.changing import Changing, LiveChanges
from tests.driving import call, digest_database
from tests.follow_killing import Killer, plan_blows
from tests.killing import Server
from tests.scenarios import write_config
from tests.talks import make_talks

pytestmark = pytest.mark.usefixtures("quick")
# The rate is limited: else all is loaded before the first blow. One worker: it is in the process of the command.
ENGINE = {"max_rows_per_second": 1000, "batch_rows": 100, "workers": 1}


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A PostgreSQL that loses in a crash what was committed asynchronously in the last seconds."""
    settings = {**SETTINGS, "fsync": "off", "full_page_writes": "off", "wal_writer_delay": "10s"}
    found = EmbeddedTarget(tmp_path_factory.mktemp("killed") / "postgres", settings=settings)
    yield Server(found)
    found.close()


@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.long)])
def test_kills(
    seed: int, live_server: mongo.Server, target: Server, new_database: Callable[[], str], tmp_path: Path
) -> None:
    """Four kills, one of them during the load."""
    check_kills(seed, 1, 3, messages=100, source=live_server, target=target, fresh=new_database(), folder=tmp_path)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(100, 125))
def test_two_hundred_kills(
    seed: int, live_server: mongo.Server, target: Server, new_database: Callable[[], str], tmp_path: Path
) -> None:
    """Eight kills, 25 times."""
    check_kills(seed, 3, 5, messages=800, source=live_server, target=target, fresh=new_database(), folder=tmp_path)


def check_kills(
    seed: int, during_load: int, after_load: int, *,
    messages: int, source: mongo.Server, target: Server, fresh: str, folder: Path,
) -> None:  # fmt: skip
    """Kills while changes are written; then the database is what a run on the final source makes."""
    name, database = f"killed_{seed}", target.new_database()
    changing = Changing(make_talks(seed, messages=messages), seed)
    mongo.fill(source.url, name, changing.documents())
    settings = {"source": {"database": name}, "engine": ENGINE}
    config = write_config(folder / "migrate.toml", source.url, database, settings)
    killer = Killer(config, database, target, source, plan_blows(seed, during_load, after_load))
    with closing(LiveChanges(source.url, changing, name)) as live:
        killer.run(live)
    ran = call("run", "-c", write_config(folder / "fresh.toml", source.url, fresh, settings), "--json")
    assert ran.code == 0, ran.told
    assert digest_database(database) == digest_database(fresh), (seed, killer.killed)
