"""How much sooner two processes are done than one with the part that is ours: decode, look up, map, account, encode.

Nothing is written. Each process has the connection of a worker for the lookups; the clock runs while both are warm.
"""

from __future__ import annotations

import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import psycopg

from bench.processes import Series
from bench.stage import Scene
from migrator.config.models import Config
from migrator.execution.tasks import without_gc
from migrator.mapping.loader import load_definition
from migrator.rows.lookup import RowLookup
from migrator.rows.store import RowStore
from migrator.state.tenant import Options
from migrator.translation.translator import Translator
from migrator.workflows.run import PLACE

ONE, TWO = "translating, 1 process", "translating, 2 processes"
_translators: list[Translator] = []  # of a process


def compare_processes(scene: Scene, repetitions: int) -> Series:
    """Seconds for all batches of the scene, by one process and by two, in turns."""
    series, context = Series(), get_context("forkserver")
    settings = (scene.options.config, scene.connection.info.dsn)
    with (
        ProcessPoolExecutor(1, context, set_up, settings) as one,
        ProcessPoolExecutor(2, context, set_up, settings) as two,
    ):
        for pool in (one, two):
            list(pool.map(translate, scene.batches[:4], chunksize=1))
        for _ in range(repetitions):
            for name, pool in ((ONE, one), (TWO, two)):
                began = time.perf_counter()
                list(pool.map(translate, scene.batches))
                series.add(name, time.perf_counter() - began)
    return series


def set_up(config: Config, dsn: str) -> None:
    definition = load_definition("mappings", "schema")
    connection = psycopg.connect(dsn, autocommit=True)
    resolver = RowLookup(RowStore(connection, PLACE, definition.mappings), config.tenant.id)
    options = Options(config, config.tenant.id, None)
    _translators.append(Translator(definition.mappings["messages"], options, resolver, "conversation_id"))


def translate(batch: bytes) -> int:
    with without_gc():
        return len(_translators[0].translate(batch)[0].rows)
