"""`migrate plan`: predicts the result of `run` with a full rehearsal in a temporary PostgreSQL.

It executes the same code as a run on the whole source (or a sample), and writes nothing to the source or the target.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import replace

import psycopg
from psycopg import sql

from migrator.config.models import Config
from migrator.documents.fingerprint import hash_text
from migrator.errors import DifferenceError, MigrateError, PlanError
from migrator.events import Notice, as_dry_run, silent
from migrator.mapping.collection import Collection
from migrator.mapping.loader import MigrationDefinition
from migrator.postgres import catalog
from migrator.postgres.catalog import Catalog
from migrator.postgres.entities import describe_tables
from migrator.postgres.errors import translate_error
from migrator.postgres.owner_copies import check_own_keys, copy_owner_constraints
from migrator.postgres.owner_objects import read_constraints
from migrator.postgres.placement import schemas_in
from migrator.postgres.table_names import name_of
from migrator.reversing.rehearsal import Returnable, rehearse
from migrator.rows.element_counts import count_elements
from migrator.rows.refusals import REFUSALS
from migrator.sources.sampled import SampledSource
from migrator.stages.constrain import DEFAULT_SESSIONS
from migrator.stages.prepare import prepare, require_compatible
from migrator.state import journal, scratch
from migrator.state.ledger import count_outcomes
from migrator.state.records import Connection, Namespace, create_records
from migrator.state.rejects import count_by_reason
from migrator.targets.base import Target
from migrator.targets.ephemeral import ephemeral_target
from migrator.workflows.local_workers import preload_workers
from migrator.workflows.migration import MigrationContext
from migrator.workflows.pipeline import OwnerNotLoadedError, Pipeline
from migrator.workflows.plan_indexes import Forecast, rehearse_indexes
from migrator.workflows.plan_report import (
    Observations,
    PlanReport,
    collect_findings,
    count_rows,
    describe_steps,
    estimate_embedding,
    measure_size,
)
from migrator.workflows.profile import Profiler
from migrator.workflows.reject_limit import describe_excess
from migrator.workflows.vector_checks import check_vectors, find_other_dimensions

RETURNED_ROWS = 30  # of each collection, whose columns are changed to see which changes can be returned
EMPTY = "empty"  # the digest of a target without a schema, or of one that does not exist yet


def plan(
    context: MigrationContext,
    target: Target | None,
    fingerprints: Mapping[str, str],
    sample: int | None = None,
    known_blockers: Sequence[str] = (),
) -> PlanReport:
    """Rehearse the run and return the report. `target` is None if it does not exist yet; `fingerprints` are the run's.

    `sample`: read only so many documents of each collection. `known_blockers`: those of the preflight.
    """
    if sample is not None:
        text = "Only a sample is read. References to documents outside the sample are reported as missing."
        context.emit(Notice(text=text, level="warning"))
        context = replace(context, source=SampledSource(context.source, sample))
    context = replace(context, emit=as_dry_run(context.emit))
    if known_blockers:
        target = None  # its schema cannot be read reliably, and the plan cannot be executed
    found, digest = examine_target(context.config, context.definition, target)
    blockers = [*known_blockers, *found]
    if found:
        target = None  # its tables cannot be read as the definition describes them
    preload_workers(context)
    with ephemeral_target() as database, closing(database.connect()) as connection:
        # A table of the target that exists keeps its keys during the load.
        late = context.late_keys if digest == EMPTY else frozenset()
        prepare(connection, context.definition.metadata, rls=False, emit=silent, late=late)
        create_records(connection, context.namespace, with_following=False)
        has_rows = target is not None and copy_target(target, connection, context)
        profiler, later, started = Profiler(), Forecast(), time.monotonic()
        pipeline = Pipeline(context=context, connection=connection, dsn=database.dsn, profiler=profiler, late_keys=late)
        try:
            pipeline.run(journal.begin_run(connection, context.namespace, context.source, {}))
            if not has_rows:
                sessions = context.config.engine.workers or DEFAULT_SESSIONS
                later = rehearse_indexes(database, context.definition.metadata, sessions, context.emit)
        except (PlanError, DifferenceError) as error:
            blockers.append(error.message)
        except OwnerNotLoadedError as error:  # the source has this user, but its document is rejected
            blockers.append(f"{error.message}: {error.hint}")
        except (*REFUSALS, psycopg.ProgrammingError) as error:
            if (known := translate_error(error)) is None:
                raise
            blockers.append(f"{known.message}: {known.hint}")
        blockers += check_keys_of_owner(target, connection, context)
        later = replace(later, seconds=later.seconds + time.monotonic() - started)
        if context.definition.blockers is not None:
            reasons = count_by_reason(connection, context.namespace)
            blockers += context.definition.blockers(context.config, reasons)
        if not any(each.level == "blocker" for each in check_vectors(context)):  # the preflight has reported those
            blockers += find_other_dimensions(
                connection, context.namespace, context.definition.embedded, context.config
            )
        outcomes = count_outcomes(connection, context.namespace)
        if sample is None:  # a sample lacks parents, so that too many documents are rejected
            excess = describe_excess(context.config.policies, outcomes)
            blockers += [] if excess is None else [excess]
        fingerprints = {**fingerprints, "target": digest}
        findings = collect_findings(connection, context.namespace)
        observed = Observations(statistics=profiler.statistics, outcomes=outcomes, findings=findings)
        return make_report(pipeline, fingerprints, blockers, observed, later)


def make_report(
    pipeline: Pipeline,
    fingerprints: dict[str, str],
    blockers: list[str],
    observed: Observations,
    taken: Forecast,
) -> PlanReport:
    """Return the report of a rehearsal. `taken`: the seconds of the whole run, and the bytes of what was not built."""
    context, connection, namespace = pipeline.context, pipeline.connection, pipeline.namespace
    definition = context.definition
    created = {*map(name_of, definition.metadata.sorted_tables)}
    return PlanReport(
        fingerprints=fingerprints,
        collections=[observed.describe(each, definition) for each in context.source.collections()],
        steps=list(describe_steps(definition, [each.merge for each in pipeline.merge_appliers(0)])),
        blockers=blockers,
        tables=count_rows(definition.mappings, observed.outcomes)
        | count_elements(connection, namespace, definition.mappings, created),
        entities=describe_tables(definition.metadata),
        left_out=context.source.left_out,
        seconds=taken.seconds,
        target_bytes=measure_size(connection) + taken.bytes,
        embedding=estimate_embedding(connection, namespace, definition.embedded, context.config.embedding),
        returnable=tuple(rehearse_return(pipeline)) if context.source.is_live and not blockers else (),
    )


def rehearse_return(pipeline: Pipeline, sample: int = RETURNED_ROWS) -> Iterator[Returnable]:
    """Yield for each collection which changes of its rows could be returned after a switch of the application."""
    for level in pipeline.levels():
        for resolver in pipeline.resolvers_for(level):
            found = rehearse(resolver.writer, sample)
            if found.tried:
                yield found


def examine_target(config: Config, definition: MigrationDefinition, target: Target | None) -> tuple[list[str], str]:
    """Return the blockers in the target's schema, and a digest of this schema."""
    if target is None:
        return [], EMPTY
    with closing(target.connect()) as connection:
        actual = catalog.read(connection, schemas_in(definition.metadata))
        digest = EMPTY if is_empty(actual) else hash_text(repr(actual))
        try:
            expected = catalog.read_expected(connection, definition.metadata, config.target.rls == "all")
            require_compatible(connection, actual, expected, silent)
        except MigrateError as error:
            return [f"{error.message}\n{error.hint}".rstrip()], digest
    return [], digest


def is_empty(found: Catalog) -> bool:
    """Return whether a database contains nothing but the objects of every new database."""
    return not (found.relations or found.types or found.extensions.keys() - {"plpgsql"})


def copy_target(target: Target, connection: Connection, context: MigrationContext) -> bool:
    """Copy what makes a target refuse rows; return whether it has any rows.

    These are existing values, and the constraints and indexes that the owner has added. What cannot be copied is a
    warning.
    """
    with closing(target.connect()) as existing:
        has_rows = copy_existing_values(existing, connection, context)
        for text in copy_owner_constraints(existing, connection, context.definition.metadata):
            context.emit(Notice(text=text, level="warning"))
    return has_rows


def check_keys_of_owner(target: Target | None, connection: Connection, context: MigrationContext) -> list[str]:
    """Return a blocker for each foreign key of the owner to its own table that the rows violate."""
    if target is None:
        return []
    with closing(target.connect()) as existing:
        return list(check_own_keys(existing, connection, context.definition.metadata))


def copy_existing_values(existing: Connection, connection: Connection, context: MigrationContext) -> bool:
    """Copy IDs and unique values of the target's existing rows, which cause conflicts; return whether there are any."""
    copied = False
    unique: dict[str, set[str]] = defaultdict(set)
    for each in read_constraints(existing, context.definition.metadata):
        unique[each.table].update(each.columns if each.type in "ux" else ())
    mappings = context.definition.mappings
    for mapping in scratch.first_of_tables(mappings):
        table = context.namespace.table(name_of(mapping.table)).as_string()
        if existing.execute("SELECT to_regclass(%s)", (table,)).fetchone() != (None,):
            names = dict.fromkeys(scratch.conflict_columns(mapping))
            names |= dict.fromkeys(each.name for each in mapping.table.c if each.name in unique[name_of(mapping.table)])
            rows = scratch.preexisting_rows(existing, mapping, mappings)
            copied |= _copy_values(existing, connection, mapping, list(names), rows)
    return copied


def _copy_values(
    existing: Connection, connection: Connection, mapping: Collection, names: list[str], rows: sql.Composed
) -> bool:
    columns = sql.SQL(", ").join(map(sql.Identifier, names))
    table = Namespace().table(name_of(mapping.table))
    found = existing.execute(sql.SQL("SELECT EXISTS (SELECT {})").format(rows)).fetchone()
    if not (found and found[0]):
        return False
    scratch.drop_not_null(connection, table)
    with (
        existing.cursor().copy(sql.SQL("COPY (SELECT {} {}) TO STDOUT").format(columns, rows)) as source,
        connection.cursor().copy(sql.SQL("COPY {} ({}) FROM STDIN").format(table, columns)) as sink,
    ):
        for data in source:
            sink.write(data)
    return True
