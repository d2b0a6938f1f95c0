"""Checks of embeddings: presence, origin, search and isolation between tenants.

No check calls an embedding service that costs money, unless the caller allows a number of texts.
"""

from __future__ import annotations

import asyncio
import re
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import sql

from migrator.config.models import Config
from migrator.documents.vectors import pad
from migrator.embedding import open_provider, vector_indexes, vector_store
from migrator.embedding.provider import Failure, Result
from migrator.formatting import format_count
from migrator.mapping.collection import VectorColumn
from migrator.postgres.roles import act_as_reader
from migrator.postgres.search_path import schema_of_extension
from migrator.postgres.table_names import name_of
from migrator.postgres.tenancy import Tenancy, tenancy_of, tenant_column
from migrator.state import journal
from migrator.state.records import Connection, Namespace
from migrator.verification.model import (
    EXAMPLES,
    NO_DIFFERENCES,
    Check,
    Difference,
    Differences,
    make_check,
)

SAMPLE = 100  # rows to search for, and to embed again with a provider that is free
MAX_DISTANCE = 0.001  # cosine distance between two vectors of the same text; services round differently


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbeddingScope:
    """The column to check. `re_embed` is the number of texts to embed again even if that costs money."""

    connection: Connection
    namespace: Namespace
    embedded: VectorColumn
    config: Config
    re_embed: int

    @property
    def table(self) -> str:
        return name_of(self.embedded.table)

    def format_query(self, query: str, **parts: sql.Composable) -> sql.Composed:
        """Fill in the names of the column's relations, `{pgvector}` (the schema of the extension) and `parts`."""
        pgvector = sql.Identifier(schema_of_extension(self.connection, "vector"))
        names = vector_store.names_of(self.namespace, self.embedded)
        return self.namespace.sql(query, pgvector=pgvector, **names, **parts)

    def find_rows(self, condition: str, *values: Any) -> Differences:
        """Return the migrated rows `t` that meet a condition, as differences without a note."""
        query = self.format_query(
            f"SELECT count(*) OVER (), t.{{key}}::text {{loaded}} AND {condition} ORDER BY 2 LIMIT %s"
        )
        found = self.connection.execute(query, (self.embedded.collection, *values, EXAMPLES)).fetchall()
        total = int(found[0][0]) if found else 0
        return Differences(total=total, first=[Difference(row=key) for _, key in found])

    def make_check(self, code: str, found: Differences, expected: str, otherwise: str) -> Check:
        """Build a check; `otherwise` describes the rows that differ and follows their number."""
        actual = f"{format_count(found.total, 'rows')} {otherwise}" if found.total else expected
        return make_check(code, self.table, found, expected=expected, actual=actual)


def check_embeddings(scope: EmbeddingScope) -> Iterator[Check]:
    """Run all checks of a vector column. There are none if no row has a text."""
    if not vector_store.has_rows(scope.connection, scope.namespace, scope.embedded):
        return
    yield from check_presence(scope)
    yield from check_origin(scope)
    yield from check_re_embedding(scope)
    yield from check_search(scope)
    if scope.config.target.rls == "all":
        yield from check_isolation(scope)


def check_presence(scope: EmbeddingScope) -> Iterator[Check]:
    """Check that every text has a vector, that no vector is zero, and that the dimensions are those of the column."""
    yield _check_missing(scope)
    found = scope.find_rows(
        "t.{vector} IS NOT NULL"
        " AND ({pgvector}.vector_norm(t.{vector}) = 0"
        " OR {pgvector}.vector_dims(t.{vector}) <> coalesce(%s, {pgvector}.vector_dims(t.{vector})))",
        vector_store.width_of(scope.embedded),
    )
    yield scope.make_check("vectors: norm", found, "vectors are valid", "with a zero vector or wrong dimensions")


def _check_missing(scope: EmbeddingScope) -> Check:
    found = scope.find_rows(
        "t.{vector} IS NULL AND NOT EXISTS (SELECT FROM {findings} f"
        " WHERE f.collection = l.collection AND f.source_id = l.source_id AND f.code = %s)",
        vector_store.EMPTY,
    )
    if scope.config.embedding.provider == "none":
        actual = f"{format_count(found.total, 'rows')} without a vector"
        return make_check("vectors", scope.table, NO_DIFFERENCES, expected="no provider configured", actual=actual)
    return scope.make_check("vectors", found, "a vector for every text", "without a vector")


def check_origin(scope: EmbeddingScope) -> Iterator[Check]:
    """Check that every vector was computed from the text in the same row. Vectors of the source were not."""
    made = journal.step_detail(scope.connection, scope.namespace, vector_store.STEP)
    if made is None:  # no text was ever embedded
        return
    found = scope.find_rows(
        "t.{vector} IS NOT NULL AND NOT EXISTS"
        " (SELECT FROM {embeddings} e WHERE e.model = %s AND e.dimensions = %s"
        " AND e.sha256 = sha256(convert_to(t.{text}, 'UTF8'))"
        " AND e.vector OPERATOR({pgvector}.=) t.{vector})"
        " AND NOT EXISTS (SELECT FROM {findings} f"
        " WHERE f.collection = l.collection AND f.source_id = l.source_id AND f.code = %s)",
        made["model"],
        made["dimensions"],
        vector_store.REUSED,
    )
    yield scope.make_check("vectors: text", found, "vectors match their texts", "with a vector of another text")


def check_re_embedding(scope: EmbeddingScope) -> Iterator[Check]:
    """Embed a sample of texts again and compare the vectors: `re_embed` texts, or `SAMPLE` if the provider is free."""
    size = max(scope.re_embed, SAMPLE if scope.config.embedding.provider == "local" else 0)
    provider = open_provider(scope.config.embedding, lambda text: None) if size else None
    if provider is None:
        return
    sample = _read_sample(scope, size)
    width = vector_store.width_of(scope.embedded) or provider.dimensions

    async def embed() -> list[Result]:
        try:
            return (await provider.embed([text for _, text in sample])).results
        finally:
            await provider.close()

    query = scope.format_query(
        "SELECT {vector} OPERATOR({pgvector}.<=>) %b::{pgvector}.vector FROM {table} t WHERE t.{key}::text = %s",
    )
    found: list[Difference] = []
    for (key, _), result in zip(sample, asyncio.run(embed()), strict=True):
        if isinstance(result, Failure):
            found.append(Difference(row=key, note=result.why))
            continue
        vector = "[" + ",".join(map(repr, pad(result.vector, width))) + "]"
        distance = scope.connection.execute(query, (vector, key)).fetchone()
        if distance is None or not distance[0] <= MAX_DISTANCE:
            found.append(Difference(row=key, note="embedding again gives a different vector"))
    size = len(sample)
    yield make_check("vectors: again", scope.table, Differences.of(found), expected=size, actual=size - len(found))


def check_search(scope: EmbeddingScope) -> Iterator[Check]:
    """Check that an index search for a row's own vector returns the row first, or another row with the same vector."""
    indexes = vector_indexes.find_indexes(scope.connection, scope.namespace, scope.embedded)
    if not indexes:  # the catalog check reports a missing index
        return
    sample = _read_sample(scope, SAMPLE)
    query = scope.format_query(
        "SELECT t.{key}::text, t.{vector} OPERATOR({pgvector}.=)"
        " (SELECT {vector} FROM {table} WHERE {key} = %s::{kind}) FROM {table} t"
        " ORDER BY t.{vector} OPERATOR({pgvector}.{operator})"
        " (SELECT {vector} FROM {table} WHERE {key} = %s::{kind}) LIMIT 1",
        operator=sql.SQL(indexes[0].operator),
    )
    with scope.connection.transaction(force_rollback=True):
        scope.connection.execute("SET LOCAL enable_seqscan = off")
        scope.connection.execute("SET LOCAL enable_sort = off")
        # Search all lists, with the longest candidate list: the check proves that the index contains the row.
        lists = max(index.lists for index in indexes)
        for setting, value in (("ivfflat.probes", lists), ("hnsw.ef_search", 1000)):
            scope.connection.execute("SELECT set_config(%s, %s, true)", (setting, str(value)))
        found = [
            Difference(row=key, note="not found by a search for its own vector")
            for key, _ in sample
            if not _is_found(scope.connection.execute(query, (key, key)).fetchone(), key)
        ]
        if sample and not _uses_index(scope, query, sample[0][0], {index.name for index in indexes}):
            found.insert(0, Difference(row=f"index {indexes[0].name}", note="searches do not use the index"))
    size = len(sample)
    yield make_check(
        "vectors: search", scope.table, Differences.of(found), expected=size, actual=max(0, size - len(found))
    )


def _uses_index(scope: EmbeddingScope, query: sql.Composed, key: str, indexes: set[str]) -> bool:
    plan = scope.connection.execute(sql.SQL("EXPLAIN {}").format(query), (key, key)).fetchall()
    return any(re.search(rf"Index Scan using \"?{re.escape(name)}\"? on", line) for (line,) in plan for name in indexes)


def _is_found(row: Any, key: str) -> bool:
    return row is not None and (row[0] == key or bool(row[1]))


def check_isolation(scope: EmbeddingScope) -> Iterator[Check]:
    """Check with a new role that a vector search returns no rows of other tenants."""
    tenancy = tenancy_of(scope.embedded.table.metadata)
    if tenancy is None or tenant_column(scope.embedded.table) is None:
        return
    expected = "no rows of other tenants"
    try:
        found = _search_as_tenants(scope, tenancy)
    except psycopg.errors.InsufficientPrivilege as error:
        actual = f"skipped: {error.diag.message_primary}"
        yield make_check("vectors: tenant", scope.table, NO_DIFFERENCES, expected=expected, actual=actual)
        return
    wrong = [
        Difference(row=f"search {who}", note=f"{format_count(count, 'rows')} of other tenants")
        for who, count in found
        if count
    ]
    total = sum(count for _, count in found)
    actual = f"{format_count(total, 'rows')} of other tenants" if total else expected
    yield make_check("vectors: tenant", scope.table, Differences.of(wrong), expected=expected, actual=actual)


def _search_as_tenants(scope: EmbeddingScope, tenancy: Tenancy) -> list[tuple[str, int]]:
    """Count the rows of other tenants that a new role finds, as each kind of tenant. Rolls everything back."""
    tenants = (
        ("as the tenant", str(scope.config.tenant.id)),
        ("as another tenant", str(uuid.uuid4())),
        ("without a tenant", ""),
    )
    with act_as_reader(scope.connection, scope.namespace.rows, [scope.table]):
        return [(who, _count_foreign_rows(scope, tenancy, tenant)) for who, tenant in tenants]


def _count_foreign_rows(scope: EmbeddingScope, tenancy: Tenancy, tenant: str) -> int:
    """Count the rows of other tenants among the first 1000 results of a search."""
    scope.connection.execute("SELECT set_config(%s, %s, true)", (tenancy.setting, tenant))
    width = vector_store.width_of(scope.embedded) or 1
    query = scope.format_query(
        "SELECT count(*) FILTER (WHERE found.{tenant}::text <> %s) FROM (SELECT t.{tenant} FROM {table} t"
        " WHERE t.{vector} IS NOT NULL"
        " ORDER BY t.{vector} OPERATOR({pgvector}.<=>) array_fill(1::real, ARRAY[%s])::{pgvector}.vector"
        " LIMIT 1000) found",
        tenant=sql.Identifier(tenancy.column),
    )
    found = scope.connection.execute(query, (tenant, width)).fetchone()
    assert found is not None  # an aggregate always returns a row
    return int(found[0])


def _read_sample(scope: EmbeddingScope, size: int) -> list[tuple[str, str]]:
    """Return (key, text) of rows that have a vector: spread over the table, and the same rows at each call."""
    query = scope.format_query(
        "SELECT t.{key}::text, t.{text} {loaded} AND t.{vector} IS NOT NULL ORDER BY md5(t.{key}::text) LIMIT %s"
    )
    return scope.connection.execute(query, (scope.embedded.collection, size)).fetchall()
