"""`migrate run`: executes the stages in their order. The journal determines where an interrupted run resumes."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import replace
from functools import partial

from migrator.config.models import Config
from migrator.errors import DifferenceError, UsageError
from migrator.events import Notice
from migrator.execution.dask import check_cluster
from migrator.execution.tasks import fingerprints_of as worker_fingerprints
from migrator.formatting import format_count
from migrator.mapping.collection import Collection
from migrator.monitoring.monitor import monitored
from migrator.monitoring.throttle import LagMeter
from migrator.postgres.errors import is_idle
from migrator.postgres.scheduler import Graph, ScheduledTask
from migrator.postgres.table_names import name_of
from migrator.provenance.foreign_edits import remember_changes
from migrator.rows.ledger_indexes import create_source_index, create_target_index
from migrator.rows.store import RowStore
from migrator.stages.constrain import (
    DEFAULT_SESSIONS,
    BuildOptions,
    EarlyIndexBuilder,
    build_post_data,
)
from migrator.stages.context import StageContext
from migrator.stages.embed import embed
from migrator.stages.prepare import prepare
from migrator.stages.reconcile import is_joined_early
from migrator.state import journal, sequences, source_state
from migrator.state.ledger import Counts, count_outcomes, ledger_size
from migrator.state.lock import exclusive
from migrator.state.records import Connection, Namespace, create_records, has_records
from migrator.state.statistics import analyze_records, analyze_table
from migrator.state.suspension import require_valid_references, suspend_in_run
from migrator.targets.base import Target
from migrator.verification.catalog_check import record_catalog
from migrator.workflows.embedding import check_embedding
from migrator.workflows.fingerprints import collect_fingerprints, require_unchanged, with_settings
from migrator.workflows.local_workers import preload_workers
from migrator.workflows.migration import MigrationContext
from migrator.workflows.pipeline import Pipeline
from migrator.workflows.reject_limit import require_few_rejects
from migrator.workflows.reports import RunReport, report_run
from migrator.workflows.retry import count_entries, retry_transient
from migrator.workflows.switched import refuse_switched


def run_migration(
    context: MigrationContext,
    target: Target,
    only: frozenset[str] = frozenset(),
    on_opened: Callable[[Connection], None] | None = None,
) -> RunReport:
    """Run the migration, or resume an interrupted run, and return its report. `only`: load only these collections.

    `on_opened` is called with the connection after the records of the run exist, before anything is loaded.

    Transient errors are retried. Committed data is consistent after any error, and the same call resumes the run.

    Raises: all errors of `migrator.errors`.
    """
    started, namespace = time.monotonic(), context.namespace
    with closing(target.connect()):  # a wrong address of the target is not retried
        context.source.collections()  # reports missing privileges before anything is written
        fingerprints = collect_fingerprints(context)
    check_executor(context, target)
    preload_workers(context)
    meter = LagMeter(context.config.engine, context.source.latency if context.source.is_live else None)

    def attempt(number: int) -> RunReport:
        with closing(target.connect()) as connection, exclusive(connection):
            refuse_switched(connection, namespace, "run")
            require_unchanged(connection, namespace, fingerprints, context.config)
            Pipeline(context=context, connection=connection, dsn=target.dsn).check_only(only)
            counts = None
            if is_done(connection, namespace):
                text = "This migration is complete; there is nothing left to do. Check it with `migrate verify`."
                context.emit(Notice(text=text))
            else:
                # A crash of the server can lose the last commits, and the run repeats them. Its very last one waits.
                connection.execute("SET synchronous_commit = off")
                run = open_run(context, connection, fingerprints)
                if on_opened is not None:
                    on_opened(connection)
                with monitored(target.connect, namespace, meter, context.emit) as emit:
                    counts = execute_stages(replace(context, emit=emit), target, connection, run, only)
            return report_run(context, connection, started, counts)

    return retry_transient(attempt, partial(count_entries, target, namespace), context.emit)


def open_run(context: MigrationContext, connection: Connection, fingerprints: Mapping[str, str]) -> int:
    """Prepare the target, and return the number of the unfinished run or of a new one."""
    config, namespace = context.config, context.namespace
    check_embedding(context, send_request=True)
    late = context.late_keys
    prepare(connection, context.definition.metadata, rls=config.target.rls == "all", emit=context.emit, late=late)
    create_records(connection, namespace)
    remember_changes(connection, namespace, context.definition)
    latest = journal.latest_run(connection, namespace)
    if latest is None:
        recorded = with_settings(fingerprints, config)
        run = journal.begin_run(connection, namespace, context.source, recorded)
    else:
        run = latest[0]
        journal.resume_run(connection, namespace, run)
    suspend_in_run(connection, namespace, context.definition.metadata, run)
    return run


def execute_stages(
    context: MigrationContext, target: Target, connection: Connection, run: int, only: frozenset[str]
) -> dict[str, Counts]:
    """Execute the stages after `prepare`, and return the counts of every collection."""
    status, namespace = "stopped", context.namespace
    try:
        if not context.follows:
            source_state.record_before_load(connection, namespace, run, context.source)
        with EarlyIndexBuilder(target.connect, context.definition.metadata, context.emit) as early:
            Pipeline(
                context=context,
                connection=connection,
                dsn=target.dsn,
                on_table_loaded=partial(_start_index_builds, context.config, early, connection),
                analyzes_all=False,
                late_keys=context.late_keys,
            ).run(run, only)
            counts = check_identity(connection, namespace)
            require_few_rejects(context.config.policies, counts)
            if not only:
                report_source_changes(context, connection, run)
                sessions = context.config.engine.workers or DEFAULT_SESSIONS
                early.build_alongside(connection, sessions, ledger_tasks(connection, namespace))
            early.finish()
        if not only:
            complete(context, target, connection)
            status = "done"
        return counts
    finally:
        # If the connection failed, the run keeps the status 'running', which `open_run` resumes in the same way.
        if is_idle(connection):
            connection.execute("RESET synchronous_commit")
            journal.end_run(connection, namespace, run, status)


def _start_index_builds(config: Config, early: EarlyIndexBuilder, connection: Connection, table: str) -> None:
    """Start the early index builds of a table. Not if the number of rejects may still stop the run."""
    if config.policies.max_rejected is None:
        early.start(connection, table)


def report_source_changes(context: MigrationContext, connection: Connection, run: int) -> None:
    """Emit a notice if a live source was written to during the load."""
    changed = source_state.record_after_load(connection, context.namespace, run, context.source)
    if changed:
        text = f"The source was written to during the load: {', '.join(changed)}. Some of these writes may be missing."
        advice = "For a consistent copy, stop the application, or migrate a dump."
        context.emit(Notice(text=f"{text} {advice}", level="warning"))


def complete(context: MigrationContext, target: Target, connection: Connection) -> None:
    """Execute the stages after the rows: embeddings, indexes and constraints."""
    config, definition, namespace = context.config, context.definition, context.namespace
    latest = journal.latest_run(connection, namespace)
    assert latest is not None  # called by a run
    if definition.embedded is not None:  # before the vector index, which is trained on the existing vectors
        embed(_stage_context(context, connection, latest[0]), definition.embedded, config.embedding)
    options = BuildOptions(
        rls=config.target.rls == "all",
        sessions=config.engine.workers or DEFAULT_SESSIONS,
        other_tasks=ledger_tasks(connection, namespace),
        table_tasks=statistics_tasks(definition.mappings, namespace),
    )
    build_post_data(target.connect, definition.metadata, options, context.emit)
    require_valid_references(connection, namespace, definition.metadata)
    sequences.advance(connection, namespace, definition.mappings.values(), latest[0])
    record_catalog(connection, namespace, latest[0], definition.metadata)


def _stage_context(context: MigrationContext, connection: Connection, run: int) -> StageContext:
    rows = RowStore(connection, context.namespace, context.definition.mappings)
    return StageContext(rows=rows, tenant=context.config.tenant.id, run=run, emit=context.emit)


def ledger_tasks(connection: Connection, namespace: Namespace) -> Graph:
    """Return the tasks that analyze the ledger after the load and create its indexes; they skip existing indexes."""
    cost = ledger_size(connection, namespace)
    analysis = ScheduledTask(name="statistics of the ledger", act=partial(analyze_records, namespace=namespace))
    indexes = [
        ScheduledTask(name="ledger", act=partial(create, namespace=namespace), cost=cost * share)
        for create, share in ((create_target_index, 2), (create_source_index, 1))
    ]
    return {analysis: set(), **{index: {analysis} for index in indexes}}  # ANALYZE would wait for an index build


def statistics_tasks(mappings: Mapping[str, Collection], namespace: Namespace) -> dict[str, ScheduledTask]:
    """Return the tasks, by table, that analyze the tables that `reconcile` has not analyzed, those of elements too."""
    late = [each.table for each in mappings.values() if not is_joined_early(each, mappings)]
    late += [rule.table for each in mappings.values() for rule in each.child_rules]
    tables = {name_of(table): table for table in late}
    return {
        name: ScheduledTask(name=f"statistics of {name}", act=partial(analyze_table, namespace=namespace, table=table))
        for name, table in tables.items()
    }


def check_executor(context: MigrationContext, target: Target) -> None:
    """Check that the workers of a cluster can execute their tasks, before anything is written."""
    config, definition, source = context.config, context.definition, context.source
    if config.engine.executor == "local":
        return
    if definition.packages is None:
        raise UsageError("engine.executor: the mappings are not in a package that the workers can import")
    # This process reads streams itself and sends their batches to the workers.
    workers_read = any(source.reads_partitions(each.name) for each in source.collections())
    check_cluster(config, target.dsn, definition.packages, worker_fingerprints(source, definition), workers_read)


def is_done(connection: Connection, namespace: Namespace) -> bool:
    """Return whether the target contains a finished migration."""
    latest = journal.latest_run(connection, namespace) if has_records(connection, namespace) else None
    return latest is not None and latest[1] == journal.DONE


def check_identity(connection: Connection, namespace: Namespace) -> dict[str, Counts]:
    """Return the counts of every collection, of which source = loaded + rejected + archived.

    Raises: `DifferenceError` if documents are not accounted for.
    """
    counts = count_outcomes(connection, namespace)
    wrong = {name: c for name, c in counts.items() if c.remainder}
    if wrong:
        lines = [
            f"{name}: {format_count(c.source, 'documents')} read, {c.remainder} without an outcome"
            for name, c in wrong.items()
        ]
        raise DifferenceError(
            "documents are not accounted for: " + "; ".join(lines),
            hint="Internal error; please report it. `migrate revert` undoes the migration.",
        )
    return counts
