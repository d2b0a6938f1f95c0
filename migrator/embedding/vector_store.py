"""The rows whose text needs a vector, and the cache of computed vectors. All SQL of the embeddings is here.

Only rows in the ledger are changed. Other rows were not loaded by migrate, and `revert` could not restore them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from psycopg import sql

from migrator.config.models import VectorSpace
from migrator.documents.vectors import Vector, to_binary
from migrator.embedding.batching import CHARACTERS_PER_TOKEN, TOKENS_PER_EXTRA_BYTE
from migrator.errors import UsageError
from migrator.mapping.collection import VectorColumn
from migrator.postgres.column_kinds import kind_of_column
from migrator.postgres.copy import copy
from migrator.postgres.native import write_row
from migrator.postgres.search_path import create_object
from migrator.postgres.session import owner_search_path
from migrator.postgres.table_names import name_of
from migrator.rows import update
from migrator.rows.ledger_indexes import ensure_ledger_indexes
from migrator.state import journal
from migrator.state.own_transactions import record_transaction
from migrator.state.records import Connection, Namespace
from migrator.translation.outcomes import Finding

STEP = "embedding"
FAILED, EMPTY, SPLIT = "embedding_failed", "text_empty", "text_split"
CODES = (FAILED, EMPTY, SPLIT)  # the findings of this stage
# The findings about vectors of the source.
REUSED, NOT_USED, OTHER_DIMENSIONS, UNUSABLE = (
    "vector_reused",
    "vector_not_used",
    "vector_dimensions",
    "vector_unusable",
)
CACHE_KINDS = ("text", "integer", "bytea", "vector")


@dataclass(frozen=True, slots=True)
class PendingRow:
    """A row without a vector. `id` as text."""

    id: str
    text: str
    source_id: bytes


@dataclass(frozen=True, slots=True)
class RowDigest:
    """A row and the SHA-256 of its text, which identifies the vector in the cache."""

    id: str
    sha256: bytes


@dataclass(frozen=True, slots=True)
class Forecast:
    """`chunks`: rows without a vector. `tokens`: the estimated tokens of their texts, each text counted once."""

    chunks: int
    tokens: int


class VectorStore:
    """The rows and the cache of one model. The caller opens a `transaction` around calls that belong together."""

    def __init__(
        self, connection: Connection, namespace: Namespace, column: VectorColumn, model: str, dimensions: int
    ) -> None:
        self._column = column
        self._connection, self._namespace = connection, namespace
        self._model, self._dimensions = model, dimensions
        self._names = names_of(namespace, column)
        self._width = check_width(column, model, dimensions)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Open a transaction and record it as one of this migration."""
        with self._connection.transaction():
            record_transaction(self._connection, self._namespace)
            yield

    def prepare(self, run: int) -> None:
        """Create the cache and record the model.

        Raises: `UsageError` if the rows have vectors of another model: vectors of two models cannot be compared.
        """
        ensure_ledger_indexes(self._connection, self._namespace)
        # The tables were filled a short time ago, so that their statistics may be missing.
        self._connection.execute(self._namespace.sql("ANALYZE {ledger} (collection, target_id)"))
        self._connection.execute(self._namespace.sql("ANALYZE {table} ({key}, {vector})", **self._names))
        create_cache(self._connection, self._namespace)
        here = _describe_space(VectorSpace(self._model, self._dimensions))
        found = journal.pin_setting(self._connection, self._namespace, run, STEP, here)
        if (found["model"], found["dimensions"]) != (self._model, self._dimensions):
            if has_rows(self._connection, self._namespace, self._column, filled=True):
                raise UsageError(
                    f"the target contains vectors of the model {found['model']} ({found['dimensions']} dimensions);"
                    f" vectors of {self._model} ({self._dimensions} dimensions) cannot be compared with them",
                    hint="Restore the previous [embedding] settings, or revert the migration and run it again.",
                )
            self._connection.execute(self._namespace.sql("DELETE FROM {steps} WHERE step = %s"), (STEP,))
            journal.pin_setting(self._connection, self._namespace, run, STEP, here)
        query = self._namespace.sql("DELETE FROM {findings} WHERE collection = %s AND code = ANY(%s)")
        self._connection.execute(query, (self._column.collection, [FAILED, EMPTY]))  # these rows are processed again

    def read_pending(self, after: str | None, limit: int) -> list[PendingRow]:
        """Return the next rows without a vector in the order of their IDs, starting after the ID `after`."""
        query = self._namespace.sql(
            "SELECT t.{key}::text, t.{text}, l.source_id {loaded} AND t.{vector} IS NULL"
            " AND (%s::text IS NULL OR t.{key} > %s::{kind}) ORDER BY t.{key} LIMIT %s",
            **self._names,
        )
        found = self._connection.execute(query, (self._column.collection, after, after, limit), binary=True)
        return [PendingRow(key, text, bytes(source_id)) for key, text, source_id in found]

    def find_cached(self, digests: Iterable[bytes]) -> set[bytes]:
        """Return the digests of those texts whose vectors are in the cache."""
        query = self._namespace.sql(
            "SELECT sha256 FROM {embeddings} WHERE model = %s AND dimensions = %s AND sha256 = ANY(%s)"
        )
        values = (self._model, self._dimensions, list(digests))
        return {bytes(row[0]) for row in self._connection.execute(query, values, binary=True)}

    def add_vectors(self, vectors: Iterable[tuple[bytes, Vector]], tokens: int) -> None:
        """Add vectors, by the digest of their text, to the cache, and the billed tokens to the journal."""
        rows_of_cache = [
            write_row((self._model, self._dimensions, digest, to_binary(vector, self._width)), CACHE_KINDS)
            for digest, vector in vectors
        ]
        copy(self._connection, self._namespace.sql("{embeddings}"), rows_of_cache)
        query = self._namespace.sql(
            "UPDATE {steps} SET detail = jsonb_set(detail, '{{tokens}}', to_jsonb((detail->>'tokens')::bigint + %s))"
            " WHERE step = %s"
        )
        self._connection.execute(query, (tokens, STEP))

    def fill_rows(self, rows: Sequence[RowDigest]) -> int:
        """Copy vectors from the cache to rows whose text is unchanged; return the number of rows."""
        query = self._namespace.sql(
            "UPDATE {table} t SET {vector} = e.vector FROM unnest(%s::text[], %s::bytea[]) w (id, sha256)"
            # LIMIT: one index lookup per row. Without statistics the planner would read the whole cache.
            " CROSS JOIN LATERAL (SELECT vector FROM {embeddings} WHERE model OPERATOR(pg_catalog.=) %s"
            " AND dimensions OPERATOR(pg_catalog.=) %s AND sha256 OPERATOR(pg_catalog.=) w.sha256 LIMIT 1) e"
            " WHERE t.{key} OPERATOR(pg_catalog.=) w.id::{kind} AND t.{vector} IS NULL"
            " AND pg_catalog.sha256(pg_catalog.convert_to(t.{text}, 'UTF8')) OPERATOR(pg_catalog.=) w.sha256",
            **self._names,
        )
        ids, digests = [each.id for each in rows], [each.sha256 for each in rows]
        with owner_search_path(self._connection):
            return self._connection.execute(query, (ids, digests, self._model, self._dimensions)).rowcount

    def add_findings(self, findings: Iterable[tuple[bytes, str, str]]) -> None:
        """Insert findings, each given as (source_id, code, detail)."""
        collection = self._column.collection
        made = [
            Finding(collection=collection, code=code, source_id=source_id, detail=detail)
            for source_id, code, detail in findings
        ]
        update.add_findings(self._connection, self._namespace, made)


def create_cache(connection: Connection, namespace: Namespace) -> None:
    """Create the table of computed vectors, unless it exists."""
    script = files("migrator.sql").joinpath("embeddings.sql").read_text(encoding="utf-8")
    with connection.transaction():
        create_object(connection, namespace.sql(script).as_string(connection))


def names_of(namespace: Namespace, column: VectorColumn) -> dict[str, sql.Composable]:
    """Return the parts of statements about the rows.

    `{loaded}`: FROM and WHERE for the rows in the ledger, with the collection as parameter.
    """
    key = sql.Identifier(column.key)
    table = namespace.table(name_of(column.table))
    return {
        "table": table,
        "key": key,
        "text": sql.Identifier(column.text),
        "vector": sql.Identifier(column.vector),
        "kind": sql.SQL(kind_of_column(column.table.c[column.key])),
        "loaded": namespace.sql(
            "FROM {table} t JOIN {ledger} l ON l.target_id = t.{key}::text"
            " WHERE l.collection = %s AND l.outcome = 'loaded'",
            table=table,
            key=key,
        ),
    }


def width_of(column: VectorColumn) -> int | None:
    """Return the number of dimensions of the column; None if it accepts any."""
    width: int | None = getattr(column.table.c[column.vector].type, "dim", None)
    return width


def check_width(column: VectorColumn, model: str, dimensions: int) -> int:
    """Return the number of dimensions of the vectors in the column.

    Raises: `UsageError` if the model returns more dimensions.
    """
    width = width_of(column) or dimensions
    if dimensions > width:
        raise UsageError(
            f"embedding.dimensions: {model} returns {dimensions}, but column {column.vector} has {width}",
            hint="Reduce embedding.dimensions or choose another model. Shorter vectors are padded with zeros.",
        )
    return width


def forecast(connection: Connection, namespace: Namespace, column: VectorColumn) -> Forecast:
    """Return how many rows need a vector, and the estimated number of tokens."""
    query = namespace.sql(
        "SELECT coalesce(sum(n), 0)::bigint, coalesce(sum(tokens), 0)::bigint FROM (SELECT count(*) AS n,"
        " max(ceil(char_length(t.{text}) / %s::float8 + (octet_length(t.{text}) - char_length(t.{text})) * %s::float8))"
        " AS tokens {loaded} AND t.{vector} IS NULL GROUP BY sha256(convert_to(t.{text}, 'UTF8'))) texts",
        **names_of(namespace, column),
    )
    values = (CHARACTERS_PER_TOKEN, TOKENS_PER_EXTRA_BYTE, column.collection)
    found = connection.execute(query, values).fetchone()
    assert found is not None  # an aggregate returns a row
    return Forecast(chunks=int(found[0]), tokens=int(found[1]))


def has_rows(connection: Connection, namespace: Namespace, column: VectorColumn, *, filled: bool = False) -> bool:
    """Return whether any loaded row exists; with `filled`, any loaded row with a vector."""
    if _is_empty(connection, namespace, column):
        return False
    query = namespace.sql(
        "SELECT EXISTS (SELECT {loaded} AND ({vector} IS NOT NULL OR NOT %s))", **names_of(namespace, column)
    )
    return connection.execute(query, (column.collection, filled)).fetchone() == (True,)


def count_missing(connection: Connection, namespace: Namespace, column: VectorColumn) -> int:
    """Return the number of loaded rows without a vector."""
    if _is_empty(connection, namespace, column):
        return 0
    query = namespace.sql("SELECT count(*) {loaded} AND t.{vector} IS NULL", **names_of(namespace, column))
    found = connection.execute(query, (column.collection,)).fetchone()
    assert found is not None  # an aggregate returns a row
    return int(found[0])


def _is_empty(connection: Connection, namespace: Namespace, column: VectorColumn) -> bool:
    """Return whether the table has no row. The planner does not know that, and would read the whole ledger for it."""
    query = sql.SQL("SELECT EXISTS (SELECT FROM {})").format(namespace.table(name_of(column.table)))
    return connection.execute(query).fetchone() == (False,)


def describe(connection: Connection, namespace: Namespace, column: VectorColumn) -> dict[str, Any]:
    """Return the model of the vectors, the tokens billed so far, and the number of rows without a vector."""
    made = journal.step_detail(connection, namespace, STEP) or {"tokens": 0}
    return {
        **{name: made.get(name) for name in ("model", "dimensions", "tokens")},
        "missing": count_missing(connection, namespace, column),
        **count_of_source(connection, namespace, column),
    }


def count_of_source(connection: Connection, namespace: Namespace, column: VectorColumn) -> dict[str, int]:
    """Return how many vectors of the source were loaded, were not loaded because of the setting, or are unusable."""
    query = namespace.sql(
        "SELECT count(*) FILTER (WHERE code = %s), count(*) FILTER (WHERE code = %s),"
        " count(*) FILTER (WHERE code = ANY(%s)) FROM {findings} WHERE collection = %s"
    )
    found = connection.execute(query, (REUSED, NOT_USED, [OTHER_DIMENSIONS, UNUSABLE], column.collection)).fetchone()
    assert found is not None  # an aggregate returns a row
    return {"reused": int(found[0]), "not_used": int(found[1]), "unusable": int(found[2])}


def record_space(
    connection: Connection, namespace: Namespace, column: VectorColumn, run: int, space: VectorSpace
) -> None:
    """Record the model of vectors that were loaded, so that later ones are computed by the same model."""
    if has_rows(connection, namespace, column, filled=True):
        create_cache(connection, namespace)  # `verify` compares with it
        journal.pin_setting(connection, namespace, run, STEP, _describe_space(space))


def _describe_space(space: VectorSpace) -> dict[str, Any]:
    return {"model": space.model, "dimensions": space.dimensions, "tokens": 0}


def count_cached(connection: Connection, namespace: Namespace) -> int:
    """Return the number of vectors in the cache."""
    if connection.execute("SELECT to_regclass(%s) IS NULL", (f"{namespace.records}.embeddings",)).fetchone() == (True,):
        return 0
    found = connection.execute(namespace.sql("SELECT count(*) FROM {embeddings}")).fetchone()
    assert found is not None  # an aggregate returns a row
    return int(found[0])
