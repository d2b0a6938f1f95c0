"""Counts: straight from the source, in the journal, in the ledger, in the tables; and the accounting identity."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping

from psycopg import sql

from migrator import journal
from migrator.checks.base import EXAMPLES, Check, equal_counts
from migrator.events import Emit, StepAdvanced, StepFinished, StepStarted
from migrator.journal import Connection, Place
from migrator.mapping import Collection
from migrator.sources.base import Source
from migrator.work import BATCH_BYTES


def count_source(source: Source, emit: Emit) -> Counter[str]:
    """Documents of every collection, counted in the source itself."""
    step = "count the source"
    emit(StepStarted(step=step))
    counted: Counter[str] = Counter({each.name: 0 for each in source.collections()})
    for batch in source.read(dict.fromkeys(counted, ""), documents=100_000, size=BATCH_BYTES):
        counted[batch.collection] += batch.count
        emit(StepAdvanced(step=step, done=counted.total()))
    emit(StepFinished(step=step, note=f"{counted.total():,} documents"))
    return counted


def check_accounts(connection: Connection, place: Place, counted: Mapping[str, int]) -> Iterator[Check]:
    """source = loaded + rejected + archived for every collection, with the source counted anew."""
    outcomes = journal.count_outcomes(connection, place)
    for name, documents in sorted(counted.items()):
        counts = outcomes.get(name)
        accounted = 0 if counts is None else counts.loaded + counts.rejected + counts.archived
        yield equal_counts(
            "accounting", name, documents, accounted, f"{abs(documents - accounted):,} not accounted for"
        )
    for name in sorted(outcomes.keys() - counted.keys()):
        yield equal_counts("accounting", name, 0, outcomes[name].source, "the source no longer has this collection")


def check_kept(connection: Connection, place: Place) -> Iterator[Check]:
    """Every rejected document is in rejects, every archived one in archive."""
    for relation, outcome in (("rejects", "rejected"), ("archive", "archived")):
        query = place.sql(
            "SELECT coalesce(a.collection, b.collection), coalesce(a.n, 0), coalesce(b.n, 0) FROM"
            " (SELECT collection, count(*) AS n FROM {ledger} WHERE outcome = %s GROUP BY 1) a FULL JOIN"
            " (SELECT collection, count(*) AS n FROM {relation} GROUP BY 1) b USING (collection) ORDER BY 1",
            relation=sql.Identifier(place.records, relation),
        )
        for name, expected, actual in connection.execute(query, (outcome,)).fetchall():
            yield equal_counts(relation, name, expected, actual)


def check_rows(
    connection: Connection, place: Place, mappings: Mapping[str, Collection], tenant: object
) -> Iterator[Check]:
    """Every loaded document has its row, and every row of the tenant has its document."""
    for name, mapping in mappings.items():
        table, key = place.table(mapping.table.name), sql.Identifier(mapping.key.column)
        loaded = "SELECT count(*) FROM {ledger} WHERE collection = %s AND outcome = 'loaded'"
        found = connection.execute(place.sql(loaded), (name,)).fetchone()
        expected = int(found[0]) if found else 0
        query = place.sql(
            "SELECT l.target_id, t.{key}::text FROM"
            " (SELECT target_id FROM {ledger} WHERE collection = %s AND outcome = 'loaded') l"
            " FULL JOIN (SELECT {key} FROM {table} WHERE tenant_id = %s) t ON t.{key}::text = l.target_id"
            " WHERE t.{key} IS NULL OR l.target_id IS NULL ORDER BY 1, 2",
            table=table,
            key=key,
        )
        different = connection.execute(query, (name, tenant)).fetchall()
        examples = [
            f"{wanted}: the row is missing" if wanted is not None else f"{extra}: no document became this row"
            for wanted, extra in different[:EXAMPLES]
        ]
        missing = sum(1 for wanted, _ in different if wanted is not None)
        yield Check(
            check="rows exist",
            table=mapping.table.name,
            expected=expected,
            actual=expected - missing + len(different) - missing,
            differences=len(different),
            examples=examples,
        )
