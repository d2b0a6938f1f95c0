"""The vector store of LangChain: `langchain_pg_embedding` and `langchain_pg_collection`, in any schema version.

The older schema (langchain, langchain-community, rag_api) has `uuid`, `custom_id` (rag_api stores the file
ID in it, for each chunk of the file) and cmetadata as json. The newer schema (langchain-postgres) has a text `id`
instead of both, and jsonb. The file ID is cmetadata's `file_id`, else `custom_id`.

The store does not record the order of the chunks in their file. They are ordered by page, then by the numbers within
the page (chunk_index, start_index), then by their physical order in the table, which is the order of insertion, then by
ID. If vectors are to be loaded, `embedding` of a document is the vector: a binary vector if the column is of pgvector's
type vector or halfvec, otherwise its text. If not, `vector_omitted` is true if the store has a vector.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from bson.errors import BSONError
from psycopg import sql

from migrator.documents.codec import Document, encode
from migrator.documents.vectors import from_array
from migrator.errors import SourceError, UsageError
from migrator.sources.auxiliary.base import OMITTED, ORIGINAL, VECTOR, Origin
from migrator.sources.auxiliary.json_text import JsonText
from migrator.sources.auxiliary.postgres_reader import (
    Connection,
    PostgresReader,
    fingerprint_rows,
    read_columns,
    stream_rows,
)
from migrator.sources.base import VectorSample

CHUNKS, COLLECTIONS = "langchain_pg_embedding", "langchain_pg_collection"
MAX_NAMES = 20  # collections in a message
EMBEDDING, BINARY_KINDS = "embedding", ("vector", "halfvec")  # the column, and types that PostgreSQL casts to real[]
ORDER_FIELDS = ("page", "chunk_index", "start_index")  # of cmetadata, most significant first


class LangchainStore:
    """The chunks of the store: of one `collection`, or of all if it is None."""

    def __init__(self, origin: Origin, url: str, collection: str | None, *, with_vectors: bool = False) -> None:
        self.name, self.section = origin
        self._collection, self._with_vectors = collection, with_vectors
        self._reader = PostgresReader(url, self.section)
        self.label = f"{self._reader.label}, {CHUNKS}"

    def fingerprint(self) -> str:
        with self._reader.transaction() as connection:
            columns = self._columns(connection)
            texts: list[sql.Composable] = [
                sql.SQL("e.{}::text").format(sql.Identifier(name)) for name in columns if name != EMBEDDING
            ]
            if EMBEDDING in columns:
                vector = self._vector(connection, columns, "e")
                texts.append(sql.SQL("md5({})").format(vector) if self._with_vectors else vector)
            source = sql.SQL("{} e{}").format(sql.Identifier(CHUNKS), self._condition(connection, columns))
            return fingerprint_rows(connection, sql.SQL(", ").join(texts), source)

    def read(self, skip: int) -> Iterator[bytes]:
        with self._reader.transaction() as connection:
            columns = self._columns(connection)
            others = [name for name in columns if name not in ("uuid", "id", "document", "cmetadata", EMBEDDING)]
            for row in stream_rows(connection, self._query(connection, columns, others), skip):
                yield encode(_document(row[:-1], others) | self._vector_field(row[-1]))

    def sample_vectors(self, limit: int) -> VectorSample:
        with self._reader.transaction() as connection:
            columns = self._columns(connection)
            if EMBEDDING not in columns:
                return VectorSample()
            query = sql.SQL("SELECT {} FROM {} e{} LIMIT {}").format(
                self._vector(connection, columns, "e"),
                sql.Identifier(CHUNKS),
                self._condition(connection, columns, sql.SQL("e.embedding IS NOT NULL")),
                sql.Literal(limit),
            )
            values = tuple(_read_vector(value) for (value,) in connection.execute(query, binary=True))
            return VectorSample(values=values, kind=_type_of_vectors(connection))

    def _vector_field(self, value: Any) -> Document:
        if self._with_vectors:
            return {VECTOR: _read_vector(value)}
        return {OMITTED: True} if value else {}

    def _vector(self, connection: Connection, columns: list[str], alias: str) -> sql.Composable:
        """Return the expression for the vector; if vectors are not loaded, for whether there is one."""
        if EMBEDDING not in columns:
            return sql.NULL
        value = sql.Identifier(alias, EMBEDDING)
        if not self._with_vectors:
            return sql.SQL("{} IS NOT NULL").format(value)
        kind = _type_of_vectors(connection)
        if kind in BINARY_KINDS:  # a quarter of the time of the text
            return sql.SQL("array_send({}::real[])").format(value)
        # An array as JSON has the form of pgvector's text.
        return sql.SQL("to_json({})::text" if kind.startswith("_") else "{}::text").format(value)

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

    def _condition(
        self, connection: Connection, columns: list[str], further: sql.Composable | None = None
    ) -> sql.Composable:
        """Return the WHERE clause of the configured collection and a further condition.

        Raises: `UsageError` if the collection does not exist.
        """
        conditions = [each for each in (self._collection_condition(connection, columns), further) if each is not None]
        return sql.SQL(" WHERE ") + sql.SQL(" AND ").join(conditions) if conditions else sql.SQL("")

    def _collection_condition(self, connection: Connection, columns: list[str]) -> sql.Composable | None:
        if self._collection is None:
            return None
        if "collection_id" not in columns:
            raise SourceError(
                f"{self.label} has no column collection_id", f"Remove `collection` from [{self.section}]."
            )
        read_columns(connection, sql.Identifier(COLLECTIONS), COLLECTIONS, self.section)
        query = sql.SQL("SELECT DISTINCT name FROM {} ORDER BY name").format(sql.Identifier(COLLECTIONS))
        names = [str(name) for (name,) in connection.execute(query)]
        if self._collection not in names:
            existing = ", ".join(names[:MAX_NAMES]) + (", …" if len(names) > MAX_NAMES else "")
            raise UsageError(
                f"{self._reader.label} has no collection {self._collection}; collections found: {existing or 'none'}",
                hint=f"Correct `collection` under [{self.section}], or remove it to read all collections.",
            )
        return sql.SQL("e.collection_id IN (SELECT uuid FROM {} WHERE name = {})").format(
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
        # The vector is computed by the outer query, so that the sort does not move it.
        return sql.SQL(
            "SELECT {columns}, {vector} FROM (SELECT {key}::text AS c0, {file} AS c1,"
            " row_number() OVER (PARTITION BY lower({file}) ORDER BY {order}) - 1 AS c2,"
            " e.document AS c3, e.cmetadata::text AS c4, {collection} AS c5{others}{embedding}"
            " FROM (SELECT e.*, {place} AS place_in_table, {readable} AS readable FROM {chunks} e{condition}) e"
            " ORDER BY 2, 3, 1) q ORDER BY c1, c2, c0"
        ).format(
            columns=sql.SQL(", ").join(sql.Identifier("q", f"c{n}") for n in range(6 + len(others))),
            vector=self._vector(connection, columns, "q"),
            embedding=sql.SQL(", e.embedding" if EMBEDDING in columns else ""),
            key=key,
            collection=self._name(connection, columns),
            file=file_id,
            order=sql.SQL(", ").join([*order, key]),
            others=sql.SQL("").join(
                sql.SQL(", e.{}::text AS {}").format(sql.Identifier(name), sql.Identifier(f"c{n}"))
                for n, name in enumerate(others, 6)
            ),
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


def _type_of_vectors(connection: Connection) -> str:
    """Return the name of the type of the column with the vectors."""
    query = (
        "SELECT typname FROM pg_type WHERE oid = (SELECT coalesce(nullif(t.typbasetype, 0), t.oid) FROM pg_attribute a"
        " JOIN pg_type t ON t.oid = a.atttypid WHERE attrelid = to_regclass(%s) AND attname = %s)"
    )
    found = connection.execute(query, (CHUNKS, EMBEDDING)).fetchone()
    assert found is not None  # the caller has seen the column
    return str(found[0])


def _read_vector(value: Any) -> Any:
    """Return a vector as documents hold it."""
    return from_array(bytes(value)) if isinstance(value, bytes | memoryview) else value


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
