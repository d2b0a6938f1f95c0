"""Comparison of translation (projection, lookups, mapping, ledger, encoding) with one process and with two.

Nothing is written. Each process has its own connection for lookups. Times are measured after a warm-up.
"""

from __future__ import annotations

import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import psycopg

from bench.database import BenchDatabase
from bench.processes import Series
from migrator.config.models import Config
from migrator.execution.tasks import without_gc
from migrator.mapping.loader import load_definition
from migrator.rows.lookup import RowLookup
from migrator.rows.store import RowStore
from migrator.state.records import Namespace
from migrator.state.tenant import Options
from migrator.translation.translator import Translator

ONE, TWO = "translating, 1 process", "translating, 2 processes"
_translators: list[Translator] = []  # one per process


def compare_processes(data: BenchDatabase, repetitions: int) -> Series:
    """Return the seconds for all batches with one process and with two, alternately."""
    series, context = Series(), get_context("forkserver")
    settings = (data.options.config, data.connection.info.dsn)
    with (
        ProcessPoolExecutor(1, context, start_process, settings) as one,
        ProcessPoolExecutor(2, context, start_process, settings) as two,
    ):
        for pool in (one, two):
            list(pool.map(translate, data.batches[:4], chunksize=1))
        for _ in range(repetitions):
            for name, pool in ((ONE, one), (TWO, two)):
                began = time.perf_counter()
                list(pool.map(translate, data.batches))
                series.add(name, time.perf_counter() - began)
    return series


def start_process(config: Config, dsn: str) -> None:
    """Create the translator of a worker process."""
    definition = load_definition("mappings", "schema")
    connection = psycopg.connect(dsn, autocommit=True)
    resolver = RowLookup(RowStore(connection, Namespace(), definition.mappings), config.tenant.id)
    options = Options(config, config.tenant.id, None)
    _translators.append(Translator(definition.mappings["messages"], options, resolver, "conversation_id"))


def translate(batch: bytes) -> int:
    """Translate a batch; return the size of its rows in bytes."""
    with without_gc():
        return len(_translators[0].translate(batch)[0].rows)


def scaling_lines(series: Series, documents: int) -> list[str]:
    """Return the lines on translation with one process and with two."""
    return [
        *series.lines(documents),
        f"{'one process ÷ two processes':52}{series.ratio(ONE, TWO):9.2f}",
    ]
