"""Counts: straight from the source, in the journal, in the ledger, in the tables; and the accounting identity."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping

from psycopg import sql

from migrator.documents.codec import format_id
from migrator.events import Emit, StepAdvanced, StepFinished, StepStarted
from migrator.execution.tasks import BATCH_BYTES
from migrator.mapping.collection import Collection
from migrator.sources.base import Source
from migrator.state import own_transactions
from migrator.state.ledger import Counts
from migrator.verification.model import Check, Difference, Fault, Scope, equal_counts, judged
from migrator.verification.prescan import Prescan


def count_source(source: Source, names: list[str], emit: Emit) -> Counter[str]:
    """Documents of collections, counted in the source itself."""
    step = "count the source"
    emit(StepStarted(step=step))
    counted: Counter[str] = Counter(dict.fromkeys(names, 0))
    for batch in source.read(dict.fromkeys(names, ""), documents=100_000, size=BATCH_BYTES):
        counted[batch.collection] += batch.count
        emit(StepAdvanced(step=step, done=counted.total()))
    emit(StepFinished(step=step, note=f"{counted.total():,} documents"))
    return counted


def check_accounts(scope: Scope, counted: Mapping[str, int], outcomes: Mapping[str, Counts]) -> Iterator[Check]:
    """source = loaded + rejected + archived for every collection, with the source counted anew."""
    for name, documents in sorted(counted.items()):
        counts = outcomes.get(name)
        accounted = 0 if counts is None else counts.loaded + counts.rejected + counts.archived
        read = 0 if counts is None else counts.source
        # The journal knows how many documents were read: where the source has as many, the ledger has lost some.
        fault: Fault = "source" if read == accounted else "target"
        yield equal_counts(
            "accounting", name, documents, accounted, f"{abs(documents - accounted):,} not accounted for", fault
        )
    for name in sorted(outcomes.keys() - counted.keys()):
        if scope.has_collection(name):
            note = "the source no longer has this collection"
            yield equal_counts("accounting", name, 0, outcomes[name].source, note, "source")


def check_journal(scope: Scope, counted: Mapping[str, int], outcomes: Mapping[str, Counts]) -> Iterator[Check]:
    """The batches of the journal hold as many documents as were read, and every part was read to its end."""
    read = scope.namespace.sql("SELECT collection, sum(documents)::bigint, count(*) FROM {batches} GROUP BY 1")
    batches = {name: (int(documents), int(number)) for name, documents, number in scope.connection.execute(read)}
    kept = {name: counts.loaded + counts.rejected + counts.archived for name, counts in outcomes.items()}
    for name in sorted(counted):
        documents, _ = batches.get(name, (0, 0))
        fault: Fault = "source" if documents == kept.get(name, 0) else "target"
        yield equal_counts("journal", name, counted[name], documents, "documents in its batches", fault)
    query = scope.namespace.sql(
        "SELECT p.collection, p.part FROM {partitions} p WHERE NOT EXISTS"
        " (SELECT FROM {batches} b WHERE b.collection = p.collection AND b.part = p.part AND b.last) ORDER BY 1, 2"
    )
    note = "no batch says that this part was read to its end"
    found = [
        Difference(row=f"{name}, part {part}", note=note, fault="target")
        for name, part in scope.connection.execute(query)
        if scope.has_collection(name)
    ]
    yield judged("journal", "parts", found)


def check_kept(scope: Scope, survey: Prescan) -> Iterator[Check]:
    """Every rejected document is in rejects, every archived one in archive."""
    for relation, outcome in (("rejects", "rejected"), ("archive", "archived")):
        if survey.records.are_kept(outcome):
            yield judged(f"{relation} kept", relation, [])
            continue
        query = scope.namespace.sql(
            "SELECT coalesce(a.collection, b.collection), coalesce(a.source_id, b.source_id),"
            " coalesce(a.n, 0), coalesce(b.n, 0) FROM"
            " (SELECT collection, source_id, count(*) AS n FROM {ledger} WHERE outcome = {outcome} GROUP BY 1, 2) a"
            " FULL JOIN (SELECT collection, source_id, count(*) AS n FROM {relation} GROUP BY 1, 2) b"
            " USING (collection, source_id) WHERE a.n IS DISTINCT FROM b.n ORDER BY 1, 2",
            relation=sql.Identifier(scope.namespace.records, relation),
            outcome=sql.Literal(outcome),
        )
        found = [
            Difference(
                row=f"{name} {format_id(bytes(source_id))}",
                expected=f"{wanted} {outcome} in the ledger",
                fault="target",
                actual=f"{kept} in {relation}",
            )
            for name, source_id, wanted, kept in scope.connection.execute(query)
            if scope.has_collection(name)
        ]  # fmt: skip
        yield judged(f"{relation} kept", relation, found)


def check_rows(scope: Scope, survey: Prescan) -> Iterator[Check]:
    """Every loaded document has its row, in its tenant, and every row of the tenant has its document.

    Rows that were there before the run are nobody's mistake."""
    for name, mapping in scope.chosen.items():
        expected, _ = loaded = survey.records.loaded(name)
        same = survey.tables[mapping.table.name].brought == loaded
        differences = [] if same else list(_rows_alone(scope, mapping))
        missing = sum(1 for each in differences if each.note.endswith("missing"))
        extra = sum(1 for each in differences if each.note.startswith("no document"))
        yield judged(
            "rows exist", mapping.table.name, differences, expected=expected, actual=expected - missing + extra
        )


def _rows_alone(scope: Scope, mapping: Collection) -> Iterator[Difference]:
    query = scope.namespace.sql(
        "SELECT l.target_id, t.{key}::text, t.tenant_id::text, {newer} FROM"
        " (SELECT target_id FROM {ledger} WHERE collection = %(name)s AND outcome = 'loaded') l"
        " FULL JOIN {table} t ON t.{key}::text = l.target_id"
        " WHERE t.{key} IS NULL OR (l.target_id IS NULL AND t.tenant_id = %(tenant)s AND NOT {older})"
        " OR (l.target_id IS NOT NULL AND t.tenant_id <> %(tenant)s) ORDER BY 1, 2",
        table=scope.namespace.table(mapping.table.name),
        key=sql.Identifier(mapping.key.column),
        newer=own_transactions.written_after_run(scope.namespace, "t"),
        older=own_transactions.written_before_run(scope.namespace, "t"),
    )
    tenant = scope.config.tenant.id
    found = scope.connection.execute(query, {"name": mapping.name, "tenant": tenant})
    for wanted, row, of, touched in found:
        if row is None:
            yield Difference(row=wanted, note="the row is missing", fault="target")
        elif wanted is None:
            yield Difference(row=row, note="no document became this row", fault="target" if touched else "")
        else:
            fault: Fault = "target" if touched else "mapper"
            yield Difference(row=row, column="tenant_id", expected=str(tenant), actual=of, fault=fault)
