"""The changes of the stage post-data: what the schema of the target lacks, and the statements that add it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import IntEnum
from functools import partial
from typing import Any

import psycopg
from sqlalchemy import MetaData

from migrator.errors import DifferenceError
from migrator.postgres import catalog, ddl, schema_changes
from migrator.postgres.catalog import Catalog
from migrator.postgres.late_keys import missing_keys
from migrator.postgres.placement import schemas_in
from migrator.postgres.scheduler import ScheduledTask
from migrator.postgres.schema_changes import Record
from migrator.postgres.statements import Ref, Statement

Connection = psycopg.Connection[Any]


class Phase(IntEnum):
    """The changes of a table, in their order. Those of one phase are in `arrangement.arrange`.

    FAST: takes no time. BUILD: of an index. KEY: makes the built index that of a key. REFERENCE: creates a foreign key
    to such a key, whose validation is LATE.
    """

    FAST = 0
    VALIDATION = 1
    BUILD = 2
    KEY = 3
    REFERENCE = 4
    LATE_VALIDATION = 5
    VECTOR = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One change of the schema object `ref`. `referenced`: the table to which a foreign key refers, if it is known."""

    ref: Ref
    script: str
    phase: Phase
    method: str = ""
    referenced: str = ""

    def task(self, cost: float = 0) -> ScheduledTask:
        return ScheduledTask(name=self.ref.name, act=partial(execute_change, self), cost=cost)


def find_changes(connection: Connection, metadata: MetaData, rls: bool) -> Iterator[Change]:
    """Yield the changes that make the target's schema complete."""
    actual, records = catalog.read(connection, schemas_in(metadata)), schema_changes.read(connection)
    deferred = [record for record in records if record.action == "deferred"]
    for record in deferred:
        yield from restoring_changes(actual, record)
    known = {(record.table_name, record.name) for record in deferred}
    keys = frozenset(each.ref for each in missing_keys(metadata, actual))
    for statement in ddl.statements(metadata, rls):
        if statement.ref in keys:
            yield from key_changes(statement)
        elif not (statement.before_load or actual.has(statement) or (statement.table, statement.name) in known):
            yield from creating_changes(statement, keys)
    for record in records:
        if record.action == "created" and record.kind == "foreign_key" and needs_validation(actual, record):
            yield validating_change(record.ref, _referenced_table(metadata, record.ref))


def restoring_changes(actual: Catalog, record: Record) -> Iterator[Change]:
    """Yield the changes for an object that `prepare` dropped. If it exists again, only its record is deleted."""
    found = actual.constraints.get((record.table_name, record.name)) or actual.index(record.table_name, record.name)
    if found is None:
        script = schema_changes.restoration(record)
        yield Change(ref=record.ref, script=script, phase=_phase_of(record.ref), method=method_of(record))
    if record.checked and (found is None or needs_validation(actual, record)):
        yield validating_change(record.ref)
    elif found is not None:
        yield Change(ref=record.ref, script=schema_changes.deletion(record.ref), phase=_phase_of(record.ref))


def _phase_of(ref: Ref) -> Phase:
    match ref.kind:
        case "policy" | "row_security" | "foreign_key":
            return Phase.FAST
        case "vector_index":
            return Phase.VECTOR
    return Phase.BUILD


def key_changes(statement: Statement) -> Iterator[Change]:
    """Yield the changes that make a key after the load. Its index is built first, in parallel with other indexes."""
    script = schema_changes.creation(statement)
    if statement.index_sql:
        yield Change(ref=statement.ref, script=schema_changes.index_build(statement), phase=Phase.BUILD)
        script = schema_changes.attachment(statement)
    yield Change(ref=statement.ref, script=script, phase=Phase.KEY)


def creating_changes(statement: Statement, missing: frozenset[Ref]) -> Iterator[Change]:
    """Yield the changes that create an object. `missing`: the keys that do not exist yet."""
    validated = statement.kind == "foreign_key" and not statement.sql.endswith("NOT VALID")
    script = schema_changes.creation(statement, " NOT VALID" if validated else "")
    referenced, waits = _table_in(statement), not missing.isdisjoint(statement.needs)
    phase = Phase.REFERENCE if waits else _phase_of(statement.ref)
    yield Change(ref=statement.ref, script=script, phase=phase, method=statement.method, referenced=referenced)
    if validated:
        yield validating_change(statement.ref, referenced, Phase.LATE_VALIDATION if waits else Phase.VALIDATION)


def validating_change(ref: Ref, referenced: str = "", phase: Phase = Phase.VALIDATION) -> Change:
    return Change(ref=ref, script=schema_changes.validated(ref), phase=phase, referenced=referenced)


def _referenced_table(metadata: MetaData, ref: Ref) -> str:
    found = (_table_in(each) for each in ddl.statements(metadata, rls=False) if each.ref == ref)
    return next(found, "")


def _table_in(statement: Statement) -> str:
    """Return the table that a foreign key references: the last one that it needs, after its own."""
    if statement.kind != "foreign_key":
        return ""
    tables = [need.table for need in statement.needs if need.kind == "table"]
    return next((name for name in tables if name != statement.table), statement.table)


def needs_validation(actual: Catalog, record: Record) -> bool:
    """Return whether a run was interrupted between the creation and the validation of a foreign key."""
    found = actual.constraints.get((record.table_name, record.name))
    return found is not None and not found.validated and not record.definition.endswith(" NOT VALID")


def method_of(record: Record) -> str:
    found = re.search(r" USING (\w+) ", record.definition)
    return found.group(1) if found else ""


def execute_change(change: Change, connection: Connection) -> None:
    """Execute a change and record it in one transaction."""
    with schema_changes.translate_errors(), translate_row_errors(change.ref):
        schema_changes.execute(connection, change.script)


@contextmanager
def translate_row_errors(ref: Ref) -> Iterator[None]:
    """Translate errors of rows that violate a constraint or do not fit an index to `DifferenceError`."""
    try:
        yield
    except psycopg.errors.ForeignKeyViolation as error:
        raise DifferenceError(
            f"foreign key {ref.name} of table {ref.table} is violated: {error.diag.message_detail}",
            hint="Restore the referenced row or delete the referencing row, then run the same command again.",
        ) from error
    except psycopg.errors.ProgramLimitExceeded as error:
        raise DifferenceError(
            f"a row of table {ref.table} is too large for the index {ref.name}: {error.diag.message_primary}",
            hint="A value exceeds PostgreSQL's limit for index entries. Shorten it, then run the same command again.",
        ) from error
    except (psycopg.IntegrityError, psycopg.DataError, psycopg.errors.RaiseException) as error:
        raise DifferenceError(
            f"a migrated row does not fit the {ref.kind.replace('_', ' ')} {ref.name} of table {ref.table}"
            f" ({type(error).__name__})",
            hint="Drop or change this object, then run the same command again; `migrate revert` restores it.",
        ) from error
