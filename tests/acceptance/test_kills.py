"""kill -9 of any process at any moment: the run goes on, alone or by the same command, and ends as if undisturbed."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

import schema
from migrator.postgres import ddl
from migrator.targets.embedded import EmbeddedTarget
from tests import mongo
from tests.archive_writer import write_archive, write_folder
from tests.driving import call, digest_database
from tests.killing import Killer, Server, measure, run_to_the_end
from tests.scenarios import write_config
from tests.talks import make_talks

# Held back: else all is loaded before anybody has looked where the run is, and what is killed is what comes after.
ENGINE = {"engine": {"batch_rows": 60, "part_bytes": 20_000, "workers": 2, "max_rows_per_second": 400}}
PREPARED = sum(each.before_load for each in ddl.statements(schema.metadata, rls=True))
FORMS = ("folder", "archive", "live")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    target = EmbeddedTarget(tmp_path_factory.mktemp("killed") / "postgres", durable=False)
    yield Server(target)
    target.close()


@pytest.mark.parametrize(("form", "kills"), [("folder", 5), ("live", 5)])
def test_killed_at_any_moment(form: str, kills: int, server: Server, tmp_path: Path) -> None:
    """Ten kills of the command, a worker, a session, PostgreSQL, the source: all that is left behind is the same."""
    check_kills(server, tmp_path, form, kills=kills, seed=random.randrange(10_000), messages=800)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(20))
def test_two_hundred_kills(seed: int, server: Server, tmp_path: Path) -> None:
    """Ten kills twenty times over."""
    check_kills(server, tmp_path, FORMS[seed % 3], kills=10, seed=seed)


def check_kills(server: Server, folder: Path, form: str, *, kills: int, seed: int, messages: int = 3000) -> None:
    made = make_talks(messages=messages)
    with ExitStack() as opened:
        source = None
        if form == "live":
            source = opened.enter_context(mongo.server_in(folder / "mongo"))
            mongo.fill(source.url, "chat", made)
            url = f"{source.url}/chat?serverSelectionTimeoutMS=3000"
        elif form == "folder":
            url = f"dump:{write_folder(folder / 'dump', made)}"
        else:
            url = f"dump:{write_archive(folder / 'dump', {'chat': made})}"
        whole = server.new_database()
        assert call("run", "-c", write_config(folder / "whole.toml", url, whole, ENGINE)).code == 0
        expected, progress = digest_database(whole), measure(whole, PREPARED)
        killer = Killer(random.Random(seed), kills, progress, server.revive, source)
        while not killer.done:
            broken = server.new_database()
            config = write_config(folder / "broken.toml", url, broken, ENGINE)
            run_to_the_end(killer, config, broken)
            assert digest_database(broken) == expected, (seed, killer.killed)
        if kills > 5:
            assert call("verify", "-c", config, "--level", "roundtrip").code == 0
