"""`migrate verify`: compares the target with the source.

Levels: counts, references and the schema; then all rows, by mapping the source again; then all documents, by rebuilding
them from the rows.
"""

from __future__ import annotations

import time
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal

from migrator.config.fingerprints import fingerprint
from migrator.errors import UsageError
from migrator.events import Notice, as_dry_run
from migrator.postgres.privileges import refuse_hidden_rows
from migrator.state import full_verification, journal, own_transactions, source_state, sync
from migrator.state.ledger import Counts, balance
from migrator.state.records import SCRATCH_NAMESPACE, Connection, has_records
from migrator.targets.server import WorkerSessions
from migrator.verification import accounting, embeddings
from migrator.verification.model import Check, Fault, Scope
from migrator.workflows.fingerprints import collect_fingerprints, find_changes
from migrator.workflows.local_workers import preload_workers
from migrator.workflows.migration import MigrationContext
from migrator.workflows.pipeline import Pipeline
from migrator.workflows.switched import refuse_switched
from migrator.workflows.verify_following import FollowedComparison
from migrator.workflows.verify_rows import WORKER_MODULES, RowOptions, compare_rows
from migrator.workflows.verify_target import TargetChecks, names_of

Level = Literal["counts", "rows", "roundtrip"]
LEVELS: tuple[Level, ...] = ("counts", "rows", "roundtrip")


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifyOptions:
    """What to compare.

    `re_embed`: embed so many texts again and compare the vectors, even if the service costs money. `only`: collections
    and tables to compare (none: all). `show_values`: show values that can be personal. `share`: the share of the
    documents to rebuild, from 0 to 1, at least one per collection.
    """

    level: Level
    re_embed: int = 0
    only: frozenset[str] = frozenset()
    show_values: bool = False
    share: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifyReport:
    """The output of `migrate verify`: see contract.md, JSON shapes.

    `not_applied`: documents with changes that `migrate follow` has not applied; None if the source is not followed.
    """

    level: Level
    checks: tuple[Check, ...]
    collections: dict[str, Counts]
    seconds: float
    not_applied: int | None = None

    @property
    def ok(self) -> bool:
        return all(check.ok for check in self.checks)

    def as_json(self) -> dict[str, Any]:
        followed = {} if self.not_applied is None else {"not_applied": self.not_applied}
        return {
            "ok": self.ok,
            "level": self.level,
            "checks": [check.as_json() for check in self.checks],
            "collections": {name: counts.as_json() for name, counts in self.collections.items()},
            "seconds": round(self.seconds, 3),
            **followed,
        }


def verify(context: MigrationContext, connection: Connection, dsn: str, options: VerifyOptions) -> VerifyReport:
    """Execute the checks of a level and of the levels below it. `dsn` is for worker processes.

    Leaves no changes behind. An interrupted verification resumes when it is called again.

    Raises: `UsageError` if the target contains no migration, or for an unknown name in `options.only`.
    """
    with closing(WorkerSessions(dsn)) as workers:
        return _verify(context, connection, workers, options)


def _verify(
    context: MigrationContext, connection: Connection, workers: WorkerSessions, options: VerifyOptions
) -> VerifyReport:
    started, namespace = time.monotonic(), context.namespace
    if not has_records(connection, namespace):
        raise UsageError("the target contains no migration to verify", hint="Run `migrate run` first.")
    refuse_switched(connection, namespace, "verify")
    check_only(context, options.only)
    if options.level != "counts":
        preload_workers(context, WORKER_MODULES)
    scope = make_scope(context, connection, options, workers)
    pipeline = _scratch_pipeline(context, connection, workers.dsn)
    row_options = None
    if options.level != "counts":
        row_options = RowOptions(rebuild=options.level == "roundtrip", share=options.share)
    unapplied, collections, oldest = None, None, None
    began = sync.read(connection, namespace)
    if is_followed(context, connection):
        followed = FollowedComparison(context=context, scope=scope, pipeline=pipeline, options=row_options).run()
        scope, scan, checks, unapplied = followed.scope, followed.scan, followed.checks, followed.unapplied
        collections, oldest = followed.collections, followed.oldest
    else:
        count = partial(accounting.count_source, context.source, names_of(scope, context.source))
        checker = TargetChecks.open(scope, count, context.emit)
        scope, scan, checks = checker.scope, checker.scan, checker.run()
    if any(not check.ok for check in checks):  # hidden rows would be reported as lost ones
        refuse_hidden_rows(connection, list(context.definition.metadata.tables))
    embedded = context.definition.embedded
    if embedded is not None and embedded.table in scope.tables:
        checks += embeddings.check_embeddings(
            embeddings.EmbeddingScope(
                connection=connection,
                namespace=namespace,
                embedded=embedded,
                config=context.config,
                re_embed=options.re_embed,
            )
        )
    if row_options is not None and unapplied is None and not scope.unusable:
        checks += compare_rows(scope, scan, pipeline, row_options)
    report = VerifyReport(
        level=options.level,
        checks=tuple(_attributed(context, scope, checks)),
        collections=collections or balance(connection, namespace, scan.records.counts),
        seconds=time.monotonic() - started,
        not_applied=unapplied,
    )
    if unapplied is not None and began is not None and report.ok and _is_full(options):
        _record_full(context, connection, began, oldest)
    return report


def _is_full(options: VerifyOptions) -> bool:
    return options.level == "roundtrip" and not options.only and options.share >= 1


def _record_full(context: MigrationContext, connection: Connection, began: sync.SyncState, oldest: int | None) -> None:
    """Record a full verification without a difference, for a later cutover.

    Not if a change from before its beginning was not applied: a cutover compares the documents with later changes.
    """
    if oldest is not None and oldest <= began.received:
        text = "Changes from before this verification are not applied, so a cutover cannot use it."
        context.emit(Notice(text=f"{text} Verify again while `migrate follow` runs."))
        return
    full_verification.record(connection, context.namespace, began)


def is_followed(context: MigrationContext, connection: Connection) -> bool:
    """Return whether the target follows, or followed, the live source."""
    return context.source.changing is not None and sync.read(connection, context.namespace) is not None


def _scratch_pipeline(context: MigrationContext, connection: Connection, dsn: str) -> Pipeline:
    scratch = replace(context, namespace=SCRATCH_NAMESPACE, emit=as_dry_run(context.emit))
    return Pipeline(context=scratch, connection=connection, dsn=dsn)


def _attributed(context: MigrationContext, scope: Scope, checks: list[Check]) -> list[Check]:
    """Correct the likely causes by what is known of the run: unfinished, restored from a dump, other settings."""
    if all(check.ok for check in checks):
        return checks
    latest = journal.latest_run(scope.connection, scope.namespace)
    if latest is None or latest[1] != journal.DONE:
        text = "The run is not finished, which explains differences. `migrate run` completes it."
        context.emit(Notice(text=text, level="warning"))
        return [check.with_faults(lambda fault: "run") for check in checks]
    if not own_transactions.is_traceable(scope.connection, scope.namespace):
        text = "This database was restored from a dump, so the likely cause of differences cannot be determined."
        context.emit(Notice(text=text))
        return [check.with_faults(lambda fault: "") for check in checks]
    changed = find_changes(latest[2], collect_fingerprints(context), context.config)
    if changed:
        context.emit(Notice(text=f"Changed since the run: {', '.join(changed)}.", level="warning"))
    if scope.source_changed:
        return checks
    return [check.with_faults(partial(_blame, {each.split()[0] for each in changed})) for check in checks]


def _blame(changed: set[str], fault: Fault) -> Fault:
    """Return the likely cause of a difference, if the source has not changed since the run."""
    if fault not in ("source", "mapper"):
        return fault
    if "configuration" in changed:
        return "configuration"
    return "mapper" if "mappings" in changed else fault


def check_only(context: MigrationContext, only: frozenset[str]) -> None:
    """Raises: `UsageError` for a name that is neither a collection nor a table."""
    definition = context.definition
    collections = {each.name for each in context.source.collections()}
    unknown = only - collections - definition.known - set(definition.metadata.tables)
    if unknown:
        raise UsageError(
            f"--only: unknown collection or table {', '.join(sorted(unknown))}",
            hint="Use names of collections in the source or of tables in the target.",
        )


def make_scope(
    context: MigrationContext, connection: Connection, options: VerifyOptions, workers: WorkerSessions | None = None
) -> Scope:
    """Return what the verification compares."""
    definition = context.definition
    latest = journal.latest_run(connection, context.namespace)
    recorded = {} if latest is None else latest[2]
    changed = [
        recorded.get("mappings") != definition.fingerprint,
        recorded.get("configuration") != fingerprint(context.config),
    ]
    is_expected = is_followed(context, connection)  # then the comparison is made at one point of the changes
    changes = [] if is_expected else source_state.find_changes(connection, context.namespace, context.source)
    if changes:
        text = f"The source was written to since the load began: {', '.join(changes)}."
        context.emit(Notice(text=f"{text} Differences in these collections can be these writes.", level="warning"))
    return Scope(
        connection=connection,
        namespace=context.namespace,
        config=context.config,
        mappings=definition.mappings,
        metadata=definition.metadata,
        workers=workers,
        known=definition.known,
        only=options.only,
        show=options.show_values,
        source_changed=bool(changes) or recorded.get("source") != context.source.fingerprint(),
        mapper_changed=any(changed),
    )
