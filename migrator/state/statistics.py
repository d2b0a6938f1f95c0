"""The planner's statistics of loaded tables and of the records.

Without them, the planner assumes that a table filled by COPY is small and uses nested loops for joins.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial

import sqlalchemy as sa
from psycopg import sql

from migrator.errors import TargetError
from migrator.postgres.scheduler import ScheduledTask, Scheduler
from migrator.postgres.table_names import name_of
from migrator.state.records import Connection, Namespace


@dataclass(frozen=True, slots=True, kw_only=True)
class Analysis:
    """Of what the statistics are computed: of a table, of the records. `connect` opens a session for the second one."""

    table: bool = True
    records: bool = True
    connect: Callable[[], Connection] | None = None

    def run(self, connection: Connection, namespace: Namespace, table: sa.Table) -> None:
        """Compute the statistics; of both at the same time if there is a second session."""
        with ExitStack() as opened:
            scheduler = self._open(opened) if self.table and self.records else None
            if scheduler is not None:
                task = ScheduledTask(name="statistics", act=partial(analyze_records, namespace=namespace))
                scheduler.submit(task)
            if self.table:
                analyze_table(connection, namespace, table)
            if scheduler is not None:
                list(scheduler.as_completed())
            elif self.records:
                analyze_records(connection, namespace)

    def _open(self, opened: ExitStack) -> Scheduler | None:
        if self.connect is None:
            return None
        try:
            return opened.enter_context(Scheduler(self.connect, 1))
        except TargetError:  # the server has no connection to spare: one session can compute both, too
            return None


def analyze_table(
    connection: Connection, namespace: Namespace, table: sa.Table, columns: Sequence[str] | None = None
) -> None:
    """Compute the statistics of a table's columns: all, or the names `columns`.

    With a list of columns, ANALYZE skips expressions in indexes: to_tsvector of the sample would take longer than
    everything else, and full-text queries use their index without these statistics.
    """
    chosen = table.columns.keys() if columns is None else columns
    names = sql.SQL(", ").join(map(sql.Identifier, chosen))
    connection.execute(sql.SQL("ANALYZE {} ({})").format(namespace.table(name_of(table)), names))


def analyze_records(connection: Connection, namespace: Namespace) -> None:
    """Compute the statistics of the ledger and of the links, if the ledger has grown by a tenth since the last time."""
    query = namespace.sql(
        "SELECT (SELECT sum(documents) FROM {batches}) > 1.1 * reltuples FROM pg_class WHERE oid = %s::regclass"
    )
    found = connection.execute(query, (f"{namespace.records}.ledger",)).fetchone()
    if found != (False,):
        connection.execute(namespace.sql("ANALYZE {ledger}"))
        connection.execute(namespace.sql("ANALYZE {links}"))
