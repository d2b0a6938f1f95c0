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

from bson.errors import BSONError
from psycopg import sql

from migrator.documents.codec import Document, encode
from migrator.errors import SourceError, UsageError
from migrator.sources.auxiliary.base import ORIGINAL
from migrator.sources.auxiliary.json_text import JsonText
from migrator.sources.auxiliary.postgres_reader import (
    Connection,
    PostgresReader,
    fingerprint_rows,
    read_columns,
    stream_rows,
)

CHUNKS, COLLECTIONS = "langchain_pg_embedding", "langchain_pg_collection"
MAX_NAMES = 20  # collections in a message
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
            source = sql.SQL("{} e{}").format(sql.Identifier(CHUNKS), self._condition(connection, columns))
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

    def _condition(self, connection: Connection, columns: list[str]) -> sql.Composable:
        """Return the WHERE clause of the configured collection. Raises: `UsageError` if it does not exist."""
        if self._collection is None:
            return sql.SQL("")
        if "collection_id" not in columns:
            raise SourceError(f"{self.label} has no column collection_id", "Remove `collection` from [chunks].")
        read_columns(connection, sql.Identifier(COLLECTIONS), COLLECTIONS, self.section)
        query = sql.SQL("SELECT DISTINCT name FROM {} ORDER BY name").format(sql.Identifier(COLLECTIONS))
        names = [str(name) for (name,) in connection.execute(query)]
        if self._collection not in names:
            existing = ", ".join(names[:MAX_NAMES]) + (", …" if len(names) > MAX_NAMES else "")
            raise UsageError(
                f"{self._reader.label} has no collection {self._collection}; collections found: {existing or 'none'}",
                hint="Correct `collection` under [chunks], or remove it to read all collections.",
            )
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
        file_id: sql.Composable = sql.SQL("nullif(e.readable ->> 'file_id', '')")
        if "custom_id" in columns:
            file_id = sql.SQL("coalesce({}, e.custom_id)").format(file_id)
        order: list[sql.Composable] = [_number(name) for name in ORDER_FIELDS]
        place: sql.Composable = sql.NULL
        if _has(connection, CHUNKS, "rm"):
            place = sql.SQL("e.ctid")
            order.append(sql.SQL("e.place_in_table"))
        return sql.SQL(
            "SELECT {key}::text, {file}, row_number() OVER (PARTITION BY lower({file}) ORDER BY {order}) - 1 AS place,"
            " e.document, e.cmetadata::text, {collection}{others}"
            " FROM (SELECT e.*, {place} AS place_in_table, {readable} AS readable FROM {chunks} e{condition}) e"
            " ORDER BY 2, 3, 1"
        ).format(
            key=key,
            collection=self._name(connection, columns),
            file=file_id,
            order=sql.SQL(", ").join([*order, key]),
            others=sql.SQL("").join(sql.SQL(", e.{}::text").format(sql.Identifier(name)) for name in others),
            place=place,
            readable=_READABLE,
            chunks=sql.Identifier(CHUNKS),
            condition=self._condition(connection, columns),
        )


# The type json accepts NUL and unpaired surrogates, but its operators fail on them: one such row would stop the query.
# They are removed from the copy that the operators read, unless the backslash is itself escaped.
_LONE = r"\\u(?:0000|[dD][89a-fA-F][0-9a-fA-F][0-9a-fA-F])"
_PAIR = r"\\u[dD][89abAB][0-9a-fA-F][0-9a-fA-F]\\u[dD][c-fC-F][0-9a-fA-F][0-9a-fA-F]"
_READABLE = sql.SQL(
    "CASE WHEN e.cmetadata::text ~ {lone} THEN regexp_replace(e.cmetadata::text, {any}, {kept}, 'g')::json"
    " ELSE e.cmetadata::text::json END"
).format(
    lone=sql.Literal(_LONE),
    any=sql.Literal(rf"(?<!\\)((?:\\\\)*)(?:({_PAIR})|{_LONE})"),  # the longest alternative matches: a pair
    kept=sql.Literal(r"\1\2"),
)


def _number(name: str) -> sql.Composed:
    """Return the expression for a number in cmetadata. Other values are NULL, which sorts last."""
    return sql.SQL(
        "CASE WHEN e.readable ->> {name} ~ '^[0-9]{{1,9}}$' THEN (e.readable ->> {name})::integer END"
    ).format(name=sql.Literal(name))


def _has(connection: Connection, name: str, kinds: str) -> bool:
    """Return whether a relation of one of these kinds exists. Rows of views and foreign tables have no `ctid`."""
    query = "SELECT strpos(%s, relkind::text) > 0 FROM pg_class WHERE oid = to_regclass(%s)"
    return connection.execute(query, (kinds, name)).fetchone() == (True,)


def _document(row: tuple[Any, ...], others: list[str]) -> Document:
    key, file_id, position, content, text, collection, *values = row
    metadata, original = _read_metadata(text)
    chunk: Document = {"_id": key, "file_id": file_id, "position": position, "content": content, "metadata": metadata}
    return chunk | {"collection": collection} | original | dict(zip(others, values, strict=True))


def _read_metadata(text: str | None) -> tuple[Any, Document]:
    """Return cmetadata, and its text as a field of the document if BSON cannot hold it exactly."""
    if text is None:
        return None, {}
    try:
        found = JsonText(text)
        encode({"": found.value})
    except (BSONError, RecursionError):  # nested too deeply
        return None, {ORIGINAL: text}
    # JSON null and NULL are not the same.
    return found.value, {ORIGINAL: text} if found.changed or found.value is None else {}
