"""Builds the indexes of a rehearsal, and forecasts the full-text indexes of large tables instead of building them.

A full-text index takes more time than the load of its table. It can refuse a row for one reason only: the text is too
long. Its duration and its size follow from those of an index on some of the rows.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass

from psycopg import sql
from sqlalchemy import MetaData

from migrator.events import Emit
from migrator.postgres import ddl
from migrator.postgres.statements import Statement
from migrator.stages.arrangement import table_sizes
from migrator.stages.changes import translate_row_errors
from migrator.stages.constrain import (
    EARLY_BUILD_BYTES,
    BuildOptions,
    build_post_data,
    prepare_session,
)
from migrator.state.records import Connection
from migrator.targets.base import Target

# A tsvector has at most 1 MiB of words and their places: at most three times the bytes of the text, which the words of
# a hyphenated word repeat. A dictionary may replace words by longer ones.
SAFE_BYTES = 100_000
SAMPLE_BYTES = 4 << 20  # of a table
_FULL_TEXT = re.compile(
    r"CREATE INDEX \S+ ON (?P<table>\S+) USING gin \((?P<value>to_tsvector\('\w+', (?P<column>\w+)\))\)"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """The seconds and bytes that indexes will take which the rehearsal did not build."""

    seconds: float = 0.0
    bytes: int = 0


def rehearse_indexes(database: Target, metadata: MetaData, sessions: int, emit: Emit) -> Forecast:
    """Build indexes and foreign keys, which shows their duration and that the rows satisfy them.

    Raises: `DifferenceError` if rows violate a foreign key or are too large for an index.
    """
    with closing(database.connect()) as connection:
        left_out = {each.ref: each for each in find_full_text(connection, metadata)}
        found = [forecast(prepare_session(connection), each) for each in left_out.values()]
    options = BuildOptions(rls=False, sessions=sessions, left_out=frozenset(left_out))
    build_post_data(database.connect, metadata, options, emit)
    # A run builds them with as many processes as sessions.
    return Forecast(seconds=sum(each.seconds for each in found) / sessions, bytes=sum(each.bytes for each in found))


def find_full_text(connection: Connection, metadata: MetaData) -> Iterator[Statement]:
    """Yield the full-text indexes of large tables."""
    sizes = table_sizes(connection)
    for each in ddl.statements(metadata, rls=False):
        if each.kind == "index" and sizes.get(each.table, 0) >= EARLY_BUILD_BYTES and _FULL_TEXT.fullmatch(each.sql):
            yield each


def forecast(connection: Connection, index: Statement) -> Forecast:
    """Check that an index can hold all rows, and build it on some of them.

    Raises: `DifferenceError` if a text is too long.
    """
    found = _FULL_TEXT.fullmatch(index.sql)
    assert found is not None  # `find_full_text` chose it
    table, value, column = (sql.SQL(found[name]) for name in ("table", "value", "column"))
    with connection.transaction(force_rollback=True):
        with translate_row_errors(index.ref):
            query = sql.SQL("SELECT count({}) FROM {} WHERE octet_length({}) > {}")
            connection.execute(query.format(value, table, column, sql.Literal(SAFE_BYTES)))
        size = table_sizes(connection)[index.table]
        sample = sql.SQL(
            "CREATE TEMPORARY TABLE sampled_rows AS SELECT {} FROM {} TABLESAMPLE SYSTEM ({}) REPEATABLE (1)"
        )
        percent = sql.Literal(min(100.0, 100.0 * SAMPLE_BYTES / size))
        sampled = connection.execute(sample.format(column, table, percent)).rowcount
        counted = connection.execute(sql.SQL("SELECT count(*) FROM {}").format(table)).fetchone()
        share = (counted[0] if counted else 0) / max(1, sampled)
        began = time.perf_counter()
        connection.execute(sql.SQL("CREATE INDEX sampled_index ON pg_temp.sampled_rows USING gin ({})").format(value))
        seconds = time.perf_counter() - began
        taken = connection.execute("SELECT pg_relation_size('pg_temp.sampled_index')").fetchone()
    return Forecast(seconds=seconds * share, bytes=round((taken[0] if taken else 0) * share))
