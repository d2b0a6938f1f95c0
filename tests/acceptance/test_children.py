"""Embedded documents that become rows of their own: loaded, compared, rebuilt, reverted with their document."""

from __future__ import annotations

from pathlib import Path

import psycopg
import pytest

from tests.driving import call, digest_database, dump_database
from tests.shop import Shop, write_project

SEEDS = [1, *(pytest.param(seed, marks=pytest.mark.long) for seed in range(2, 40))]


@pytest.mark.parametrize("seed", SEEDS)
def test_elements_become_rows(seed: int, database: str, tmp_path: Path) -> None:
    """Orders with items, discounts, payments and tags are loaded, rebuilt exactly, reverted, loaded again equally."""
    settings = write_project(tmp_path, database, Shop(seed, 150).collections())
    before = dump_database(database)
    assert call("plan", "-c", settings).code == 0
    run = call("run", "-c", settings, "--json")
    assert run.code == 0, run.err
    with psycopg.connect(database, autocommit=True) as connection:
        for table, least in {"order_items": 100, "discounts": 40, "payments": 40, "order_tags": 60}.items():
            found = connection.execute(f"SELECT count(*) FROM {table}").fetchone()  # noqa: S608
            assert found is not None
            assert found[0] >= least, table
    verified = call("verify", "-c", settings, "--level", "roundtrip", "--json")
    assert verified.code == 0, verified.out
    digests = digest_database(database)
    assert call("revert", "-c", settings, "--yes").code == 0
    assert dump_database(database) == before
    assert call("run", "-c", settings).code == 0
    assert digest_database(database) == digests
