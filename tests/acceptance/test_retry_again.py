"""`rejects retry` where nothing was mended, of every scenario: everything is as it was."""

from __future__ import annotations

from pathlib import Path

import psycopg
import pytest

from tests.driving import call, digest_database, hurried
from tests.scenarios import read_scenario, scenario_names, write_config, write_dump

pytestmark = pytest.mark.usefixtures("quick")

QUICK = ("texts-too-long-to-search", "nesting-too-deep", "conflicts-chain", "target-filled", "cycles-inferred")


@pytest.mark.parametrize(
    "name",
    [*QUICK, *(pytest.param(name, marks=pytest.mark.long) for name in scenario_names() if name not in QUICK)],
)
def test_nothing_is_mended(name: str, server_url: str, database: str, tmp_path: Path) -> None:
    """Rows, ledger, rejects, findings: all the same afterwards, and proven."""
    scenario = read_scenario(name)
    source = write_dump(scenario, tmp_path / "dump")
    config = write_config(tmp_path / "migrate.toml", f"dump:{source}", database, scenario.settings)
    with hurried(server_url):
        if scenario.before is not None:
            with psycopg.connect(database, autocommit=True) as connection:
                connection.execute((call("schema", "-c", config).out + scenario.before).encode())
        assert call("run", "-c", config).code == 0
        before = digest_database(database)
        answer = call("rejects", "retry", "-c", config)
        assert answer.code == 0, answer.told
        assert digest_database(database) == before
        for command in (("rejects", "list"), ("rejects", "export", tmp_path / "rejects.jsonl")):
            assert call(*command, "-c", config).code == 0
        assert call("revert", "--yes", "-c", config).code == 0
