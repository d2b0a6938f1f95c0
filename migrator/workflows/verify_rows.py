"""The checks of `verify` that map the source again, into scratch schemas, and rebuild the documents from the rows."""

from __future__ import annotations

from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from functools import partial

from migrator.config.fingerprints import fingerprint
from migrator.documents.fingerprint import hash_text
from migrator.events import Notice
from migrator.postgres.table_names import name_of
from migrator.reconciliation.unreturned import apply_all_unreturned
from migrator.rows.given_ids import copy_given_ids
from migrator.rows.store import RowStore
from migrator.sources.base import Source
from migrator.state import journal, scratch
from migrator.state.records import SCRATCH_NAMESPACE
from migrator.verification import round_trip_workers
from migrator.verification.model import Check, Scope
from migrator.verification.prescan import Prescan
from migrator.verification.proven_documents import ProvenDocuments
from migrator.verification.relation_diff import ScratchComparison
from migrator.verification.round_trip_workers import RoundTrip, RoundTripJob, RoundTripWork
from migrator.workflows.local_workers import needs_workers, open_local_pool
from migrator.workflows.pipeline import Pipeline
from migrator.workflows.verify_target import names_of, open_scheduler

WORKER_MODULES = (round_trip_workers.__name__,)


@dataclass(frozen=True, slots=True, kw_only=True)
class RowOptions:
    """Whether to rebuild the documents too, and which share of them (0 to 1)."""

    rebuild: bool
    share: float


def compare_rows(scope: Scope, scan: Prescan, pipeline: Pipeline, options: RowOptions) -> list[Check]:
    """Map the source again with `pipeline`, compare the rows with the target, and rebuild the documents."""
    context, source = pipeline.context, pipeline.context.source
    token = scratch_token(scope, pipeline)
    only_migrated = [name_of(each.table) for each in scope.chosen.values() if scan.has_only_migrated_rows(each)]
    with ExitStack() as opened:
        pool = opened.enter_context(closing(open_local_pool(context, WORKER_MODULES)))
        if needs_workers(context):
            pool.prestart()  # while this process creates the scratch schemas
        created = scratch.scratch_namespace(
            scope.connection, context.definition.mappings, token, frozenset(only_migrated)
        )
        namespace, found = opened.enter_context(created)
        opened.callback(pool.close)  # before the schemas are dropped: workers may hold locks
        run = begin_scratch_run(scope, pipeline, token, found)
        proven = ProvenDocuments(scope, scan, namespace, rebuilds_all=options.rebuild and options.share >= 1)
        round_trip = RoundTrip(
            scope=scope, scratch=namespace, run=run, source=source, names=names_of(scope, source), share=options.share,
            job=_round_trip_job(scope, pipeline, options.share), proven=proven,
        )  # fmt: skip
        work = RoundTripWork(round_trip, pool) if options.rebuild else None
        others = proven.find_changed()
        with ScratchComparison(scope, scan, namespace, partial(open_scheduler, scope), others) as comparison:
            rows = RowStore(scope.connection, namespace, context.definition.mappings)

            def complete(table: str) -> None:
                apply_all_unreturned(rows, scope.namespace, {table}, context.config.tenant.id)
                if comparison.on_table_loaded(table) and work is not None:
                    work.start()

            mapped = replace(pipeline, on_table_loaded=complete, pool=pool, restores=proven.names, on_result=proven.add)
            mapped.run(run, needed_collections(scope, source))
            checks = comparison.compare(context.emit)
        return checks if work is None else [*checks, *work.check(context.emit, checks)]


def begin_scratch_run(scope: Scope, pipeline: Pipeline, token: str, found: int | None) -> int:
    """Return the number of the scratch run: of the interrupted one that was `found`, or of a new one."""
    if found is not None:
        pipeline.context.emit(Notice(text="Resuming an interrupted verification."))
        return found
    copy_given_ids(RowStore(scope.connection, SCRATCH_NAMESPACE, pipeline.mappings), scope.namespace)
    return journal.begin_run(scope.connection, SCRATCH_NAMESPACE, pipeline.context.source, {"dry_run": token})


def _round_trip_job(scope: Scope, pipeline: Pipeline, share: float) -> RoundTripJob | None:
    """Return what worker processes need; None if they cannot import the mappings."""
    packages = pipeline.context.definition.packages
    if packages is None:
        return None
    return RoundTripJob(
        config=scope.config,
        packages=packages,
        dsn=pipeline.dsn,
        only=scope.only,
        show=scope.show,
        source_changed=scope.source_changed,
        share=share,
    )


def scratch_token(scope: Scope, pipeline: Pipeline) -> str:
    """Return a digest of everything that an interrupted verification must find unchanged to resume."""
    context = pipeline.context
    latest = journal.latest_run(scope.connection, scope.namespace)
    parts = (
        context.source.fingerprint(), context.definition.fingerprint, fingerprint(scope.config), sorted(scope.only),
        latest,
    )  # fmt: skip
    return hash_text(repr(parts))


def needed_collections(scope: Scope, source: Source) -> frozenset[str]:
    """Return the collections to read: those to compare and those that they refer to; none for all."""
    if not scope.only:
        return frozenset()
    existing = {each.name for each in source.collections()}
    needed: set[str] = set()
    left = set(names_of(scope, source))
    while left:
        name = left.pop()
        needed.add(name)
        left |= ((scope.mappings[name].needs if name in scope.mappings else frozenset()) & existing) - needed
    return frozenset(needed)
