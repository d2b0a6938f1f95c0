"""The whole life of a migration on PostgreSQL 16 and 18, directly and through PgBouncer in session mode."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests import postgres16
from tests.conftest import fresh_database
from tests.driving import call, digest_database, dump_database
from tests.pgbouncer import pooled
from tests.scenarios import write_config

DEMO = Path(__file__).parents[2] / "fixtures" / "demo"


@pytest.fixture(scope="module")
def server16() -> Iterator[str]:
    with postgres16.running() as url:
        yield url


@pytest.mark.parametrize(
    ("version", "way"),
    [
        (16, "pooled"),
        pytest.param(18, "direct", marks=pytest.mark.long),  # all other tests use it
        pytest.param(16, "direct", marks=pytest.mark.long),
        pytest.param(18, "pooled", marks=pytest.mark.long),
    ],
)
def test_whole_life(version: int, way: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    """plan, run, verify, revert and run again give the same database, and revert restores the target."""
    server = request.getfixturevalue("server16" if version == 16 else "server_url")
    with ExitStack() as exits:
        database = exits.enter_context(fresh_database(server))
        url = exits.enter_context(pooled(database, "session")) if way == "pooled" else database
        config = write_config(tmp_path / "migrate.toml", f"dump:{DEMO}", url)
        before = dump_database(database)
        digests = []
        for _ in range(2):
            for command in (["check"], ["plan"], ["run", "--yes"], ["verify", "--level", "roundtrip"]):
                answer = call(*command, "-c", config)
                assert answer.code == 0, answer.told
            digests.append(digest_database(database))
            assert call("revert", "--yes", "-c", config).code == 0
            assert dump_database(database) == before
        assert digests[0] == digests[1]
