"""A migration with every kind of column and key, without tenants."""

from __future__ import annotations

from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from tests.driving import call
from tests.every_kind import make_collections, write_project
from tests.user_projects import load_and_load_again

SEEDS = [1, *(pytest.param(seed, marks=pytest.mark.long) for seed in range(2, 40))]


@pytest.mark.parametrize("seed", SEEDS)
def test_every_kind(seed: int, database: str, tmp_path: Path) -> None:
    """Documents of expected and of arbitrary types are loaded, rebuilt exactly, reverted, and loaded again equally."""
    settings = write_project(tmp_path, database, make_collections(seed, 120))
    tables = load_and_load_again(settings, database)
    assert tables["items"] > 100
    assert tables["places"] > 10


# column → another value. Some of them are equal by =, but not the same.
CHANGES = {
    "small": "small + 1", "whole": "whole - 1", "big": "big + 1", "single": "single + 1", "double": "0",
    "exact": "(exact::text || CASE WHEN exact::text ~ '[.]' THEN '0' ELSE '.0' END)::numeric",
    "price": "price + 1", "flag": "NOT flag", "day": "day + 1",
    "opens": "opens + interval '1 microsecond'", "at": "at - interval '1 day'",
    "seen": "seen + interval '1 millisecond'", "uuid": "gen_random_uuid()", "data": "data || '\\x00'",
    "code": "'zz'", "state": "CASE state WHEN 'draft' THEN 'PAID' ELSE 'draft' END::item_state",
    "tags": "array_append(tags, NULL)", "sizes": "array_prepend(7, sizes)", "prices": "ARRAY[1.50, 2]",
    "raw": "'{\"x\":1}'", "extra": "extra || '{\"y\":2}'",
}  # fmt: skip


def test_changes_are_found(database: str, tmp_path: Path) -> None:
    """One changed value in each column of a kind is found by a comparison of rows, whatever = says about it."""
    settings = write_project(tmp_path, database, make_collections(0, 60))
    assert call("run", "-c", settings).code == 0
    changed: list[str] = []
    with psycopg.connect(database, autocommit=True) as connection:
        for column, value in CHANGES.items():
            query = sql.SQL(
                "UPDATE items SET {column} = {value} WHERE item_id = (SELECT item_id FROM items WHERE {column}"
                " IS NOT NULL AND {chosen} AND item_id <> ALL(%s) ORDER BY 1 LIMIT 1) RETURNING item_id"
            ).format(
                column=sql.Identifier(column),
                value=sql.SQL(value),
                chosen=sql.SQL("double::text = '-0'" if column == "double" else "true"),
            )
            row = connection.execute(query, (changed,)).fetchone()
            assert row is not None, column
            changed.append(row[0])
    verified = call("verify", "-c", settings, "--json")
    assert verified.code == 4
    compared = next(each for each in verified.json["checks"] if each["check"] == "rows" and each["table"] == "items")
    assert compared["differences"] == len(CHANGES)
