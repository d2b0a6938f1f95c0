"""In which order the slow changes of the stage post-data are executed: by the locks that they take."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import psycopg

from migrator.postgres.scheduler import Graph, ScheduledTask
from migrator.postgres.table_names import catalog_query
from migrator.stages.changes import Change, Phase

Connection = psycopg.Connection[Any]

# The cost per byte of the table, relative to a B-tree: measured 0.7 µs per message of 1.2 KB, full text 63 µs and more.
COSTS = {"gin": 100.0, "gist": 100.0}


def table_sizes(connection: Connection) -> dict[str, int]:
    """Returns the bytes of each table. Those of PostgreSQL are left out: to measure their files takes 8 ms."""
    query = catalog_query(
        "SELECT TABLE_NAME(c), pg_table_size(c.oid) FROM pg_class c"
        " WHERE c.relkind = 'r' AND c.relnamespace <> 'pg_catalog'::regnamespace"
    )
    return dict(connection.execute(query.encode()).fetchall())


def arrange(changes: list[Change], sizes: dict[str, int], table_tasks: Mapping[str, ScheduledTask]) -> Graph:
    """Return which change waits for which, by the locks that they take. `table_tasks` are the first of their tables.

    The validation of a foreign key excludes other validations and index builds of its table. So the validations of a
    table run one after the other, and its index builds, which run in parallel, after them: a violated foreign key is
    reported before a full-text index is built, which can take an hour. What makes an index that of a key excludes
    everything that uses the table: it waits for all builds, and for the validations that read the table. A foreign key
    to such a key follows when its two tables are at rest. A vector index is built last and alone, because its build
    uses all cores.
    """
    arrangement = _Arrangement(table_tasks)
    for change in sorted(changes, key=lambda change: change.phase):
        cost = sizes.get(change.ref.table, 0) * COSTS.get(change.method, 1.0)
        arrangement.add(change, change.task(0 if change.phase in (Phase.KEY, Phase.REFERENCE) else cost))
    return arrangement.graph


class _Arrangement:
    """The graph so far. `_last` is of each table the task that excludes others."""

    def __init__(self, table_tasks: Mapping[str, ScheduledTask]) -> None:
        self.graph: dict[ScheduledTask, set[ScheduledTask]] = {task: set() for task in table_tasks.values()}
        self._last = dict(table_tasks)
        self._using: dict[str, set[ScheduledTask]] = {name: {task} for name, task in table_tasks.items()}
        self._references: set[ScheduledTask] = set()

    def add(self, change: Change, task: ScheduledTask) -> None:
        """Add a change. Those of earlier phases have been added."""
        table = change.ref.table
        earlier = {self._last[table]} if table in self._last else set()
        match change.phase:
            case Phase.KEY:
                earlier |= self._using.get(table, set())
            case Phase.REFERENCE:
                earlier |= self._references | self._using.get(table, set()) | self._using.get(change.referenced, set())
                self._references = {task}
            case Phase.LATE_VALIDATION:
                earlier |= self._references
            case Phase.VECTOR:
                earlier = set(self.graph)
        self.graph[task] = earlier
        if change.phase != Phase.BUILD:
            self._last[table] = task
        for name in {table, change.referenced} - {""}:
            self._using.setdefault(name, set()).add(task)
