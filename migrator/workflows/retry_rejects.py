"""Retries rejected documents with the current settings and source, after the cause of the rejection was fixed.

The collections are processed by level, so that documents that depend on another rejected document are loaded with it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from migrator.errors import TargetError
from migrator.events import Notice, StepAdvanced, StepFinished, StepStarted, silent
from migrator.postgres.owner_objects import read_columns, read_constraints
from migrator.reconciliation import membership
from migrator.reconciliation.refresh import refresh_references
from migrator.reconciliation.unloaded import record_unloaded_owners
from migrator.rows.refusals import UpdatesRefusedError, forget_dropped_constraints
from migrator.state.ledger import count_by
from migrator.state.records import Connection, Namespace
from migrator.workflows.pipeline import Pipeline, list_refused
from migrator.workflows.retry_sources import update_documents

STEP = "retry"


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryReport:
    """The number of rejects by collection before (`tried`) and after (`left`) the retry.

    A document that another mapping takes now is counted there.
    """

    tried: dict[str, int]
    left: dict[str, int]

    def as_json(self) -> dict[str, object]:
        return {"tried": self.tried, "left": self.left, "loaded": sum(self.tried.values()) - sum(self.left.values())}


def require_adopter(pipeline: Pipeline) -> None:
    """Check the adopter before anything is written. The retry itself may load its row.

    Raises: `UsageError` if this row is not loaded and no document of its collection is rejected.
    """
    adopter = pipeline.context.definition.adopter
    if adopter is None or adopter.collection not in count_rejects(pipeline.connection, pipeline.namespace):
        pipeline.find_adopter()


def retry(pipeline: Pipeline, run: int) -> RetryReport:
    """Resolve every reject again. Requires `prepare`, which drops foreign keys of a table to itself."""
    connection, namespace, emit = pipeline.connection, pipeline.namespace, pipeline.context.emit
    for mapping in pipeline.mappings.values():
        forget_dropped_constraints(connection, namespace, mapping)
    update_documents(pipeline, run, count_rejects(connection, namespace))
    tried = count_rejects(connection, namespace)
    emit(StepStarted(step=STEP, total=sum(tried.values())))
    for applier in pipeline.merge_appliers(run):
        applier.undo()
    for name in pipeline.mappings:
        membership.expand_all(pipeline.rows, name)
    _resolve_rejects(pipeline, run)
    pipeline.merge(run)
    left = count_rejects(connection, namespace)
    loaded = sum(tried.values()) - sum(left.values())
    emit(StepFinished(step=STEP, note=f"{loaded:,} loaded, {sum(left.values()):,} still rejected"))
    return RetryReport(tried=tried, left=left)


def try_out(pipeline: Pipeline, run: int, begin: Callable[[], None]) -> None:
    """Execute a retry in a transaction that is rolled back, if objects of the owner may refuse a change of loaded rows.

    A run repeats its load without the documents of such rows. A retry must not: other clients may use the rows already.
    `begin` is what the caller executes before the retry.

    Raises: `TargetError` with the documents and constraints.
    """
    connection, metadata = pipeline.connection, pipeline.context.definition.metadata
    if not (read_constraints(connection, metadata) or read_columns(connection, metadata)):
        return
    pipeline.context.emit(Notice(text="Trying the retry out first: constraints of the target may refuse changes."))
    try:
        with connection.transaction(force_rollback=True):
            begin()
            retry(replace(pipeline, context=replace(pipeline.context, emit=silent)), run)
    except UpdatesRefusedError as error:
        raise TargetError(
            f"the target refuses {list_refused(error)}, which the retry requires; nothing was written",
            hint="Drop or change the constraints for the retry; or revert the migration and run it again, which rejects"
            " these documents.",
        ) from error


def _resolve_rejects(pipeline: Pipeline, run: int) -> None:
    done = 0
    contested: dict[str, set[Any]] = {}
    for level in pipeline.levels():
        for resolver in pipeline.resolvers_for(level):
            for _ in resolver.resolve_all(resolver.all_rejects()):
                done += 1
                pipeline.context.emit(StepAdvanced(step=STEP, done=done))
            record_unloaded_owners(resolver.writer)
            refresh_references(resolver.writer, contested)
            contested[resolver.collection.name] = resolver.writer.contested
            pipeline.reconcile_again(run, resolver)


def count_rejects(connection: Connection, namespace: Namespace) -> dict[str, int]:
    return count_by(connection, namespace, "rejects", "collection")
