"""`migrate run --dry-run`: a whole run and its verification in a throw-away database, and what both would take.

The same code as the real thing, beside stand-ins for the rows that are in the target: nothing else of it is read.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any, Literal

from migrator.config.models import Config
from migrator.errors import PlanError
from migrator.events import Emit, Notice
from migrator.mapping.loader import MigrationDefinition
from migrator.monitoring.stopwatch import Stopwatch
from migrator.sources.base import Source
from migrator.state.records import Connection
from migrator.targets.base import Target
from migrator.targets.ephemeral import ephemeral_database, ephemeral_target
from migrator.workflows import placeholders
from migrator.workflows.plan import examine_target
from migrator.workflows.reports import RunReport
from migrator.workflows.run import run_migration
from migrator.workflows.verify import VerifyReport, verify

Where = Literal["embedded", "target"]
WHERES: tuple[Where, ...] = ("embedded", "target")


@dataclass(frozen=True, slots=True, kw_only=True)
class RehearsalReport:
    """What `run` and `verify` came to, and how long each stage took (seconds).

    `round_trip` to the real target: seconds; None where it does not exist yet. `stand_ins`: for so many rows of others.
    """

    run: RunReport
    verified: VerifyReport | None
    where: Where
    run_stages: dict[str, float]
    stand_ins: int
    round_trip: float | None

    @property
    def ok(self) -> bool:
        return self.verified is None or self.verified.ok

    @property
    def seconds(self) -> float:
        """The downtime: run and verification, one after the other."""
        return self.run.seconds + (self.verified.seconds if self.verified else 0.0)

    @property
    def stages(self) -> dict[str, float]:
        """What `seconds` are made of."""
        proof = {"verify": self.verified.seconds} if self.verified else {}
        return {**self.run_stages, **proof}

    def as_json(self) -> dict[str, Any]:
        """As `run` does, and more."""
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
            "rows_of_others": self.stand_ins,
        }


def dry_run(
    config: Config,
    definition: MigrationDefinition,
    source: Source,
    target: Target | None,
    emit: Emit,
    *,
    where: Where,
    only: frozenset[str] = frozenset(),
) -> RehearsalReport:
    """`target` is None where it does not exist yet. With `only`, nothing is verified: most is missing.

    Errors: as `run_migration` and `verify`; `PlanError` where the target's schema is in the way.
    """
    config = offline_config(config, emit)
    blockers, _ = examine_target(config, definition, target)
    if blockers:
        raise PlanError("\n".join(blockers), hint="`migrate plan` shows all that is in the way.")
    with place_to_rehearse(where, target) as stage:
        count, round_trip = 0, None
        if target is not None:
            with closing(target.connect()) as real, closing(stage.connect()) as scratch:
                placeholders.refuse_migrated(real)
                count, round_trip = placeholders.copy_in(real, scratch, definition.metadata), measure_round_trip(real)
        watch = Stopwatch(emit)
        ran = run_migration(config, definition, source, stage, watch.emit, only)
        verified = None if only else prove(config, definition, source, stage, emit)
        return RehearsalReport(
            run=ran,
            verified=verified,
            where=where,
            run_stages=watch.by_stage(ran.seconds),
            stand_ins=count,
            round_trip=round_trip,
        )


def offline_config(config: Config, emit: Emit) -> Config:
    """Returns the configuration of a rehearsal: local workers, and no embedding service that costs money."""
    if config.engine.executor != "local":
        emit(Notice(text="A dry run uses worker processes of this machine only.", level="warning"))
        config = config.model_copy(update={"engine": config.engine.model_copy(update={"executor": "local"})})
    if config.embedding.provider == "openai":
        text = "A dry run does not call the embedding service. Its time and cost are not included."
        emit(Notice(text=text, level="warning"))
        config = config.model_copy(update={"embedding": config.embedding.model_copy(update={"provider": "none"})})
    return config


@contextmanager
def place_to_rehearse(where: Where, target: Target | None) -> Iterator[Target]:
    if where == "target" and target is not None:
        with ephemeral_database(target) as stage:
            yield stage
    else:
        with ephemeral_target(production_settings=True) as stage:
            yield stage


def prove(config: Config, definition: MigrationDefinition, source: Source, stage: Target, emit: Emit) -> VerifyReport:
    """Everything, as after a real run."""
    with closing(stage.connect()) as connection:
        return verify(config, definition, source, connection, stage.dsn, "roundtrip", emit)


def measure_round_trip(connection: Connection) -> float:
    """How long the target takes to answer the shortest question: seconds."""
    taken = []
    for _ in range(5):
        began = time.perf_counter()
        connection.execute("SELECT")
        taken.append(time.perf_counter() - began)
    return statistics.median(taken)
