"""`migrate embed`, and the check of the embedding service before a run."""

from __future__ import annotations

from contextlib import closing
from functools import partial

from migrator.config.models import Config
from migrator.embedding import vector_indexes
from migrator.errors import PlanError, UsageError
from migrator.events import Emit
from migrator.mapping.collection import VectorColumn
from migrator.mapping.loader import MigrationDefinition
from migrator.monitoring.monitor import monitored
from migrator.monitoring.throttle import LagMeter
from migrator.postgres.owner_checks import check_vector_column
from migrator.postgres.table_names import name_of
from migrator.provenance.foreign_edits import remember_changes
from migrator.rows.store import RowStore
from migrator.stages.constrain import (
    rebuild_vector_indexes,
)
from migrator.stages.context import StageContext
from migrator.stages.embed import EmbedReport, check_provider, embed
from migrator.state import journal
from migrator.state.lock import exclusive
from migrator.state.records import Connection, Namespace
from migrator.state.suspension import suspend_in_run
from migrator.targets.base import Target
from migrator.workflows.migration import MigrationContext
from migrator.workflows.retry import count_entries, retry_transient


def embed_missing(config: Config, definition: MigrationDefinition, target: Target, emit: Emit) -> EmbedReport:
    """Compute the embeddings that are missing after a run. Raises: `UsageError` if no run has finished."""
    embedded, namespace = definition.embedded, Namespace()
    if embedded is None:
        raise UsageError("the mappings declare no EMBEDDED, so no rows have embeddings")

    def attempt(number: int) -> EmbedReport:
        with closing(target.connect()) as connection, exclusive(connection):
            run, _ = journal.require_finished(connection, namespace)
            require_free_vectors(connection, definition, embedded)
            suspend_in_run(connection, namespace, definition.metadata, run)
            remember_changes(connection, namespace, definition)
            rows = RowStore(connection, namespace, definition.mappings)
            with monitored(target.connect, namespace, LagMeter(config.engine, None), emit) as monitored_emit:
                stage = StageContext(rows=rows, tenant=config.tenant.id, run=run, emit=monitored_emit)
                report = embed(stage, embedded, config.embedding)
                if vector_indexes.are_stale(connection, namespace):
                    rebuild_vector_indexes(connection, namespace, embedded, monitored_emit)
            return report

    return retry_transient(attempt, partial(count_entries, target, namespace), emit)


def require_free_vectors(connection: Connection, definition: MigrationDefinition, embedded: VectorColumn) -> None:
    """Check that no object of the owner can refuse an embedding. Raises: `PlanError` with the objects and remedies."""
    found = list(check_vector_column(connection, definition.metadata, name_of(embedded.table), embedded.vector))
    if found:
        hint = " ".join(each.remedy for each in found)
        raise PlanError("; ".join(each.text for each in found), hint=hint)


def check_embedding(context: MigrationContext, *, send_request: bool) -> None:
    """Check the embedding provider before the run, because `embed` is one of its last stages.

    With `send_request`, the service receives one short text.

    Raises: `UsageError` for wrong settings or a missing package, `EmbeddingError` if the service cannot be used.
    """
    embedded = context.definition.embedded
    if embedded is not None and embedded.collection in {each.name for each in context.source.collections()}:
        check_provider(embedded, context.config.embedding, send_request=send_request)
