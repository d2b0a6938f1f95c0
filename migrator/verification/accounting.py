"""Checks of counts: the source, the journal, the ledger and the tables account for the same documents."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping

from psycopg import sql

from migrator.documents.codec import format_id
from migrator.events import Emit, StepAdvanced, StepFinished, StepStarted
from migrator.execution.tasks import BATCH_BYTES
from migrator.formatting import format_count
from migrator.mapping.collection import Collection
from migrator.mapping.shared_tables import mappings_of
from migrator.postgres.table_names import name_of
from migrator.postgres.tenancy import tenant_column
from migrator.sources.base import Source
from migrator.state import own_transactions
from migrator.state.ledger import Counts
from migrator.state.row_keys import key_of
from migrator.state.tenant import own_rows
from migrator.verification.model import (
    MISSING,
    Check,
    CountPair,
    Difference,
    Differences,
    Fault,
    Scope,
    compare_counts,
    make_check,
    passed_check,
)
from migrator.verification.prescan import Prescan

UNEXPECTED = "no source document for this row"


def count_source(source: Source, names: list[str], emit: Emit) -> Counter[str]:
    """Count the documents of collections; read those whose number the source does not know otherwise."""
    step = "count the source"
    emit(StepStarted(step=step))
    known = {name: source.count(name) for name in names}
    counted = Counter({name: count or 0 for name, count in known.items()})
    left = dict.fromkeys((name for name, count in known.items() if count is None), "")
    for batch in source.read(left, documents=100_000, size=BATCH_BYTES):
        counted[batch.collection] += batch.count
        emit(StepAdvanced(step=step, done=counted.total()))
    emit(StepFinished(step=step, note=f"{format_count(counted.total(), 'documents')}"))
    return counted


def check_accounting(scope: Scope, counted: Mapping[str, int], outcomes: Mapping[str, Counts]) -> Iterator[Check]:
    """Check the accounting identity, source = loaded + rejected + archived, for every collection.

    `counted` holds the documents that the source has now.
    """
    for name, documents in sorted(counted.items()):
        counts = outcomes.get(name)
        accounted = 0 if counts is None else counts.loaded + counts.rejected + counts.archived
        read = 0 if counts is None else counts.source
        # If the ledger accounts for every document that the journal says was read, the source has changed since.
        fault: Fault = "source" if read == accounted else "target"
        note = f"{abs(documents - accounted):,} not accounted for"
        pair = CountPair(expected=documents, actual=accounted, note=note, fault=fault)
        yield compare_counts("accounting", name, pair)
    for name in sorted(outcomes.keys() - counted.keys()):
        if scope.has_collection(name):
            note = "the source no longer contains this collection"
            pair = CountPair(expected=0, actual=outcomes[name].source, note=note, fault="source")
            yield compare_counts("accounting", name, pair)


def check_journal(scope: Scope, counted: Mapping[str, int], outcomes: Mapping[str, Counts]) -> Iterator[Check]:
    """Check that the batches in the journal cover all documents, and that every partition was read to its end."""
    query = scope.namespace.sql("SELECT collection, sum(documents)::bigint FROM {batches} GROUP BY 1")
    batches = {name: int(documents) for name, documents in scope.connection.execute(query)}
    accounted = {name: counts.loaded + counts.rejected + counts.archived for name, counts in outcomes.items()}
    for name in sorted(counted):
        documents = batches.get(name, 0)
        fault: Fault = "source" if documents == accounted.get(name, 0) else "target"
        pair = CountPair(expected=counted[name], actual=documents, note="documents in its batches", fault=fault)
        yield compare_counts("journal", name, pair)
    yield _check_partitions(scope)


def _check_partitions(scope: Scope) -> Check:
    query = scope.namespace.sql(
        "SELECT p.collection, p.part FROM {partitions} p WHERE NOT EXISTS"
        " (SELECT FROM {batches} b WHERE b.collection = p.collection AND b.part = p.part AND b.last) ORDER BY 1, 2"
    )
    note = "the journal has no last batch for this partition"
    found = [
        Difference(row=f"{name}, partition {part}", note=note, fault="target")
        for name, part in scope.connection.execute(query)
        if scope.has_collection(name)
    ]
    actual = (
        f"{format_count(len(found), 'partitions')} not read to the end" if found else "all partitions read to the end"
    )
    return make_check(
        "journal", "partitions", Differences.of(found), expected="all partitions read to the end", actual=actual
    )


def check_kept_documents(scope: Scope, scan: Prescan) -> Iterator[Check]:
    """Check that every rejected document is in `rejects` and every archived document in `archive`."""
    for relation, outcome in (("rejects", "rejected"), ("archive", "archived")):
        expected = f"one record per {outcome} document"
        if scan.records.matches_ledger(outcome):
            yield passed_check(f"{relation} kept", relation, expected)
            continue
        found = Differences.of(list(_find_kept_differences(scope, relation, outcome)))
        actual = f"{format_count(found.total, 'documents')} with a wrong number of records" if found.total else expected
        yield make_check(f"{relation} kept", relation, found, expected=expected, actual=actual)


def _find_kept_differences(scope: Scope, relation: str, outcome: str) -> Iterator[Difference]:
    query = scope.namespace.sql(
        "SELECT coalesce(a.collection, b.collection), coalesce(a.source_id, b.source_id),"
        " coalesce(a.n, 0), coalesce(b.n, 0) FROM"
        " (SELECT collection, source_id, count(*) AS n FROM {ledger} WHERE outcome = {outcome} GROUP BY 1, 2) a"
        " FULL JOIN (SELECT collection, source_id, count(*) AS n FROM {relation} GROUP BY 1, 2) b"
        " USING (collection, source_id) WHERE a.n IS DISTINCT FROM b.n ORDER BY 1, 2",
        relation=sql.Identifier(scope.namespace.records, relation),
        outcome=sql.Literal(outcome),
    )
    for name, source_id, expected, actual in scope.connection.execute(query):
        if scope.has_collection(name):
            yield Difference(
                row=f"{name} {format_id(bytes(source_id))}", expected=f"{expected} {outcome} in the ledger",
                actual=f"{actual} in {relation}", fault="target",
            )  # fmt: skip


def check_row_counts(scope: Scope, scan: Prescan) -> Iterator[Check]:
    """Check that every loaded document has a row of the tenant, and that every new row of the tenant has a document.

    Rows that are older than the run are not counted.
    """
    for table, mapping in {name_of(each.table): each for each in scope.chosen.values()}.items():
        expected, _ = loaded = scan.loaded(table)
        if scan.tables[table].migrated == loaded:
            yield passed_check("rows exist", table, expected)
            continue
        found = list(_find_unmatched_rows(scope, mapping))
        missing = sum(1 for each in found if each.note == MISSING)
        extra = sum(1 for each in found if each.note == UNEXPECTED)
        yield make_check(
            "rows exist", table, Differences.of(found), expected=expected, actual=expected - missing + extra
        )


def _find_unmatched_rows(scope: Scope, mapping: Collection) -> Iterator[Difference]:
    tenant, column = scope.config.tenant.id, tenant_column(mapping.table)
    query = scope.namespace.sql(
        "SELECT l.target_id, {key}, {tenant}::text, {newer} FROM"
        " (SELECT target_id FROM {ledger} WHERE collection = ANY(%(names)s) AND outcome = 'loaded') l"
        " FULL JOIN {table} t ON {key} = l.target_id"
        " WHERE t.{first} IS NULL OR (l.target_id IS NULL AND {own} AND NOT {older})"
        " OR (l.target_id IS NOT NULL AND NOT {own}) ORDER BY 1, 2",
        table=scope.namespace.table(name_of(mapping.table)),
        key=key_of(mapping).text("t"),
        first=sql.Identifier(key_of(mapping).columns[0]),
        own=own_rows(mapping.table, tenant),
        tenant=sql.NULL if column is None else sql.Identifier("t", column),
        newer=own_transactions.written_after_run(scope.namespace, "t"),
        older=own_transactions.written_before_run(scope.namespace, "t"),
    )
    names = [each.name for each in mappings_of(scope.mappings, name_of(mapping.table))]
    for target_id, row, owner, newer in scope.connection.execute(query, {"names": names}):
        if row is None:
            yield Difference(row=target_id, note=MISSING, fault="target")
        elif target_id is None:
            yield Difference(row=row, note=UNEXPECTED, fault="target" if newer else "")
        else:
            fault: Fault = "target" if newer else "mapper"
            yield Difference(row=row, column=column or "", expected=str(tenant), actual=owner, fault=fault)
