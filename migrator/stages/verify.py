"""Proves the target against the source: counts, references, catalog; rows by mapping again; documents by rebuilding."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from migrator import journal, scratch
from migrator.checks import accounts, integrity, rehearsal, roundtrip, vectors
from migrator.checks.base import Check
from migrator.concrete import Concrete
from migrator.config import Config
from migrator.errors import UsageError
from migrator.events import Emit, StepAdvanced, StepFinished, StepStarted
from migrator.handover import Counts
from migrator.journal import Connection, Place
from migrator.pipeline import Pipeline
from migrator.sources.base import Source

Level = Literal["counts", "rows", "roundtrip"]
LEVELS: tuple[Level, ...] = ("counts", "rows", "roundtrip")


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifyReport:
    """What `migrate verify` prints: see contract.md, JSON shapes."""

    level: Level
    checks: tuple[Check, ...]
    collections: dict[str, Counts]
    seconds: float

    @property
    def ok(self) -> bool:
        return all(check.ok for check in self.checks)

    def as_json(self) -> dict[str, Any]:
        return {
            "ok": self.ok,
            "level": self.level,
            "checks": [check.as_json() for check in self.checks],
            "collections": {name: counts.as_json() for name, counts in self.collections.items()},
            "seconds": round(self.seconds, 3),
        }


def verify(
    config: Config,
    concrete: Concrete,
    source: Source,
    connection: Connection,
    dsn: str,
    level: Level,
    emit: Emit,
    again: int = 0,
) -> VerifyReport:
    """Runs the checks of a level and of those below it. Writes nothing that stays. `dsn` is for worker processes.

    `again`: so many texts are embedded again, even if that costs something."""
    started = time.monotonic()
    place = Place()
    if not journal.has_records(connection, place):
        raise UsageError("there is no migration in this target to verify", hint="Start with `migrate run`.")
    checks = list(_counts(config, concrete, source, connection, place, emit, again))
    if level in ("rows", "roundtrip"):
        checks += _rows(config, concrete, source, connection, dsn, place, emit)
    if level == "roundtrip":
        only = None if config.policies.unmapped_collections == "archive" else concrete.known
        checks += roundtrip.check_roundtrip(connection, place, concrete.mappings, source, emit, only=only)
    return VerifyReport(
        level=level,
        checks=tuple(checks),
        collections=journal.count_outcomes(connection, place),
        seconds=time.monotonic() - started,
    )


def _counts(
    config: Config, concrete: Concrete, source: Source, connection: Connection, place: Place, emit: Emit, again: int
) -> Iterator[Check]:
    counted = accounts.count_source(source, emit)
    if config.policies.unmapped_collections == "ignore":
        counted = type(counted)({name: n for name, n in counted.items() if name in concrete.known})
    emit(StepStarted(step="check the target", unit="checks"))
    parts = (
        accounts.check_accounts(connection, place, counted),
        accounts.check_kept(connection, place),
        accounts.check_rows(connection, place, concrete.mappings, config.tenant.id),
        [integrity.check_catalog(connection, concrete.metadata, config.target.rls == "all")],
        integrity.check_foreign_keys(connection, place, concrete.metadata),
        integrity.check_tenants(connection, place, concrete.metadata),
        integrity.check_trees(connection, place, concrete.mappings),
        vectors.check_all(connection, place, concrete.embedded, config, again),
    )
    done = 0
    for part in parts:
        for check in part:
            done += 1
            emit(StepAdvanced(step="check the target", done=done))
            yield check
    emit(StepFinished(step="check the target", note=f"{done} checks"))


def _rows(
    config: Config, concrete: Concrete, source: Source, connection: Connection, dsn: str, place: Place, emit: Emit
) -> list[Check]:
    with scratch.beside(connection, concrete.mappings) as again:
        pipeline = Pipeline.of(config, concrete, source, connection, dsn, again, emit)
        pipeline.bring(journal.begin_run(connection, again, source, {}))
        emit(StepStarted(step="compare", unit="tables"))
        checks = [
            *rehearsal.compare_rows(connection, place, again, concrete.mappings),
            *rehearsal.compare_records(connection, place, again),
            *rehearsal.compare_unordered(connection, place, again),
        ]
        emit(StepFinished(step="compare", note=f"{len(checks)} relations"))
        return checks
