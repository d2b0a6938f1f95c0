"""Embeddings: that there is one, that it is its text's, that a search finds it, and that no search finds another's.

Nothing is asked of a service that costs money, unless the caller says how many texts it may be asked for.
"""

from __future__ import annotations

import asyncio
import re
import uuid
from collections.abc import Iterator, Mapping
from typing import Any

import psycopg
from psycopg import sql

from migrator.config.models import Config
from migrator.embedding import open_provider, vector_indexes, vector_store
from migrator.embedding.provider import Failure, Result
from migrator.mapping.collection import VectorColumn
from migrator.postgres.ddl import TENANT_COLUMN, TENANT_SETTING
from migrator.postgres.roles import act_as_reader
from migrator.state import journal
from migrator.state.records import Connection, Namespace
from migrator.verification.model import EXAMPLES, Check

SAMPLE = 100  # rows that are searched for, and embedded again where that is free
ALIKE = 0.001  # cosine distance up to which two vectors of one text are the same; a service rounds as it likes


def check_all(
    connection: Connection, namespace: Namespace, embedded: VectorColumn | None, config: Config, again: int
) -> Iterator[Check]:
    """Nothing where no row wants a vector. `again`: so many texts are embedded anew, even if that costs something."""
    if embedded is None or not vector_store.has_rows(connection, namespace, embedded):
        return
    yield from check_presence(connection, namespace, embedded, config)
    yield from check_origin(connection, namespace, embedded)
    yield from check_again(connection, namespace, embedded, config, again)
    yield from check_search(connection, namespace, embedded)
    if config.target.rls == "all":
        yield from check_isolation(connection, namespace, embedded, config.tenant.id)


def check_presence(
    connection: Connection, namespace: Namespace, embedded: VectorColumn, config: Config
) -> Iterator[Check]:
    """Every text has a vector of the column's length that points somewhere."""
    yield _check_missing(connection, namespace, embedded, config)
    width = vector_store.width_of(embedded)
    query = namespace.sql(
        "SELECT count(*) OVER (), t.{key}::text {ours} AND t.{vector} IS NOT NULL"
        " AND (vector_norm(t.{vector}) = 0 OR vector_dims(t.{vector}) <> coalesce(%s, vector_dims(t.{vector})))"
        " ORDER BY 2 LIMIT %s",
        **vector_store.names_of(namespace, embedded),
    )
    found = connection.execute(query, (embedded.collection, width, EXAMPLES)).fetchall()
    yield _check("vectors: norm", embedded, found, "not zero, as long as the column")


def _check_missing(connection: Connection, namespace: Namespace, embedded: VectorColumn, config: Config) -> Check:
    query = namespace.sql(
        "SELECT count(*) OVER (), t.{key}::text {ours} AND t.{vector} IS NULL AND NOT EXISTS (SELECT FROM {findings} f"
        " WHERE f.collection = l.collection AND f.source_id = l.source_id AND f.code = %s) ORDER BY 2 LIMIT %s",
        **vector_store.names_of(namespace, embedded),
    )
    found = connection.execute(query, (embedded.collection, vector_store.EMPTY, EXAMPLES)).fetchall()
    if config.embedding.provider == "none":
        missing = f"{found[0][0] if found else 0} without one"
        return Check(check="vectors", table=embedded.table.name, expected="none wanted: provider none", actual=missing)
    return _check("vectors", embedded, found, "one for every text", "without")


def check_origin(connection: Connection, namespace: Namespace, embedded: VectorColumn) -> Iterator[Check]:
    """Every vector is the one that was paid for the text that stands beside it."""
    made = journal.step_detail(connection, namespace, vector_store.STEP)
    if made is None:  # nothing was ever embedded
        return
    query = namespace.sql(
        "SELECT count(*) OVER (), t.{key}::text {ours} AND t.{vector} IS NOT NULL AND NOT EXISTS"
        " (SELECT FROM {embeddings} e WHERE e.model = %s AND e.dimensions = %s"
        " AND e.sha256 = sha256(convert_to(t.{text}, 'UTF8')) AND e.vector = t.{vector}) ORDER BY 2 LIMIT %s",
        **vector_store.names_of(namespace, embedded),
    )
    values = (embedded.collection, made["model"], made["dimensions"], EXAMPLES)
    found = connection.execute(query, values).fetchall()
    yield _check("vectors: text", embedded, found, "of the text beside it")


def check_again(
    connection: Connection, namespace: Namespace, embedded: VectorColumn, config: Config, most: int
) -> Iterator[Check]:
    """A sample is embedded anew and compared: `most` texts, and `SAMPLE` where that costs nothing."""
    most = max(most, SAMPLE if config.embedding.provider == "local" else 0)
    provider = open_provider(config.embedding, lambda text: None) if most else None
    if provider is None:
        return
    sample = _sample(connection, namespace, embedded, most)
    texts = [text for _, text in sample]
    width = vector_store.width_of(embedded) or provider.dimensions

    async def ask() -> list[Result]:
        try:
            return (await provider.embed(texts)).results
        finally:
            await provider.close()

    query = namespace.sql(
        "SELECT {vector} <=> %b::vector FROM {table} t WHERE t.{key}::text = %s",
        **vector_store.names_of(namespace, embedded),
    )
    different = []
    for (key, _), result in zip(sample, asyncio.run(ask()), strict=True):
        if isinstance(result, Failure):
            different.append(f"{key}: {result.why}")
            continue
        spelled = "[" + ",".join(map(repr, vector_store.pad(result.vector, width))) + "]"
        distance = connection.execute(query, (spelled, key)).fetchone()
        if distance is None or not distance[0] <= ALIKE:
            different.append(f"{key}: another vector now")
    yield Check(
        check="vectors: again", table=embedded.table.name, expected=len(sample), actual=len(sample) - len(different),
        differences=len(different), examples=different[:EXAMPLES],
    )  # fmt: skip


def check_search(connection: Connection, namespace: Namespace, embedded: VectorColumn) -> Iterator[Check]:
    """A search for a row's own vector, through an index, finds it (or another of the same vector) first."""
    indexes = vector_indexes.find_indexes(connection, namespace, embedded)
    if not indexes:  # whether there should be one, the catalog's check says
        return
    sample = _sample(connection, namespace, embedded, SAMPLE)
    query = namespace.sql(
        "SELECT t.{key}::text, t.{vector} = (SELECT {vector} FROM {table} WHERE {key} = %s::{kind}) FROM {table} t"
        " ORDER BY t.{vector} {operator} (SELECT {vector} FROM {table} WHERE {key} = %s::{kind}) LIMIT 1",
        operator=sql.SQL(indexes[0].operator),
        **vector_store.names_of(namespace, embedded),
    )
    with connection.transaction(force_rollback=True):
        connection.execute("SET LOCAL enable_seqscan = off")
        connection.execute("SET LOCAL enable_sort = off")
        # Every list, or the longest candidate list there is: what is proven is that the index holds the row.
        lists = max(index.lists for index in indexes)
        for setting, value in (("ivfflat.probes", lists), ("hnsw.ef_search", 1000)):
            connection.execute("SELECT set_config(%s, %s, true)", (setting, str(value)))
        lost = [key for key, _ in sample if not _finds(connection.execute(query, (key, key)).fetchone(), key)]
        if sample and not _goes_by(connection, query, sample[0][0], {index.name for index in indexes}):
            lost = ["a search does not go by the index", *(key for key, _ in sample)]
    yield Check(
        check="vectors: search", table=embedded.table.name, expected=len(sample),
        actual=max(0, len(sample) - len(lost)), differences=len(lost), examples=lost[:EXAMPLES],
    )  # fmt: skip


def _goes_by(connection: Connection, query: sql.Composed, key: str, indexes: set[str]) -> bool:
    plan = connection.execute(sql.SQL("EXPLAIN {}").format(query), (key, key)).fetchall()
    return any(re.search(rf"Index Scan using \"?{re.escape(name)}\"? on", line) for (line,) in plan for name in indexes)


def _finds(found: Any, key: str) -> bool:
    return found is not None and (found[0] == key or bool(found[1]))


def check_isolation(
    connection: Connection, namespace: Namespace, embedded: VectorColumn, tenant: uuid.UUID
) -> Iterator[Check]:
    """What a role that owns nothing finds by vector: its own tenant's rows, nothing as another, nothing as nobody."""
    if TENANT_COLUMN not in embedded.table.c:
        return
    seen: Mapping[str, int] | str
    try:
        with act_as_reader(connection, namespace.rows, [embedded.table.name]):
            seen = {who: _count_foreign(connection, namespace, embedded, who, tenant) for who in ("own", "other", "no")}
    except psycopg.errors.InsufficientPrivilege as error:
        seen = str(error.diag.message_primary)
    expected = "rows of the tenant alone"
    if isinstance(seen, str):
        yield Check(check="vectors: tenant", table=embedded.table.name, expected=expected, actual=f"skipped: {seen}")
        return
    wrong = [f"as {name} tenant: {count} rows of others" for name, count in seen.items() if count]
    yield Check(
        check="vectors: tenant", table=embedded.table.name, expected=expected,
        actual=f"{sum(seen.values())} rows of others", differences=len(wrong), examples=wrong,
    )  # fmt: skip


def _count_foreign(
    connection: Connection, namespace: Namespace, embedded: VectorColumn, who: str, tenant: uuid.UUID
) -> int:
    """Rows that a search gives to `who` although they are not theirs."""
    asking = {"own": str(tenant), "other": str(uuid.uuid4()), "no": ""}[who]
    connection.execute("SELECT set_config(%s, %s, true)", (TENANT_SETTING, asking))
    width = vector_store.width_of(embedded) or 1
    query = namespace.sql(
        "SELECT count(*) FILTER (WHERE found.{tenant}::text <> %s) FROM (SELECT t.{tenant} FROM {table} t"
        " WHERE t.{vector} IS NOT NULL"
        " ORDER BY t.{vector} <=> array_fill(1::real, ARRAY[%s])::vector LIMIT 1000) found",
        tenant=sql.Identifier(TENANT_COLUMN),
        **vector_store.names_of(namespace, embedded),
    )
    found = connection.execute(query, (asking, width)).fetchone()
    assert found is not None  # a count always answers
    return int(found[0])


def _sample(connection: Connection, namespace: Namespace, embedded: VectorColumn, most: int) -> list[tuple[str, str]]:
    """(key, text) of rows that have a vector, spread over the table in an order that is the same every time."""
    query = namespace.sql(
        "SELECT t.{key}::text, t.{text} {ours} AND t.{vector} IS NOT NULL ORDER BY md5(t.{key}::text) LIMIT %s",
        **vector_store.names_of(namespace, embedded),
    )
    return connection.execute(query, (embedded.collection, most)).fetchall()


def _check(
    check: str, embedded: VectorColumn, found: list[Any], expected: str, otherwise: str = "that are not"
) -> Check:
    """`found`: (how many there are, key) of rows that are wrong."""
    differences = int(found[0][0]) if found else 0
    return Check(
        check=check, table=embedded.table.name, expected=expected, actual=f"{differences} {otherwise}",
        differences=differences, examples=[key for _, key in found],
    )  # fmt: skip
