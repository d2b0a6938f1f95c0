"""One look at each relation of the target: whether there is anything for the checks on accounts and integrity to ask.

Each of their questions reads whole tables, and most join them. Here all questions on a table are one join, those on
the ledger one pass. Where a number is 0, or two checksums are the same, nobody has to ask; where not, the check asks
its own question and names what it finds. A checksum is a number of values and the sum of their 64-bit hashes: the same
for two sides that hold the same values, each as often, and else the same once in 2^64.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from psycopg import sql
from sqlalchemy import Table

from migrator.mapping.collection import Collection, Tree
from migrator.state import own_transactions
from migrator.verification.model import Scope

Checksum = tuple[int, Any]
Question = tuple[str, sql.Composable]  # its name, and the condition of a row `c` that is wrong
NONE: Checksum = (0, 0)
RINGS, PARENTS = "tree: rings", "tree: parents"


@dataclass(frozen=True, slots=True, kw_only=True)
class TableScan:
    """At a table: its rows, those of the tenant, the ids of those that no earlier owner left, questions to be asked.

    A row that refers to an id which is there twice counts twice: the more reason to ask.
    """

    rows: int
    own: int
    brought: Checksum
    doubtful: frozenset[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordScan:
    """At the ledger, by collection and outcome: target ids of what was loaded, source ids of the rest. At `rejects` and
    `archive`: source ids by collection."""

    ledger: Mapping[tuple[str, str], Checksum]
    rejects: Mapping[str, Checksum]
    archive: Mapping[str, Checksum]

    @property
    def counts(self) -> dict[tuple[str, str], int]:
        return {name: count for name, (count, _) in self.ledger.items()}

    def loaded(self, collection: str) -> Checksum:
        return self.ledger.get((collection, "loaded"), NONE)

    def are_kept(self, outcome: str) -> bool:
        """Whether `rejects` (`archive`) holds the documents that the ledger says it does."""
        kept = self.rejects if outcome == "rejected" else self.archive
        return kept == {name: each for (name, what), each in self.ledger.items() if what == outcome}


@dataclass(frozen=True, slots=True, kw_only=True)
class Prescan:
    records: RecordScan
    tables: Mapping[str, TableScan]

    def is_alone(self, mapping: Collection) -> bool:
        """Whether a table holds the rows of documents, all of them, and no others."""
        look, loaded = self.tables[mapping.table.name], self.records.loaded(mapping.name)
        return look.brought == loaded and look.rows == look.brought[0]

    def is_clean(self, table: Table, question: str) -> bool:
        return question not in self.tables[table.name].doubtful


@dataclass(frozen=True, slots=True, kw_only=True)
class Edge:
    """A reference: `here` of a table names `there` of `other`."""

    here: str
    other: Table
    there: str


def orphans(column: str) -> str:
    """The question whether what a column names is there."""
    return f"foreign key {column}"


def strangers(column: str) -> str:
    """The question whether it is another tenant's."""
    return f"tenant {column}"


def edges_of(scope: Scope, table: Table) -> Iterator[Edge]:
    """References of a table that lead to a table that can be looked at, whether or not a constraint is there."""
    for constraint in table.foreign_key_constraints:
        first = constraint.elements[0]
        if first.column.table.name not in scope.unusable:
            yield Edge(here=first.parent.name, other=first.column.table, there=first.column.name)


def look_at_records(scope: Scope) -> RecordScan:
    query = scope.namespace.sql(
        "SELECT collection, outcome, count(*), coalesce(sum(CASE outcome WHEN 'loaded'"
        " THEN hashtextextended(target_id, 0) ELSE {source_id} END), 0) FROM {ledger} GROUP BY 1, 2",
        source_id=_SOURCE_ID,
    )
    found = scope.connection.execute(query).fetchall()
    return RecordScan(
        ledger={(name, outcome): (int(count), total) for name, outcome, count, total in found},
        rejects=_look_at_kept(scope, "rejects"),
        archive=_look_at_kept(scope, "archive"),
    )


_SOURCE_ID = sql.SQL("hash_record_extended(ROW(source_id), 0)")  # before version 18 no function hashes a bytea


def _look_at_kept(scope: Scope, relation: str) -> dict[str, Checksum]:
    query = sql.SQL("SELECT collection, count(*), sum({}) FROM {} GROUP BY 1").format(
        _SOURCE_ID, sql.Identifier(scope.namespace.records, relation)
    )
    return {name: (int(count), total) for name, count, total in scope.connection.execute(query)}


def look_at_table(scope: Scope, table: Table) -> TableScan:
    mapping = next((each for each in scope.mappings.values() if each.table.name == table.name), None)
    edges = list(edges_of(scope, table))
    tree = None if mapping is None else mapping.tree
    if tree is not None:
        edges.append(Edge(here=tree.parent, other=table, there="id"))
    joined = {edge: sql.Identifier(f"p{number}") for number, edge in enumerate(dict.fromkeys(edges))}
    questions = [each for edge, alias in joined.items() for each in _questions(table, edge, alias, tree)]
    own = sql.SQL("c.tenant_id = {}").format(sql.Literal(scope.config.tenant.id))
    query = sql.SQL(
        "SELECT count(*), count(*) FILTER (WHERE {own}), count(*) FILTER (WHERE {brought}),"
        " coalesce(sum({id}) FILTER (WHERE {brought}), 0), {questions} FROM {table} c{joins}"
    ).format(
        own=own if "tenant_id" in table.c else sql.SQL("true"),
        brought=sql.SQL("{} AND NOT {}").format(own, own_transactions.written_before_run(scope.namespace, "c"))
        if mapping
        else sql.SQL("true"),
        id=_id(mapping),
        questions=sql.SQL("ARRAY[{}]::bigint[]").format(
            sql.SQL(", ").join(sql.SQL("count(*) FILTER (WHERE {})").format(wrong) for _, wrong in questions)
        ),
        table=scope.namespace.table(table.name),
        joins=sql.SQL("").join(_join(scope, edge, alias) for edge, alias in joined.items()),
    )
    found = scope.connection.execute(query).fetchone()
    assert found is not None  # an aggregate always answers
    rows, owned, brought, ids, wrong = found
    doubtful = frozenset(name for (name, _), count in zip(questions, wrong, strict=True) if count)
    return TableScan(rows=int(rows), own=int(owned), brought=(int(brought), ids), doubtful=doubtful)


def _id(mapping: Collection | None) -> sql.Composable:
    if mapping is None:
        return sql.SQL("0")
    return sql.SQL("hashtextextended(c.{}::text, 0)").format(sql.Identifier(mapping.key.column))


def _join(scope: Scope, edge: Edge, alias: sql.Identifier) -> sql.Composed:
    return sql.SQL(" LEFT JOIN {other} {alias} ON {alias}.{there} = c.{here}").format(
        other=scope.namespace.table(edge.other.name),
        alias=alias,
        there=sql.Identifier(edge.there),
        here=sql.Identifier(edge.here),
    )


def _questions(table: Table, edge: Edge, alias: sql.Identifier, tree: Tree | None) -> Iterator[Question]:
    """What may be wrong with a reference, and with a tree, where it is the one to the parent."""
    names = {"p": alias, "here": sql.Identifier(edge.here), "there": sql.Identifier(edge.there)}
    yield orphans(edge.here), sql.SQL("c.{here} IS NOT NULL AND {p}.{there} IS NULL").format(**names)
    if "tenant_id" in table.c and "tenant_id" in edge.other.c:
        yield strangers(edge.here), sql.SQL("{p}.tenant_id <> c.tenant_id").format(**names)
    if tree is not None and (edge.here, edge.other.name) == (tree.parent, table.name):
        names |= {"within": sql.Identifier(tree.within), "order": sql.Identifier(tree.order)}
        yield (
            PARENTS,
            sql.SQL("{p}.id IS NOT NULL AND ({p}.{within} IS DISTINCT FROM c.{within} OR {p}.id = c.id)").format(
                **names
            ),
        )
        # Only a ring has an edge on which the parent is not older.
        yield (
            RINGS,
            sql.SQL("{p}.id IS NOT NULL AND (({p}.{order}, {p}.id) < (c.{order}, c.id)) IS NOT TRUE").format(**names),
        )
