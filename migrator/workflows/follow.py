"""`migrate follow`: applies the changes of a live source to the rows of a finished run, until it is stopped."""

from __future__ import annotations

from psycopg import Connection

from migrator.following import deferral
from migrator.following.applier import Applier
from migrator.following.initial_wants import record_initial_wants
from migrator.rows.ledger_indexes import ensure_ledger_indexes
from migrator.rows.store import RowStore
from migrator.stages.context import StageContext
from migrator.stages.load import order_by_dependency
from migrator.state import journal
from migrator.workflows.migration import MigrationContext
from migrator.workflows.pipeline import Pipeline


def prepare_following(context: MigrationContext, connection: Connection[tuple[object, ...]], dsn: str) -> Applier:
    """Prepare a finished run for changes, and return the applier. Can be repeated.

    Raises: `UsageError` if no run has finished.
    """
    run, _ = journal.require_finished(connection, context.namespace)
    pipeline = Pipeline(context=context, connection=connection, dsn=dsn)
    rows = RowStore(connection, context.namespace, context.definition.mappings)
    stage = StageContext(rows=rows, tenant=context.config.tenant.id, run=run, emit=context.emit)
    levels = order_by_dependency(context.definition.mappings)
    ensure_ledger_indexes(connection, context.namespace)
    deferral.make_deferrable(rows)
    record_initial_wants(stage, levels, pipeline.resolvers_for)
    return Applier(
        stage=stage,
        levels=levels,
        resolvers_for=pipeline.resolvers_for,
        archives_unmapped=context.config.policies.unmapped_collections == "archive",
    )
