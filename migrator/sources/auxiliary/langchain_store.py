"""The vector store of the RAG API: `langchain_pg_embedding` and `langchain_pg_collection`, in any schema version.

The older schema (langchain, langchain-community, LibreChat's rag_api) has `uuid`, `custom_id` (rag_api stores the file
ID in it, for each chunk of the file) and cmetadata as json. The newer schema (langchain-postgres) has a text `id`
instead of both, and jsonb. The file ID is cmetadata's `file_id`, else `custom_id`.

The store does not record the order of the chunks in their file. They are ordered by page, then by the numbers within
the page (chunk_index, start_index), then by their physical order in the table, which is the order of insertion, then by
ID. The vectors of the store are not read, because the migration computes new ones.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from psycopg import sql

from migrator.documents.codec import Document, encode
from migrator.errors import SourceError
from migrator.sources.auxiliary.postgres_reader import (
    Connection,
    PostgresReader,
    fingerprint_rows,
    read_columns,
    stream_rows,
)
from migrator.sources.auxiliary.values import parse

CHUNKS, COLLECTIONS = "langchain_pg_embedding", "langchain_pg_collection"
ORDER_FIELDS = ("page", "chunk_index", "start_index")  # of cmetadata, most significant first


class LangchainStore:
    """The chunks of the store: of one `collection`, or of all if it is None."""

    section = "chunks"

    def __init__(self, name: str, url: str, collection: str | None) -> None:
        self.name, self._collection = name, collection
        self._reader = PostgresReader(url, self.section)
        self.label = f"{self._reader.label}, {CHUNKS}"

    def fingerprint(self) -> str:
        with self._reader.transaction() as connection:
            columns = self._columns(connection)
            texts = [sql.SQL("e.{}::text").format(sql.Identifier(name)) for name in columns if name != "embedding"]
            source = sql.SQL("{} e{}").format(sql.Identifier(CHUNKS), self._condition(columns))
            return fingerprint_rows(connection, sql.SQL(", ").join(texts), source)

    def read(self, skip: int) -> Iterator[bytes]:
        with self._reader.transaction() as connection:
            columns = self._columns(connection)
            others = [name for name in columns if name not in ("uuid", "id", "document", "cmetadata", "embedding")]
            for row in stream_rows(connection, self._query(connection, columns, others), skip):
                yield encode(_document(row, others))

    def close(self) -> None:
        """Do nothing: no connection stays open."""

    def _columns(self, connection: Connection) -> list[str]:
        found = list(read_columns(connection, sql.Identifier(CHUNKS), CHUNKS, self.section))
        missing = [name for name in ("document", "cmetadata") if name not in found]
        if missing or not {"id", "uuid"} & set(found):
            raise SourceError(
                f"{self.label} has no column {', '.join(missing) or 'id or uuid'}; columns found: {', '.join(found)}",
                "This is not a store of langchain's PGVector. Export the chunks as JSON Lines instead.",
            )
        return [name for name in found if name != "document_vector"]  # generated from the text

    def _condition(self, columns: list[str]) -> sql.Composable:
        if self._collection is None:
            return sql.SQL("")
        if "collection_id" not in columns:
            raise SourceError(f"{self.label} has no column collection_id", "Remove `collection` from [chunks].")
        return sql.SQL(" WHERE e.collection_id IN (SELECT uuid FROM {} WHERE name = {})").format(
            sql.Identifier(COLLECTIONS), sql.Literal(self._collection)
        )

    def _name(self, connection: Connection, columns: list[str]) -> sql.Composable:
        """Return the expression for the name of a chunk's collection; NULL if the store has no collections."""
        if "collection_id" not in columns or not _has(connection, COLLECTIONS, "rmvfp"):
            return sql.NULL
        return sql.SQL("(SELECT name FROM {} c WHERE c.uuid = e.collection_id)").format(sql.Identifier(COLLECTIONS))

    def _query(self, connection: Connection, columns: list[str], others: list[str]) -> sql.Composed:
        key = sql.SQL("e.{}").format(sql.Identifier("uuid" if "uuid" in columns else "id"))
        file_id: sql.Composable = sql.SQL("nullif(e.cmetadata ->> 'file_id', '')")
        if "custom_id" in columns:
            file_id = sql.SQL("coalesce({}, e.custom_id)").format(file_id)
        order: list[sql.Composable] = [_number(name) for name in ORDER_FIELDS]
        if _has(connection, CHUNKS, "rm"):
            order.append(sql.SQL("e.ctid"))
        return sql.SQL(
            "SELECT {key}::text, {file}, row_number() OVER (PARTITION BY lower({file}) ORDER BY {order}) - 1 AS place,"
            " e.document, e.cmetadata::text, {collection}{others} FROM {chunks} e{condition} ORDER BY 2, 3, 1"
        ).format(
            key=key,
            collection=self._name(connection, columns),
            file=file_id,
            order=sql.SQL(", ").join([*order, key]),
            others=sql.SQL("").join(sql.SQL(", e.{}::text").format(sql.Identifier(name)) for name in others),
            chunks=sql.Identifier(CHUNKS),
            condition=self._condition(columns),
        )


def _number(name: str) -> sql.Composed:
    """Return the expression for a number in cmetadata. Other values are NULL, which sorts last."""
    return sql.SQL(
        "CASE WHEN e.cmetadata ->> {name} ~ '^[0-9]{{1,9}}$' THEN (e.cmetadata ->> {name})::integer END"
    ).format(name=sql.Literal(name))


def _has(connection: Connection, name: str, kinds: str) -> bool:
    """Return whether a relation of one of these kinds exists. Rows of views and foreign tables have no `ctid`."""
    query = "SELECT strpos(%s, relkind::text) > 0 FROM pg_class WHERE oid = to_regclass(%s)"
    return connection.execute(query, (kinds, name)).fetchone() == (True,)


def _document(row: tuple[Any, ...], others: list[str]) -> Document:
    key, file_id, position, content, metadata, collection, *values = row
    parsed = None if metadata is None else parse(metadata, "json")
    chunk: Document = {"_id": key, "file_id": file_id, "position": position, "content": content, "metadata": parsed}
    return chunk | {"collection": collection} | dict(zip(others, values, strict=True))
