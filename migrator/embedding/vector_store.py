"""Rows whose text wants a vector, and the cache of vectors that were paid for. All SQL of the embedding is here.

Only rows that the ledger knows are touched: what others wrote is theirs, and `revert` could not give it back.
"""

from __future__ import annotations

import struct
import sys
from array import array
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from psycopg import sql

from migrator.embedding.batching import CHARACTERS_A_TOKEN, TOKENS_A_BYTE_BEYOND
from migrator.embedding.provider import Vector
from migrator.errors import UsageError
from migrator.mapping.collection import VectorColumn
from migrator.postgres import copy_format
from migrator.postgres.copy import copy
from migrator.rows import update
from migrator.rows.ledger_indexes import ensure_ledger_indexes
from migrator.state import journal
from migrator.state.own_transactions import record_transaction
from migrator.state.records import Connection, Namespace
from migrator.translation.outcomes import Finding

STEP = "embedding"
FAILED, EMPTY, SPLIT = "embedding_failed", "text_empty", "text_split"
CODES = (FAILED, EMPTY, SPLIT)  # the findings of this stage
CACHE_KINDS = ("text", "integer", "bytea", "vector")


@dataclass(frozen=True, slots=True)
class Waiting:
    """A row without a vector. `id` as text."""

    id: str
    text: str
    source_id: bytes


@dataclass(frozen=True, slots=True)
class Filling:
    """A row and the digest of the text whose vector it gets."""

    id: str
    sha256: bytes


@dataclass(frozen=True, slots=True)
class Forecast:
    """`chunks` rows want a vector; `tokens` is about what their texts have, equal ones counted once."""

    chunks: int
    tokens: int


class VectorStore:
    """The rows and the cache of one model. What belongs together the caller puts into one `transaction`."""

    def __init__(
        self, connection: Connection, namespace: Namespace, embedded: VectorColumn, model: str, dimensions: int
    ) -> None:
        self.embedded = embedded
        self._connection, self._namespace = connection, namespace
        self._model, self._dimensions = model, dimensions
        self._names = names_of(namespace, embedded)
        self._width = check_width(embedded, model, dimensions)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        with self._connection.transaction():
            record_transaction(self._connection, self._namespace)
            yield

    def begin(self, run: int) -> None:
        """Makes the cache, and holds to one model: vectors of two cannot be compared. Raises `UsageError`."""
        ensure_ledger_indexes(self._connection, self._namespace)
        self._connection.execute(
            self._namespace.sql("ANALYZE {ledger} (collection, target_id)")
        )  # freshly loaded, or nearly
        self._connection.execute(self._namespace.sql("ANALYZE {table} ({key}, {vector})", **self._names))
        script = files("migrator.sql").joinpath("embeddings.sql").read_text(encoding="utf-8")
        self._connection.execute(self._namespace.sql(script))
        here = {"model": self._model, "dimensions": self._dimensions, "tokens": 0}
        found = journal.pin_setting(self._connection, self._namespace, run, STEP, here)
        if (found["model"], found["dimensions"]) != (self._model, self._dimensions):
            if has_rows(self._connection, self._namespace, self.embedded, filled=True):
                raise UsageError(
                    f"the vectors in the target are of {found['model']}, {found['dimensions']} dimensions;"
                    f" those of {self._model}, {self._dimensions}, cannot be compared with them",
                    hint="Put [embedding] back as it was, or `migrate revert` and run again.",
                )
            self._connection.execute(self._namespace.sql("DELETE FROM {steps} WHERE step = %s"), (STEP,))
            journal.pin_setting(self._connection, self._namespace, run, STEP, here)
        query = self._namespace.sql("DELETE FROM {findings} WHERE collection = %s AND code = ANY(%s)")
        self._connection.execute(query, (self.embedded.collection, [FAILED, EMPTY]))  # all of them are tried again

    def read(self, after: str | None, limit: int) -> list[Waiting]:
        """The next rows in the order of their ids."""
        query = self._namespace.sql(
            "SELECT t.{key}::text, t.{text}, l.source_id {ours} AND t.{vector} IS NULL"
            " AND (%s::text IS NULL OR t.{key} > %s::{kind}) ORDER BY t.{key} LIMIT %s",
            **self._names,
        )
        found = self._connection.execute(query, (self.embedded.collection, after, after, limit), binary=True)
        return [Waiting(key, text, bytes(source_id)) for key, text, source_id in found]

    def known(self, digests: Iterable[bytes]) -> set[bytes]:
        """Which of these texts have been paid for."""
        query = self._namespace.sql(
            "SELECT sha256 FROM {embeddings} WHERE model = %s AND dimensions = %s AND sha256 = ANY(%s)"
        )
        values = (self._model, self._dimensions, list(digests))
        return {bytes(row[0]) for row in self._connection.execute(query, values, binary=True)}

    def keep(self, vectors: Iterable[tuple[bytes, Vector]], tokens: int) -> None:
        """Puts vectors (by the digest of their text) into the cache, and what was paid into the journal."""
        rows_of_cache = [
            copy_format.write_row((self._model, self._dimensions, digest, to_binary(vector, self._width)), CACHE_KINDS)
            for digest, vector in vectors
        ]
        copy(self._connection, self._namespace.sql("{embeddings}"), rows_of_cache)
        query = self._namespace.sql(
            "UPDATE {steps} SET detail = jsonb_set(detail, '{{tokens}}', to_jsonb((detail->>'tokens')::bigint + %s))"
            " WHERE step = %s"
        )
        self._connection.execute(query, (tokens, STEP))

    def fill(self, fillings: Sequence[Filling]) -> int:
        """Gives rows their vectors out of the cache, unless their text is another by now; returns how many."""
        query = self._namespace.sql(
            "UPDATE {table} t SET {vector} = e.vector FROM unnest(%s::text[], %s::bytea[]) w (id, sha256)"
            # LIMIT: one look into the index for each; without statistics the planner would read the whole cache.
            " CROSS JOIN LATERAL (SELECT vector FROM {embeddings} WHERE model = %s AND dimensions = %s"
            " AND sha256 = w.sha256 LIMIT 1) e"
            " WHERE t.{key} = w.id::{kind} AND t.{vector} IS NULL AND sha256(convert_to(t.{text}, 'UTF8')) = w.sha256",
            **self._names,
        )
        ids, digests = [each.id for each in fillings], [each.sha256 for each in fillings]
        return self._connection.execute(query, (ids, digests, self._model, self._dimensions)).rowcount

    def add_findings(self, findings: Iterable[tuple[bytes, str, str]]) -> None:
        """Each (source_id, code, detail)."""
        collection = self.embedded.collection
        made = [
            Finding(collection=collection, code=code, source_id=source_id, detail=detail)
            for source_id, code, detail in findings
        ]
        update.add_findings(self._connection, self._namespace, made)


def names_of(namespace: Namespace, embedded: VectorColumn) -> dict[str, sql.Composable]:
    """What statements about the rows are made of; `{ours}` is FROM … WHERE, with the collection as its parameter."""
    key = sql.Identifier(embedded.key)
    table = namespace.table(embedded.table.name)
    return {
        "table": table,
        "key": key,
        "text": sql.Identifier(embedded.text),
        "vector": sql.Identifier(embedded.vector),
        "kind": sql.SQL("uuid" if copy_format.kind_of_column(embedded.table.c[embedded.key]) == "uuid" else "text"),
        "ours": namespace.sql(
            "FROM {table} t JOIN {ledger} l ON l.target_id = t.{key}::text"
            " WHERE l.collection = %s AND l.outcome = 'loaded'",
            table=table,
            key=key,
        ),
    }


def width_of(embedded: VectorColumn) -> int | None:
    """How many dimensions the column takes; None: any."""
    width: int | None = getattr(embedded.table.c[embedded.vector].type, "dim", None)
    return width


def check_width(embedded: VectorColumn, model: str, dimensions: int) -> int:
    """The length of the vectors in the column. Raises `UsageError` where the model's are longer."""
    width = width_of(embedded) or dimensions
    if dimensions > width:
        raise UsageError(
            f"embedding.dimensions: {model} gives {dimensions}, column {embedded.vector} takes {width}",
            hint="Ask for fewer dimensions, or choose another model; shorter vectors are padded with zeros.",
        )
    return width


def forecast(connection: Connection, namespace: Namespace, embedded: VectorColumn) -> Forecast:
    """What filling all that is missing will take."""
    query = namespace.sql(
        "SELECT coalesce(sum(n), 0)::bigint, coalesce(sum(tokens), 0)::bigint FROM (SELECT count(*) AS n,"
        " max(ceil(char_length(t.{text}) / %s::float8 + (octet_length(t.{text}) - char_length(t.{text})) * %s::float8))"
        " AS tokens {ours} AND t.{vector} IS NULL GROUP BY sha256(convert_to(t.{text}, 'UTF8'))) texts",
        **names_of(namespace, embedded),
    )
    values = (CHARACTERS_A_TOKEN, TOKENS_A_BYTE_BEYOND, embedded.collection)
    found = connection.execute(query, values).fetchone()
    assert found is not None  # an aggregate always answers
    return Forecast(chunks=int(found[0]), tokens=int(found[1]))


def has_rows(connection: Connection, namespace: Namespace, embedded: VectorColumn, *, filled: bool = False) -> bool:
    """Whether there are any of ours; with `filled`, any with a vector."""
    query = namespace.sql(
        "SELECT EXISTS (SELECT {ours} AND ({vector} IS NOT NULL OR NOT %s))", **names_of(namespace, embedded)
    )
    return connection.execute(query, (embedded.collection, filled)).fetchone() == (True,)


def count_missing(connection: Connection, namespace: Namespace, embedded: VectorColumn) -> int:
    query = namespace.sql("SELECT count(*) {ours} AND t.{vector} IS NULL", **names_of(namespace, embedded))
    found = connection.execute(query, (embedded.collection,)).fetchone()
    assert found is not None  # an aggregate always answers
    return int(found[0])


def describe(connection: Connection, namespace: Namespace, embedded: VectorColumn) -> dict[str, Any]:
    """Of which model the vectors are, what they have cost so far in tokens, how many rows have none."""
    made = journal.step_detail(connection, namespace, STEP) or {"tokens": 0}
    return {
        **{name: made.get(name) for name in ("model", "dimensions", "tokens")},
        "missing": count_missing(connection, namespace, embedded),
    }


def pad(vector: Vector, width: int | None) -> Vector:
    """Zeros up to `width` dimensions, which change no angle and no distance."""
    return vector if width is None else vector + array("f", bytes(4 * (width - len(vector))))


def count_cached(connection: Connection, namespace: Namespace) -> int:
    """How many vectors have been paid for."""
    if connection.execute("SELECT to_regclass(%s) IS NULL", (f"{namespace.records}.embeddings",)).fetchone() == (True,):
        return 0
    found = connection.execute(namespace.sql("SELECT count(*) FROM {embeddings}")).fetchone()
    assert found is not None  # a count always answers
    return int(found[0])


def to_binary(vector: Vector, width: int) -> bytes:
    """A vector as pgvector sends and receives it, padded to `width` dimensions."""
    padded = array("f", pad(vector, width))
    if sys.byteorder == "little":
        padded.byteswap()
    return struct.pack(">HH", width, 0) + padded.tobytes()
