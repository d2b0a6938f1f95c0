"""`migrate run --dry-run`: a complete run and its verification in a temporary database, with the duration of both.

It executes the same code as a real run. The existing rows of the target are represented by placeholder rows.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from typing import Any

from migrator.config.models import Config
from migrator.errors import PlanError, RejectLimitError
from migrator.events import Emit, Notice, as_dry_run
from migrator.monitoring.stopwatch import Stopwatch
from migrator.postgres.owner_copies import copy_owner_constraints
from migrator.state.records import Connection
from migrator.targets.base import Target
from migrator.targets.ephemeral import ephemeral_database, ephemeral_target
from migrator.workflows import placeholders
from migrator.workflows.migration import MigrationContext
from migrator.workflows.plan import examine_target
from migrator.workflows.reports import RunReport
from migrator.workflows.run import run_migration
from migrator.workflows.run_options import Where
from migrator.workflows.verify import VerifyOptions, VerifyReport, verify


@dataclass(frozen=True, slots=True, kw_only=True)
class DryRunReport:
    """The results of `run` and `verify`, and the duration of each stage in seconds.

    `round_trip`: duration of a query to the real target in seconds; None if the target does not exist yet.
    `placeholders`: the number of existing rows in the target.
    """

    run: RunReport
    verified: VerifyReport | None
    where: Where
    run_stages: dict[str, float]
    placeholders: int
    round_trip: float | None

    @property
    def ok(self) -> bool:
        return self.verified is None or self.verified.ok

    @property
    def seconds(self) -> float:
        """The expected downtime: run and verification, one after the other."""
        return self.run.seconds + (self.verified.seconds if self.verified else 0.0)

    @property
    def stages(self) -> dict[str, float]:
        """The stages of which `seconds` is the sum."""
        verification = {"verify": self.verified.seconds} if self.verified else {}
        return {**self.run_stages, **verification}

    def as_json(self) -> dict[str, Any]:
        """Return the JSON of the run with that of the verification and the estimate."""
        return {
            **self.run.as_json(),
            "dry_run": True,
            "verify": self.verified and self.verified.as_json(),
            "estimate": {
                "seconds": round(self.seconds, 1),
                "stages": {name: round(seconds, 2) for name, seconds in self.stages.items()},
                "measured_in": self.where,
                "round_trip_ms": self.round_trip and round(self.round_trip * 1000, 2),
            },
            "rows_of_others": self.placeholders,
        }


def dry_run(
    context: MigrationContext, target: Target | None, where: Where, only: frozenset[str] = frozenset()
) -> DryRunReport:
    """Execute a dry run. `target` is None if it does not exist yet. With `only`, the verification is skipped.

    Raises: the errors of `run_migration` and `verify`; `PlanError` if the target's schema differs from the definition.
    """
    context = replace(context, config=offline_config(context.config, context.emit))
    blockers, _ = examine_target(context.config, context.definition, target)
    if blockers:
        raise PlanError("\n".join(blockers), hint="`migrate plan` shows all blockers.")
    with open_database(where, target) as database:
        count, round_trip = 0, None
        if target is not None:
            with closing(target.connect()) as existing, closing(database.connect()) as scratch:
                placeholders.refuse_migrated(existing, context.namespace)
                metadata = context.definition.metadata
                count = placeholders.copy_placeholders(existing, scratch, metadata, context.namespace)
                for text in copy_owner_constraints(existing, scratch, metadata):
                    context.emit(Notice(text=text, level="warning"))
                round_trip = measure_round_trip(existing)
        watch = Stopwatch(as_dry_run(context.emit))
        ran = run_rehearsal(replace(context, emit=watch.emit), database, only)
        verified = None if only else verify_dry_run(context, database)
        return DryRunReport(
            run=ran,
            verified=verified,
            where=where,
            run_stages=watch.by_stage(ran.seconds),
            placeholders=count,
            round_trip=round_trip,
        )


def run_rehearsal(context: MigrationContext, database: Target, only: frozenset[str]) -> RunReport:
    """Execute the run in the temporary database.

    Raises: `RejectLimitError` in the words of a rehearsal: there are no records to look at, and nothing to revert.
    """
    try:
        return run_migration(context, database, only)
    except RejectLimitError as error:
        raise RejectLimitError(
            f"the run would stop before it creates indexes: {error.message}",
            hint="The dry run wrote nothing to the target. `migrate plan` lists the reasons, `migrate plan --details"
            " COLLECTION` shows examples. Fix the causes, or raise policies.max_rejected.",
        ) from error


def offline_config(config: Config, emit: Emit) -> Config:
    """Return the configuration of a dry run: workers on this machine, and no embedding service that costs money."""
    if config.engine.executor != "local":
        emit(Notice(text="A dry run uses worker processes of this machine only.", level="warning"))
        config = config.model_copy(update={"engine": config.engine.model_copy(update={"executor": "local"})})
    if config.embedding.provider == "openai":
        text = "A dry run does not call the embedding service. Its time and cost are not included."
        emit(Notice(text=text, level="warning"))
        config = config.model_copy(update={"embedding": config.embedding.model_copy(update={"provider": "none"})})
    return config


@contextmanager
def open_database(where: Where, target: Target | None) -> Iterator[Target]:
    """Open a temporary database: embedded, or on the server of the target."""
    if where == "target" and target is not None:
        with ephemeral_database(target) as database:
            yield database
    else:
        with ephemeral_target(production_settings=True) as database:
            yield database


def verify_dry_run(context: MigrationContext, database: Target) -> VerifyReport:
    """Verify everything, as after a real run."""
    with closing(database.connect()) as connection:
        return verify(context, connection, database.dsn, VerifyOptions(level="roundtrip"))


def measure_round_trip(connection: Connection) -> float:
    """Return the median duration of an empty query in seconds."""
    taken = []
    for _ in range(5):
        began = time.perf_counter()
        connection.execute("SELECT")
        taken.append(time.perf_counter() - began)
    return statistics.median(taken)
