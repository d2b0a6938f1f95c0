"""Completes a collection after its load, when all of its documents are known.

Resolves conflicts of IDs and unique values, builds trees, computes the latest values of related rows, reports missing
rows. Each step can be repeated.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from psycopg import sql

from migrator.events import StepAdvanced, StepFinished, StepStarted
from migrator.findings import severity_of
from migrator.mapping.collection import Collection, ExpectedRows
from migrator.postgres.table_names import name_of
from migrator.reconciliation import membership
from migrator.reconciliation.conflicts import ConflictResolver
from migrator.reconciliation.latest_values import LatestValue, explain_refused_values, mapping_of
from migrator.reconciliation.trees import Trees
from migrator.reconciliation.unloaded import record_unloaded_owners
from migrator.rows.ledger_indexes import ensure_ledger_indexes
from migrator.rows.members import owners_of
from migrator.stages.context import StageContext
from migrator.state import journal
from migrator.state.own_transactions import own_transaction
from migrator.state.statistics import Analysis, analyze_records, analyze_table

WHOLE_ANALYSIS = Analysis()


def reconcile(
    stage: StageContext,
    resolver: ConflictResolver,
    on_table_loaded: Callable[[str], None] = lambda table: None,
    *,
    analysis: Analysis = WHOLE_ANALYSIS,
    before_replacing: Callable[[], None] = lambda: None,
) -> None:
    """Reconcile one collection; does nothing if that was done.

    `on_table_loaded` receives the name of the table when all its rows exist. Their values can still change. `analysis`
    says which statistics are computed here. If documents were replaced, all are: the next steps join what changed.
    `before_replacing` is called before rows of documents are replaced, which are found by their keys.

    Raises: `UpdatesRefusedError` if the target refuses a change of loaded rows.
    """
    collection, connection, namespace = resolver.collection, stage.connection, stage.namespace
    step = f"reconcile {collection.name}"
    if step in journal.finished_steps(connection, namespace):
        return
    began = journal.read_clock(connection)
    pending = resolver.pending_rejects()
    if pending:
        before_replacing()
        ensure_ledger_indexes(connection, namespace)
        membership.forget(connection, namespace, collection.name)  # some loaded documents will be replaced
    stage.emit(StepStarted(step=step, total=len(pending), unit="ID conflicts"))
    done = 0
    for done, _ in enumerate(resolver.resolve_all(pending), start=1):
        stage.emit(StepAdvanced(step=step, done=min(done, len(pending))))
    record_unloaded_owners(resolver.writer)
    # The statistics also serve the first queries of the application, because later steps change little.
    chosen = replace(analysis, table=True, records=True) if pending else analysis
    chosen.run(connection, namespace, collection.table)  # before an index build, for whose end ANALYZE would wait
    if not any(collection.name in each.earlier for each in stage.rows.mappings.values()):
        on_table_loaded(name_of(collection.table))
    if collection.tree is not None:
        Trees(rows=stage.rows, collection=collection, tenant=stage.tenant, run=stage.run).resolve()
    membership.compact_all(stage.rows, collection.name)
    with explain_refused_values(stage.rows, collection, stage.tenant), connection.transaction():
        update_latest_values(stage, collection)
        for expected in collection.expected:
            report_missing_rows(stage, collection, expected)
        membership.forget(connection, namespace, collection.name)
        journal.finish_long_step(connection, namespace, stage.run, step, began)
    stage.emit(StepFinished(step=step, note=f"{done:,} ID conflicts resolved"))


def reconcile_again(stage: StageContext, collection: Collection) -> None:
    """Reconcile a collection that got more rows after `reconcile`."""
    if collection.tree is not None:
        trees = Trees(rows=stage.rows, collection=collection, tenant=stage.tenant, run=stage.run)
        trees.restore_parents()
        trees.forget_disagreements()
        trees.resolve()
    with explain_refused_values(stage.rows, collection, stage.tenant), stage.connection.transaction():
        update_latest_values(stage, collection)
    for expected in collection.expected:
        report_missing_rows(stage, collection, expected)
    analyze_table(stage.connection, stage.namespace, collection.table)
    analyze_records(stage.connection, stage.namespace)
    membership.compact_all(stage.rows, collection.name)


def is_joined_early(collection: Collection, mappings: Mapping[str, Collection]) -> bool:
    """Return whether a step before the end of a run joins the rows of a collection, or its part of the ledger."""
    is_joined = joins_records(collection, mappings) or collection.latest_values or collection.member_lists
    return bool(is_joined) or any(collection.name in each.needs for each in mappings.values())


def joins_records(collection: Collection, mappings: Mapping[str, Collection]) -> bool:
    """Return whether the rest of `reconcile` joins the ledger."""
    is_listed = next(owners_of(mappings, collection.name), None)
    return any((collection.tree, collection.expected, collection.links, is_listed))


def report_missing_rows(stage: StageContext, collection: Collection, expected: ExpectedRows) -> None:
    """Record a finding for every row of another table that expects rows of `collection` and has none."""
    namespace = stage.namespace
    other = stage.rows.mappings[expected.collection]
    names = {
        "collection": sql.Literal(other.name),
        "code": sql.Literal(expected.code),
        "detail": sql.Literal(expected.flag),
    }
    missing = namespace.sql(
        "INSERT INTO {findings} (collection, code, severity, source_id, detail)"
        " SELECT {collection}, {code}, {severity}, l.source_id, {detail} FROM {ledger} l"
        " JOIN {other} t ON t.{key}::text = l.target_id WHERE l.collection = {collection} AND l.outcome = 'loaded'"
        " AND t.{flag} AND NOT EXISTS (SELECT FROM {expected} h WHERE h.{reference} = t.{key})",
        severity=sql.Literal(severity_of(expected.code)),
        other=namespace.table(name_of(other.table)),
        expected=namespace.table(name_of(collection.table)),
        key=sql.Identifier(other.key.column),
        flag=sql.Identifier(expected.flag),
        reference=sql.Identifier(expected.reference_column),
        **names,
    )
    with own_transaction(stage.connection, stage.namespace):
        query = namespace.sql("DELETE FROM {findings} WHERE collection = {collection} AND code = {code}", **names)
        stage.connection.execute(query)
        stage.connection.execute(missing)


def update_latest_values(stage: StageContext, collection: Collection) -> None:
    """Update the columns of other tables that hold the latest value of the rows of `collection`.

    Requires a transaction.
    """
    for latest in collection.latest_values:
        LatestValue(rows=stage.rows, collection=collection, latest=latest, tenant=stage.tenant).update()
        changed = mapping_of(stage.rows, latest.table).table
        analyze_table(stage.connection, stage.namespace, changed, [latest.column])
