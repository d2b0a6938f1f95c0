"""The report of a run."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from migrator.embedding import vector_store
from migrator.postgres import schema_changes
from migrator.postgres.table_names import name_of
from migrator.rows.element_counts import count_elements
from migrator.state import journal
from migrator.state.ledger import Counts, count_by, count_outcomes
from migrator.state.records import Connection
from migrator.workflows.migration import MigrationContext


@dataclass(frozen=True, slots=True, kw_only=True)
class RunReport:
    """The output of `migrate run`: see contract.md, JSON shapes."""

    run: int
    status: str
    collections: dict[str, Counts]
    tables: dict[str, int]
    findings: dict[str, int]
    rejects: dict[str, int]
    seconds: float
    embedding: dict[str, Any] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        return {
            "run": self.run,
            "status": self.status,
            "collections": {name: counts.as_json() for name, counts in self.collections.items()},
            "tables": self.tables,
            "findings": self.findings,
            "rejects": self.rejects,
            "embedding": self.embedding,
            "seconds": round(self.seconds, 3),
        }


def report_run(
    context: MigrationContext, connection: Connection, started: float, known: Mapping[str, Counts] | None = None
) -> RunReport:
    """Return the state of the migration in the target. `started`: the start of the command on the monotonic clock.

    `known`: the counts of every collection, if the caller has them: to count a large ledger takes a while.
    """
    definition, namespace = context.definition, context.namespace
    latest = journal.latest_run(connection, namespace)
    assert latest is not None  # called with a run open or done
    collections = count_outcomes(connection, namespace) if known is None else dict(known)
    tables: dict[str, int] = defaultdict(int)
    for name, counts in collections.items():
        if name in definition.mappings:
            tables[name_of(definition.mappings[name].table)] += counts.loaded
    created = schema_changes.created_tables(connection)
    tables |= count_elements(connection, namespace, definition.mappings, created)
    embedded = definition.embedded
    return RunReport(
        run=latest[0],
        status=latest[1],
        collections=collections,
        tables=dict(tables),
        findings=count_by(connection, namespace, "findings", "code"),
        rejects=count_by(connection, namespace, "rejects", "reason"),
        embedding={} if embedded is None else vector_store.describe(connection, namespace, embedded),
        seconds=time.monotonic() - started,
    )
