"""Foretells a migration by rehearsing it in a throw-away PostgreSQL: the same code, so the same outcome.

Reads the whole source (or a sample); writes nothing in source or target.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from psycopg import sql

from migrator.config.models import Config
from migrator.documents.codec import format_id
from migrator.documents.fingerprint import hash_text
from migrator.embedding import vector_store
from migrator.embedding.prices import cost_of
from migrator.errors import MigrateError, PlanError
from migrator.events import Emit, Notice, silent
from migrator.mapping.collection import Collection
from migrator.mapping.loader import MigrationDefinition
from migrator.mapping.merges import Merge
from migrator.postgres import catalog
from migrator.postgres.catalog import Catalog
from migrator.postgres.entities import Entity, describe_tables
from migrator.sources.base import Batch, Source
from migrator.sources.sampled import SampledSource
from migrator.stages import load
from migrator.stages.constrain import constrain
from migrator.stages.prepare import prepare, refuse
from migrator.state import journal, scratch
from migrator.state.ledger import Counts, count_outcomes
from migrator.state.records import Connection, Namespace, create_records
from migrator.targets.base import Target
from migrator.targets.ephemeral import ephemeral_target
from migrator.workflows.pipeline import Pipeline
from migrator.workflows.profile import FieldStatistics, fates_of_merge

EXAMPLES = 3
EMPTY = "empty"  # the digest of a target without a schema, whether it is there already or not


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanReport:
    """What `migrate plan` prints and saves: see contract.md, JSON shapes."""

    fingerprints: dict[str, str]
    collections: list[dict[str, Any]]
    steps: list[dict[str, Any]]
    blockers: list[str]
    tables: dict[str, int]
    entities: list[Entity]
    left_out: Mapping[str, str]
    seconds: float
    target_bytes: int
    embedding: dict[str, Any]

    @property
    def fingerprint(self) -> str:
        """One digest over all that a run must find unchanged."""
        return hash_text("".join(f"{k}={v};" for k, v in sorted(self.fingerprints.items())))

    def as_json(self) -> dict[str, Any]:
        return {
            "fingerprint": self.fingerprint,
            "fingerprints": self.fingerprints,
            "source": {"collections": self.collections, "left_out": dict(self.left_out)},
            "tables": self.tables,
            "entities": self.entities,
            "steps": self.steps,
            "blockers": len(self.blockers),
            "blocking": self.blockers,
            "estimate": {
                "seconds": round(self.seconds, 1),
                "target_bytes": self.target_bytes,
                "embedding": self.embedding,
            },
        }


def plan(
    config: Config,
    definition: MigrationDefinition,
    source: Source,
    target: Target | None,
    fingerprints: Mapping[str, str],
    emit: Emit,
    sample: int | None = None,
) -> PlanReport:
    """Rehearses the migration. `target` is None where it does not exist yet. `fingerprints` are the run's."""
    if sample is not None:
        emit(Notice(text="Only a sample is read: what it refers to beyond counts as missing.", level="warning"))
    statistics: dict[str, FieldStatistics] = defaultdict(FieldStatistics)
    blockers, digest = examine_target(config, definition, target)
    with ephemeral_target() as rehearsal, closing(rehearsal.connect()) as connection:
        namespace = Namespace()
        prepare(connection, definition.metadata, rls=False, emit=silent)
        create_records(connection, namespace)
        seeded = target is not None and seed(target, connection, definition.mappings)
        started = time.monotonic()
        read = source if sample is None else SampledSource(source, sample)

        def observe(batch: Batch) -> None:
            statistics[batch.collection].observe(batch)

        pipeline = Pipeline.from_definition(
            config, definition, read, connection, rehearsal.dsn, namespace, emit, observe
        )
        try:
            pipeline.run(journal.begin_run(connection, namespace, source, {}))
        except PlanError as error:
            blockers.append(error.message)
        if not seeded:
            finish(rehearsal, definition, config, emit)
        seconds = time.monotonic() - started
        outcomes = count_outcomes(connection, namespace)
        blockers += fractional_amounts(connection, namespace, config)
        findings = collect_findings(connection, namespace)
        return PlanReport(
            fingerprints={**fingerprints, "target": digest},
            collections=list(describe(source, definition, statistics, outcomes, findings)),
            steps=list(describe_steps(definition, [each.merge for each in pipeline.mergings(0)])),
            blockers=blockers,
            tables=count_tables(definition.mappings, outcomes),
            entities=describe_tables(definition.metadata),
            left_out=source.left_out,
            seconds=seconds,
            target_bytes=measure(connection),
            embedding=forecast_embedding(connection, namespace, definition, config),
        )


def examine_target(config: Config, definition: MigrationDefinition, target: Target | None) -> tuple[list[str], str]:
    """What in the target's schema is in the way, and a digest of that schema."""
    if target is None:
        return [], EMPTY
    with closing(target.connect()) as connection:
        actual = catalog.read(connection)
        digest = EMPTY if is_empty(actual) else hash_text(repr(actual))
        try:
            wanted = catalog.read_expected(connection, definition.metadata, config.target.rls == "all")
            refuse(connection, actual, wanted, silent)
        except MigrateError as error:
            return [error.message], digest
    return [], digest


def is_empty(found: Catalog) -> bool:
    """Whether there is nothing but what every new database has."""
    return not (found.relations or found.types or found.extensions.keys() - {"plpgsql"})


def seed(target: Target, connection: Connection, mappings: Mapping[str, Collection]) -> bool:
    """Copies the claims of rows that are in the target already; returns whether there were any."""
    seeded = 0
    with closing(target.connect()) as real:
        for mapping in mappings.values():
            if real.execute("SELECT to_regclass(%s)", (f"public.{mapping.table.name}",)).fetchone() == (None,):
                continue
            seeded += _copy_claims(real, connection, mapping)
    return seeded > 0


def _copy_claims(real: Connection, connection: Connection, mapping: Collection) -> int:
    names = scratch.conflict_columns(mapping)
    columns = sql.SQL(", ").join(map(sql.Identifier, names))
    table = Namespace().table(mapping.table.name)
    strangers = scratch.preexisting_rows(real, mapping)
    found = real.execute(sql.SQL("SELECT EXISTS (SELECT {})").format(strangers)).fetchone()
    if not (found and found[0]):
        return 0
    scratch.drop_not_null(connection, table, mapping)
    with (
        real.cursor().copy(sql.SQL("COPY (SELECT {} {}) TO STDOUT").format(columns, strangers)) as taken,
        connection.cursor().copy(sql.SQL("COPY {} ({}) FROM STDIN").format(table, columns)) as given,
    ):
        for data in taken:
            given.write(data)
    return 1


def finish(rehearsal: Target, definition: MigrationDefinition, config: Config, emit: Emit) -> None:
    """Indexes and foreign keys, too: what they cost, and that they hold."""
    constrain(rehearsal.connect, definition.metadata, rls=False, workers=config.engine.workers or 2, emit=emit)


def fractional_amounts(connection: Connection, namespace: Namespace, config: Config) -> list[str]:
    """A fraction while the unit is cents: most likely the unit is wrong, and all amounts would be."""
    query = namespace.sql("SELECT count(*) FROM {rejects} WHERE reason = 'fractional_amount'")
    found = connection.execute(query).fetchone()
    if config.transactions.amount_unit != "cents" or not found or not found[0]:
        return []
    return [f"{found[0]:,} amounts have a fraction while transactions.amount_unit is cents; is it major?"]


def collect_findings(connection: Connection, namespace: Namespace) -> dict[str, list[dict[str, Any]]]:
    """Findings and reasons of rejection by collection, with examples of `_id`s."""
    query = namespace.sql(
        "SELECT collection, code, severity, count(*), (array_agg(source_id ORDER BY source_id))[:%(n)s]"
        " FROM {findings} GROUP BY 1, 2, 3 UNION ALL"
        " SELECT collection, reason, 'reject', count(*), (array_agg(source_id ORDER BY source_id))[:%(n)s]"
        " FROM {rejects} GROUP BY 1, 2 ORDER BY 1, 4 DESC, 2"
    )
    found: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for name, code, severity, count, ids in connection.execute(query, {"n": EXAMPLES}):
        examples = [format_id(bytes(each)) for each in ids]
        found[name].append({"code": code, "severity": severity, "count": count, "examples": examples})
    return found


def describe(
    source: Source,
    definition: MigrationDefinition,
    statistics: Mapping[str, FieldStatistics],
    outcomes: Mapping[str, Counts],
    findings: Mapping[str, list[dict[str, Any]]],
) -> Iterator[dict[str, Any]]:
    """One entry for every collection of the source."""
    nothing = Counts(source=0, loaded=0, rejected=0, archived=0)
    for each in source.collections():
        mapping, seen = definition.mappings.get(each.name), statistics.get(each.name, FieldStatistics())
        merge = definition.merges.get(each.name) if each.origin is not None else None
        into = mapping or (merge and definition.mappings[merge.into])
        counts = outcomes.get(each.name, nothing).as_json()
        yield {
            "name": each.name,
            "documents": seen.documents,
            "bytes": seen.bytes,
            "mapping": into and into.table.name,
            "predicted": {name: counts[name] for name in ("loaded", "rejected", "archived")},
            "fields": seen.as_json(mapping, {} if merge is None else fates_of_merge(merge)),
            "fields_beyond": seen.beyond,
            "findings": findings.get(each.name, []),
        }


def describe_steps(definition: MigrationDefinition, merges: Sequence[Merge] = ()) -> Iterator[dict[str, Any]]:
    """The steps of a run and what each waits for."""
    mappings, embedded = definition.mappings, definition.embedded
    yield {"name": "prepare", "needs": []}
    for group in load.levels(mappings):
        for name in group:
            needs = [f"reconcile {need}" for need in sorted(mappings[name].needs)]
            yield {"name": f"load {name}", "needs": needs or ["prepare"]}
            yield {"name": f"reconcile {name}", "needs": [f"load {name}"]}
    for merge in merges:
        yield {"name": f"load {merge.name}", "needs": ["prepare"]}
        yield {"name": f"merge {merge.name}", "needs": [f"load {merge.name}", f"reconcile {merge.into}"]}
    merged = [f"merge {merge.name}" for merge in merges]
    if embedded is not None:
        yield {"name": "embed", "needs": [f"reconcile {embedded.collection}"]}
    last = [*merged, *(["embed"] if embedded is not None else [])]
    yield {"name": "post-data", "needs": [*(f"reconcile {name}" for name in mappings), *last]}


def forecast_embedding(
    connection: Connection, namespace: Namespace, definition: MigrationDefinition, config: Config
) -> dict[str, Any]:
    """What embeddings will take: rows, about how many tokens in different texts, US dollars (None: nobody knows)."""
    if definition.embedded is None:
        return {"chunks": 0, "tokens": 0, "usd": 0.0}
    found = vector_store.forecast(connection, namespace, definition.embedded)
    return {"chunks": found.chunks, "tokens": found.tokens, "usd": cost_of(config.embedding, found.tokens)}


def count_tables(mappings: Mapping[str, Collection], outcomes: Mapping[str, Counts]) -> dict[str, int]:
    tables: dict[str, int] = defaultdict(int)
    for name, mapping in mappings.items():
        tables[mapping.table.name] += outcomes[name].loaded if name in outcomes else 0
    return dict(tables)


def measure(connection: Connection) -> int:
    """Bytes of all tables and records with their indexes."""
    query = (
        "SELECT sum(pg_total_relation_size(c.oid))::bigint FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace"
        " WHERE relkind = 'r' AND nspname IN ('public', 'migrator')"
    )
    found = connection.execute(query).fetchone()
    return int(found[0]) if found and found[0] else 0
