"""Prepares a finished run for the changes of its source."""

from __future__ import annotations

from migrator.following import deferral
from migrator.following.applier import Applier
from migrator.following.indexes import ensure_indexes
from migrator.following.initial_wants import record_initial_wants
from migrator.mapping.shared_tables import find_shared_tables
from migrator.rows.store import RowStore
from migrator.stages.context import StageContext
from migrator.stages.load import order_by_dependency
from migrator.state import journal
from migrator.state.records import Connection
from migrator.state.suspension import suspend_in_run
from migrator.workflows.migration import MigrationContext
from migrator.workflows.pipeline import Pipeline


def prepare_following(context: MigrationContext, connection: Connection, dsn: str) -> Applier:
    """Prepare a finished run for changes, and return the applier. Can be repeated.

    Raises: `UsageError` if no run has finished.
    """
    namespace, definition = context.namespace, context.definition
    run, _ = journal.require_finished(connection, namespace)
    pipeline = Pipeline(context=context, connection=connection, dsn=dsn)
    rows = RowStore(connection, namespace, definition.mappings)
    stage = StageContext(rows=rows, tenant=context.config.tenant.id, run=run, emit=context.emit)
    levels = order_by_dependency(definition.mappings)
    suspend_in_run(connection, namespace, definition.metadata, run)
    ensure_indexes(connection, namespace)
    deferral.make_deferrable(rows)
    record_initial_wants(stage, levels, pipeline.resolvers_for)
    merged = {applier.merge.into for applier in pipeline.merge_appliers(run)}
    with_children = {each.name for each in definition.mappings.values() if each.children}
    sharing = {each.name for some in find_shared_tables(definition.mappings.values()).values() for each in some}
    embedded = set() if definition.embedded is None else {definition.embedded.collection}
    sections = {name: each.section for name, each in definition.mappings.items() if each.section is not None}
    return Applier(
        stage=stage,
        levels=levels,
        resolvers_for=pipeline.resolvers_for,
        archives_unmapped=context.config.policies.unmapped_collections == "archive",
        never_simple=frozenset(merged | embedded | with_children | sharing),
        merges=tuple(pipeline.merge_appliers(run)),
        unused=frozenset(name for name, section in sections.items() if getattr(context.config, section) is None),
    )
