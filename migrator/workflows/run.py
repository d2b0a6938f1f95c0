"""`migrate run`: the order of the stages, nothing else. The journal says where to go on."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import closing
from functools import partial

import psycopg

from migrator.config.models import Config, embedding_fingerprint, fingerprint
from migrator.embedding import vector_indexes, vector_store
from migrator.errors import DifferenceError, TargetError, UsageError
from migrator.events import Emit, Notice
from migrator.execution.dask import check_cluster
from migrator.execution.tasks import fingerprints_of as work_fingerprints
from migrator.mapping.loader import MigrationDefinition
from migrator.monitoring.monitor import monitored
from migrator.monitoring.throttle import LagMeter
from migrator.postgres.scheduler import ScheduledTask
from migrator.provenance.owned_rows import remember_changes
from migrator.rows.ledger_indexes import create_source_index, create_target_index
from migrator.sources.base import Source
from migrator.stages.constrain import EarlyIndexBuilder, constrain, renew_vector_indexes
from migrator.stages.embed import EmbedReport, check_provider, embed
from migrator.stages.prepare import prepare
from migrator.state import journal
from migrator.state.ledger import count_by, count_outcomes, ledger_size
from migrator.state.lock import exclusive
from migrator.state.records import Connection, Namespace, create_records, has_records
from migrator.targets.base import Target
from migrator.verification.catalog_check import record_catalog
from migrator.workflows.pipeline import Pipeline, import_ahead
from migrator.workflows.reports import RunReport
from migrator.workflows.retry import retry_transient
from migrator.workflows.retry_rejects import RetryReport, require_finished, retry

PLACE = Namespace()


def run_migration(
    config: Config,
    definition: MigrationDefinition,
    source: Source,
    target: Target,
    emit: Emit,
    only: frozenset[str] = frozenset(),
) -> RunReport:
    """Builds the schema, loads, reconciles, constrains; goes on where an earlier run stopped.

    Errors: all of `migrator.errors`; whatever ends it, what is committed is consistent and the same call goes on.
    """
    started = time.monotonic()
    with closing(target.connect()):  # whatever is wrong with the address now will be so in a minute, too
        source.collections()  # says what may not be read, before anything is written
        fingerprints = fingerprints_of(config, definition, source)
    check_executor(config, definition, source, target)
    import_ahead(config, definition, source)
    gauge = LagMeter(config.engine, source.latency if source.is_live else None)

    def attempt(number: int) -> RunReport:
        with closing(target.connect()) as connection, exclusive(connection):
            check_fingerprints(connection, fingerprints)
            if is_done(connection):
                emit(Notice(text="This migration is done; nothing was left to do. `migrate verify` proves it."))
            else:
                check_embedding(config, definition, source, ask=True)
                prepare(connection, definition.metadata, rls=config.target.rls == "all", emit=emit)
                create_records(connection, PLACE)
                remember_changes(connection, PLACE, definition)
                run = open_run(connection, source, fingerprints)
                with monitored(target.connect, PLACE, gauge, emit) as watched:
                    work(config, definition, source, target, connection, run, watched, only)
            return report(connection, definition, time.monotonic() - started)

    return retry_transient(attempt, partial(count_entries, target), emit)


def count_entries(target: Target) -> int | None:
    """How much the journal holds, if the target can be asked: whether there was any progress."""
    try:
        with closing(target.connect()) as connection:
            if not has_records(connection, PLACE):
                return 0
            return journal.count_entries(connection, PLACE) + vector_store.count_cached(connection, PLACE)
    except (TargetError, psycopg.Error):
        return None


def retry_rejects(
    config: Config, definition: MigrationDefinition, source: Source, target: Target, emit: Emit
) -> tuple[RetryReport, RunReport]:
    """Tries the rejected documents again, with settings and source as they are now; both are then the run's."""
    started = time.monotonic()
    with closing(target.connect()) as connection, exclusive(connection):
        run = require_finished(connection, PLACE)
        journal.resume_run(connection, PLACE, run)
        journal.renew_fingerprints(connection, PLACE, run, fingerprints_of(config, definition, source))
        prepare(connection, definition.metadata, rls=config.target.rls == "all", emit=emit)
        remember_changes(connection, PLACE, definition)
        pipeline = Pipeline.from_definition(config, definition, source, connection, target.dsn, PLACE, emit)
        retried = retry(pipeline, run, emit)
        check_identity(connection, PLACE)
        complete(config, definition, target, connection, emit)
        journal.end_run(connection, PLACE, run, "done")
        return retried, report(connection, definition, time.monotonic() - started)


def complete(
    config: Config, definition: MigrationDefinition, target: Target, connection: Connection, emit: Emit
) -> None:
    """What follows the rows: embeddings, indexes and keys."""
    run = journal.latest_run(connection, PLACE)
    if (
        definition.embedded is not None and run is not None
    ):  # before the vector index, which is trained on what is there
        embed(connection, PLACE, definition.embedded, config.embedding, run[0], emit)
    rls, workers = config.target.rls == "all", config.engine.workers or 2
    beside = ledger_indexes(connection)
    constrain(target.connect, definition.metadata, rls=rls, workers=workers, emit=emit, beside=beside)
    if run is not None:
        record_catalog(connection, PLACE, run[0], definition.metadata)


def ledger_indexes(connection: Connection) -> list[ScheduledTask]:
    """What the ledger needs once it is full; does nothing where that is there."""
    cost = ledger_size(connection, PLACE)
    return [
        ScheduledTask(name="ledger", act=partial(index, namespace=PLACE), cost=cost)
        for index in (create_target_index, create_source_index)
    ]


def embed_missing(config: Config, definition: MigrationDefinition, target: Target, emit: Emit) -> EmbedReport:
    """What is still without an embedding after a run gets one. Errors: `UsageError` before a run has finished."""
    embedded = definition.embedded
    if embedded is None:
        raise UsageError("the mappings have no EMBEDDED: nothing here wants an embedding")

    def attempt(number: int) -> EmbedReport:
        with closing(target.connect()) as connection, exclusive(connection):
            run = require_finished(connection, PLACE)
            remember_changes(connection, PLACE, definition)
            with monitored(target.connect, PLACE, LagMeter(config.engine, None), emit) as watched:
                report = embed(connection, PLACE, embedded, config.embedding, run, watched)
                if vector_indexes.are_stale(connection, PLACE):
                    renew_vector_indexes(connection, PLACE, embedded, watched)
            return report

    return retry_transient(attempt, partial(count_entries, target), emit)


def check_embedding(config: Config, definition: MigrationDefinition, source: Source, *, ask: bool) -> None:
    """What would stop the last stage of a long run is better said before the first: a key that is wrong, a package that
    is missing. With `ask`, a service gets one short text. Errors: `UsageError`, `EmbeddingError`."""
    embedded = definition.embedded
    if embedded is not None and embedded.collection in {each.name for each in source.collections()}:
        check_provider(embedded, config.embedding, ask=ask)


def check_executor(config: Config, definition: MigrationDefinition, source: Source, target: Target) -> None:
    """Whether the workers of a cluster can do their part, before anything is written."""
    if config.engine.executor == "local":
        return
    if definition.packages is None:
        raise UsageError("engine.executor: these mappings are in no package that a worker could import")
    # Streams are read by this process, which sends their batches to the workers.
    reads = any(source.reads_parts(each.name) for each in source.collections())
    check_cluster(config, target.dsn, definition.packages, work_fingerprints(source, definition), reads)


def work(
    config: Config,
    definition: MigrationDefinition,
    source: Source,
    target: Target,
    connection: Connection,
    run: int,
    emit: Emit,
    only: frozenset[str],
) -> None:
    """The stages after the schema."""
    status = "stopped"
    try:
        with EarlyIndexBuilder(target.connect, definition.metadata, emit) as ahead:
            settled = partial(ahead.begin, connection)
            Pipeline.from_definition(
                config, definition, source, connection, target.dsn, PLACE, emit, settled=settled
            ).run(run, only)
            check_identity(connection, PLACE)
            if not only:
                ahead.accompany(connection, config.engine.workers or 2, ledger_indexes(connection))
            ahead.finish()
        if not only:
            complete(config, definition, target, connection, emit)
            status = "done"
    finally:
        # The connection may be what failed; the run then stays 'running', which `open_run` takes up just the same.
        if not connection.closed and connection.info.transaction_status == psycopg.pq.TransactionStatus.IDLE:
            journal.end_run(connection, PLACE, run, status)


def fingerprints_of(config: Config, definition: MigrationDefinition, source: Source) -> dict[str, str]:
    """What a resumed run must find unchanged."""
    own = {"source": source.fingerprint(), "configuration": fingerprint(config), "mappings": definition.fingerprint}
    return {**own, **source.auxiliary_fingerprints(), "embedding": embedding_fingerprint(config)}


def check_fingerprints(connection: Connection, fingerprints: Mapping[str, str]) -> None:
    """Refuses to go on with other data, settings or rules than the run that began.

    Who computes embeddings may change; that vectors of two models do not mix is the stage's business."""
    latest = journal.latest_run(connection, PLACE) if has_records(connection, PLACE) else None
    known = latest[2] if latest else fingerprints
    changed = [name for name, value in fingerprints.items() if name != "embedding" and known.get(name) != value]
    if changed:
        raise UsageError(
            f"changed since the migration in this target began: {', '.join(changed)}",
            hint="Put it back as it was to go on; or `migrate revert` first, then run again.",
        )


def is_done(connection: Connection) -> bool:
    """Whether a finished migration is in the target."""
    latest = journal.latest_run(connection, PLACE) if has_records(connection, PLACE) else None
    return latest is not None and latest[1] == "done"


def open_run(connection: Connection, source: Source, fingerprints: Mapping[str, str]) -> int:
    """The unfinished run, or a new one."""
    latest = journal.latest_run(connection, PLACE)
    if latest is None:
        return journal.begin_run(connection, PLACE, source, fingerprints)
    journal.resume_run(connection, PLACE, latest[0])
    return latest[0]


def check_identity(connection: Connection, namespace: Namespace) -> None:
    """source = loaded + rejected + archived, for every collection. Raises `DifferenceError`."""
    wrong = {name: c for name, c in count_outcomes(connection, namespace).items() if c.remainder}
    if wrong:
        lines = [f"{name}: {c.source} read, remainder {c.remainder}" for name, c in wrong.items()]
        raise DifferenceError(
            "the accounts do not add up: " + "; ".join(lines),
            hint="This is a defect of migrate: please report it. `migrate revert` takes the migration back.",
        )


def report(connection: Connection, definition: MigrationDefinition, seconds: float) -> RunReport:
    """Where the migration in the target stands."""
    latest = journal.latest_run(connection, PLACE)
    assert latest is not None  # called with a run open or done
    collections = count_outcomes(connection, PLACE)
    embedded = definition.embedded
    tables: dict[str, int] = {}
    for name, counts in collections.items():
        if name in definition.mappings:
            table = definition.mappings[name].table.name
            tables[table] = tables.get(table, 0) + counts.loaded
    return RunReport(
        run=latest[0],
        status=latest[1],
        collections=collections,
        tables=tables,
        findings=count_by(connection, PLACE, "findings", "code"),
        rejects=count_by(connection, PLACE, "rejects", "reason"),
        embedding={} if embedded is None else vector_store.describe(connection, PLACE, embedded),
        seconds=seconds,
    )
