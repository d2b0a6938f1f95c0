"""The RAG API's store: `langchain_pg_embedding` with `langchain_pg_collection`, in any generation of that schema.

The older one (langchain, langchain-community, LibreChat's rag_api) has `uuid`, `custom_id` (where rag_api writes the id
of the file, for every chunk of it) and cmetadata as json; the newer one (langchain-postgres) has a text `id` instead of
both, and jsonb. The file's id is cmetadata's `file_id`, else `custom_id`.

Nothing in the store says how chunks follow each other in their file: they are ordered by page, then by what counts
within it (chunk_index, start_index), then as they lie in the table, which is how they were written, then by id. The
store's vectors are not read: they are computed anew.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from psycopg import sql

from migrator.documents.codec import Document, encode
from migrator.errors import SourceError
from migrator.sources.auxiliary.postgres_reader import Connection, Reader, columns_of, fingerprint_of, stream
from migrator.sources.auxiliary.values import parse

CHUNKS, COLLECTIONS = "langchain_pg_embedding", "langchain_pg_collection"
COUNTED = ("page", "chunk_index", "start_index")  # of cmetadata, in the order in which they decide


class Store:
    """The chunks of the store, of one `collection` or of all."""

    section = "chunks"

    def __init__(self, name: str, url: str, collection: str | None) -> None:
        self.name, self._collection = name, collection
        self._reader = Reader(url, self.section)
        self.label = f"{self._reader.label}, {CHUNKS}"

    def fingerprint(self) -> str:
        with self._reader.transaction() as connection:
            columns = self._columns(connection)
            texts = [sql.SQL("e.{}::text").format(sql.Identifier(name)) for name in columns if name != "embedding"]
            source = sql.SQL("{} e{}").format(sql.Identifier(CHUNKS), self._condition(columns))
            return fingerprint_of(connection, sql.SQL(", ").join(texts), source)

    def read(self, skip: int) -> Iterator[bytes]:
        with self._reader.transaction() as connection:
            columns = self._columns(connection)
            beside = [name for name in columns if name not in ("uuid", "id", "document", "cmetadata", "embedding")]
            for row in stream(connection, self._query(connection, columns, beside), skip):
                yield encode(_document(row, beside))

    def close(self) -> None:
        """Nothing stays open."""

    def _columns(self, connection: Connection) -> list[str]:
        found = list(columns_of(connection, sql.Identifier(CHUNKS), CHUNKS, self.section))
        missing = [name for name in ("document", "cmetadata") if name not in found]
        if missing or not {"id", "uuid"} & set(found):
            raise SourceError(
                f"{self.label} has no column {', '.join(missing) or 'id or uuid'}; it has {', '.join(found)}",
                "This is no store of langchain's PGVector; export it as JSON Lines instead.",
            )
        return [name for name in found if name != "document_vector"]  # generated from the text

    def _condition(self, columns: list[str]) -> sql.Composable:
        if self._collection is None:
            return sql.SQL("")
        if "collection_id" not in columns:
            raise SourceError(f"{self.label} has no column collection_id", "Take chunks.collection out.")
        return sql.SQL(" WHERE e.collection_id IN (SELECT uuid FROM {} WHERE name = {})").format(
            sql.Identifier(COLLECTIONS), sql.Literal(self._collection)
        )

    def _name(self, connection: Connection, columns: list[str]) -> sql.Composable:
        """The name of a chunk's collection, where there are such."""
        if "collection_id" not in columns or not _has(connection, COLLECTIONS, "rmvfp"):
            return sql.NULL
        return sql.SQL("(SELECT name FROM {} c WHERE c.uuid = e.collection_id)").format(sql.Identifier(COLLECTIONS))

    def _query(self, connection: Connection, columns: list[str], beside: list[str]) -> sql.Composed:
        key = sql.SQL("e.{}").format(sql.Identifier("uuid" if "uuid" in columns else "id"))
        file_id: sql.Composable = sql.SQL("nullif(e.cmetadata ->> 'file_id', '')")
        if "custom_id" in columns:
            file_id = sql.SQL("coalesce({}, e.custom_id)").format(file_id)
        order: list[sql.Composable] = [_counted(name) for name in COUNTED]
        if _has(connection, CHUNKS, "rm"):
            order.append(sql.SQL("e.ctid"))
        return sql.SQL(
            "SELECT {key}::text, {file}, row_number() OVER (PARTITION BY lower({file}) ORDER BY {order}) - 1 AS place,"
            " e.document, e.cmetadata::text, {collection}{beside} FROM {chunks} e{condition} ORDER BY 2, 3, 1"
        ).format(
            key=key,
            collection=self._name(connection, columns),
            file=file_id,
            order=sql.SQL(", ").join([*order, key]),
            beside=sql.SQL("").join(sql.SQL(", e.{}::text").format(sql.Identifier(name)) for name in beside),
            chunks=sql.Identifier(CHUNKS),
            condition=self._condition(columns),
        )


def _counted(name: str) -> sql.Composed:
    """A number in cmetadata; what is none comes last, as if nothing were known."""
    return sql.SQL(
        "CASE WHEN e.cmetadata ->> {name} ~ '^[0-9]{{1,9}}$' THEN (e.cmetadata ->> {name})::integer END"
    ).format(name=sql.Literal(name))


def _has(connection: Connection, name: str, kinds: str) -> bool:
    """Whether there is a relation of these kinds. Rows of a view or a foreign table have no place (ctid)."""
    query = "SELECT strpos(%s, relkind::text) > 0 FROM pg_class WHERE oid = to_regclass(%s)"
    return connection.execute(query, (kinds, name)).fetchone() == (True,)


def _document(row: tuple[Any, ...], beside: list[str]) -> Document:
    key, file_id, position, content, metadata, collection, *others = row
    known = None if metadata is None else parse(metadata, "json")
    chunk: Document = {"_id": key, "file_id": file_id, "position": position, "content": content, "metadata": known}
    return chunk | {"collection": collection} | dict(zip(beside, others, strict=True))
