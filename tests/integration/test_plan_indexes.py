"""The rehearsal of a plan does not build full-text indexes of large tables: it forecasts them and what they refuse."""

from __future__ import annotations

import pytest

from migrator.errors import DifferenceError
from migrator.events import silent
from migrator.postgres import catalog
from migrator.stages.prepare import prepare
from migrator.targets.server import ServerTarget
from migrator.workflows import plan_indexes
from migrator.workflows.plan_indexes import Forecast, rehearse_indexes
from schema import metadata
from tests.integration.schemas import OURS, Connection, add_rows, connected

TEXT = "messages_search_idx"


@pytest.fixture
def prepared(database: str, monkeypatch: pytest.MonkeyPatch) -> Connection:
    """A loaded target, whose tables count as large."""
    monkeypatch.setattr(plan_indexes, "EARLY_BUILD_BYTES", 1)
    connection = connected(database)
    prepare(connection, metadata, rls=False, emit=silent)
    add_rows(connection, OURS)
    return connection


def rehearsed(database: str) -> Forecast:
    return rehearse_indexes(ServerTarget(database), metadata, 2, silent)


def test_a_full_text_index_is_forecast_and_all_others_are_built(database: str, prepared: Connection) -> None:
    prepared.execute(
        "UPDATE messages SET content = (SELECT string_agg(md5(n::text), ' ') FROM generate_series(1, 500) n)"
    )
    found = rehearsed(database)
    built = catalog.read(prepared).indexes
    wanted = catalog.read_expected(prepared, metadata, rls=False).indexes
    assert {name for name in wanted if name not in built} == {"memories_search_idx", TEXT}
    assert found.seconds > 0
    before = found.bytes
    prepared.execute(f"CREATE INDEX {TEXT} ON messages USING gin (to_tsvector('english', content))")
    row = prepared.execute(f"SELECT pg_relation_size('{TEXT}')").fetchone()
    assert row is not None
    assert row[0] <= before <= 2 * row[0]


def test_a_text_that_its_index_cannot_hold_is_found_without_the_index(database: str, prepared: Connection) -> None:
    prepared.execute(
        "UPDATE messages SET content = (SELECT string_agg(md5(n::text), ' ') FROM generate_series(1, 40000) n)"
        " WHERE parent_id IS NULL"
    )
    with pytest.raises(DifferenceError, match=f"a row of table messages is too large for the index {TEXT}"):
        rehearsed(database)


def test_a_sentence_of_the_longest_words_below_the_limit_fits(prepared: Connection) -> None:
    """What is not looked at cannot be refused: hyphenated words take the most room, as a whole and in parts."""
    words = "-".join(f"{number:x}" for number in range(30_000))[: plan_indexes.SAFE_BYTES]
    many = " ".join(f"{number:x}-{number + 1:x}" for number in range(30_000))[: plan_indexes.SAFE_BYTES]
    for text in (words, many):
        prepared.execute("SELECT to_tsvector('english', %s)", (text,))
