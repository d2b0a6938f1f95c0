"""The report of `migrate plan`: predicted outcomes, fields and findings by collection, the steps, and estimates."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from migrator.config.models import EmbeddingConfig
from migrator.documents.codec import format_id
from migrator.documents.fingerprint import hash_text
from migrator.embedding import vector_store
from migrator.embedding.prices import cost_of
from migrator.mapping.collection import Collection, VectorColumn
from migrator.mapping.loader import MigrationDefinition
from migrator.mapping.merges import Merge
from migrator.postgres.entities import Entity
from migrator.postgres.table_names import name_of
from migrator.sources.base import SourceCollection
from migrator.stages.load import order_by_dependency
from migrator.state.ledger import Counts
from migrator.state.records import Connection, Namespace
from migrator.workflows.profile import FieldStatistics, fates_of_merge

if TYPE_CHECKING:  # a run reads plans and rehearses nothing
    from migrator.reversing.rehearsal import Returnable

EXAMPLES = 3  # IDs per finding


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanReport:
    """The output of `migrate plan`, also saved by `--out`: see contract.md, JSON shapes.

    `about`: source, target, tenant, time of creation and version of migrate. `returnable`: for each collection of a
    live source, which changes of its rows could be returned after a switch.
    """

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
    about: Mapping[str, str] = field(default_factory=dict)
    returnable: Sequence[Returnable] = ()

    @property
    def fingerprint(self) -> str:
        """One digest of everything that a run must find unchanged."""
        return hash_text("".join(f"{k}={v};" for k, v in sorted(self.fingerprints.items())))

    def as_json(self) -> dict[str, Any]:
        return {
            "fingerprint": self.fingerprint,
            "fingerprints": self.fingerprints,
            "about": dict(self.about),
            "source": {"collections": self.collections, "left_out": dict(self.left_out)},
            "tables": self.tables,
            "entities": self.entities,
            "steps": self.steps,
            "blockers": len(self.blockers),
            "blocking": self.blockers,
            "returnable": [each.as_json() for each in self.returnable],
            "estimate": {
                "seconds": round(self.seconds, 1),
                "target_bytes": self.target_bytes,
                "embedding": self.embedding,
            },
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Observations:
    """What the dry run of the plan found: field statistics, outcomes and findings, each by collection."""

    statistics: Mapping[str, FieldStatistics]
    outcomes: Mapping[str, Counts]
    findings: Mapping[str, list[dict[str, Any]]]

    def describe(self, each: SourceCollection, definition: MigrationDefinition) -> dict[str, Any]:
        """Return the entry of a collection in the report."""
        nothing = Counts(source=0, loaded=0, rejected=0, archived=0)
        mapping, fields = definition.mappings.get(each.name), self.statistics.get(each.name, FieldStatistics())
        merge = definition.merges.get(each.name) if each.origin is not None else None
        into = mapping or (merge and definition.mappings[merge.into])
        counts = self.outcomes.get(each.name, nothing).as_json()
        return {
            "name": each.name,
            "documents": fields.documents,
            "bytes": fields.bytes,
            "mapping": into and name_of(into.table),
            "predicted": {name: counts[name] for name in ("loaded", "rejected", "archived")},
            "fields": fields.as_json(mapping, {} if merge is None else fates_of_merge(merge)),
            "fields_beyond": fields.beyond,
            "findings": self.findings.get(each.name, []),
        }


def collect_findings(connection: Connection, namespace: Namespace) -> dict[str, list[dict[str, Any]]]:
    """Return findings and reject reasons by collection, with examples of `_id`s."""
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


def describe_steps(definition: MigrationDefinition, merges: Sequence[Merge] = ()) -> Iterator[dict[str, Any]]:
    """Yield the steps of a run with the steps that each one waits for."""
    mappings, embedded = definition.mappings, definition.embedded
    yield {"name": "prepare", "needs": []}
    for group in order_by_dependency(mappings):
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


def estimate_embedding(
    connection: Connection, namespace: Namespace, embedded: VectorColumn | None, settings: EmbeddingConfig
) -> dict[str, Any]:
    """Return the number of rows to embed, of tokens in different texts, the cost in US dollars (None: unknown), and
    what happens to vectors of the source."""
    if embedded is None:
        return {"chunks": 0, "tokens": 0, "usd": 0.0}
    found = vector_store.forecast(connection, namespace, embedded)
    vectors = vector_store.count_of_source(connection, namespace, embedded)
    return {"chunks": found.chunks, "tokens": found.tokens, "usd": cost_of(settings, found.tokens), **vectors}


def count_rows(mappings: Mapping[str, Collection], outcomes: Mapping[str, Counts]) -> dict[str, int]:
    """Return table → number of loaded rows."""
    tables: dict[str, int] = defaultdict(int)
    for name, mapping in mappings.items():
        tables[name_of(mapping.table)] += outcomes[name].loaded if name in outcomes else 0
    return dict(tables)


def measure_size(connection: Connection) -> int:
    """Return the bytes of all tables and records with their indexes."""
    query = (
        "SELECT sum(pg_total_relation_size(c.oid))::bigint FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace"
        " WHERE relkind = 'r' AND nspname !~ '^pg_' AND nspname <> 'information_schema'"
    )
    found = connection.execute(query).fetchone()
    return int(found[0]) if found and found[0] else 0
