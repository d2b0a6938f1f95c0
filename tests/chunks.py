"""Chunks for tests of embeddings: a small migration, and rows in document_chunks that are in the ledger."""

from __future__ import annotations

import hashlib
from array import array
from pathlib import Path
from typing import Any

import psycopg

from tests.driving import call
from tests.embedding_server import Running, vector_of
from tests.scenarios import write_config

DEMO = Path(__file__).parents[1] / "fixtures" / "demo"
WORDS = " some words that any document might have, over and over, until a chunk is as long as chunks are." * 5


def configure(
    path: Path,
    database: str,
    service: Running | None = None,
    sections: dict[str, Any] | None = None,
    **embedding: Any,
) -> Path:
    """Write a migrate.toml for the demo. With a service, it embeds the chunks. `sections`: further sections."""
    section = {"provider": "none"} if service is None else {"provider": "openai", "base_url": service.url}
    return write_config(path, f"dump:{DEMO}", database, {**(sections or {}), "embedding": {**section, **embedding}})


def migrate(folder: Path, database: str) -> None:
    """Migrate the demo without embeddings."""
    assert call("run", "-c", configure(folder / "none.toml", database)).code == 0


def add_chunks(database: str, texts: list[str]) -> None:
    """Insert rows like the loader: without an embedding, one ledger row each."""
    with psycopg.connect(database) as connection:
        connection.execute(
            "WITH made AS (INSERT INTO document_chunks (id, file_id, tenant_id, content)"
            " SELECT md5(n::text)::uuid, f.id, f.tenant_id, t FROM unnest(%s::text[]) WITH ORDINALITY AS texts (t, n),"
            " LATERAL (SELECT id, tenant_id FROM files ORDER BY id LIMIT 1) f RETURNING id)"
            " INSERT INTO migrator.ledger (collection, source_id, target_id, outcome)"
            " SELECT 'document_chunks', convert_to(id::text, 'UTF8'), id::text, 'loaded' FROM made",
            (texts,),
        )


def unfinish(database: str) -> None:
    """Set the state of a run that stopped before the embedding: there is no vector index."""
    with psycopg.connect(database) as connection:
        connection.execute("UPDATE migrator.runs SET status = 'stopped'")
        connection.execute("DROP INDEX document_chunks_embedding_idx")
        connection.execute("DELETE FROM migrator.schema_changes WHERE name = 'document_chunks_embedding_idx'")


def make_texts(count: int) -> list[str]:
    return [f"Chunk {number}:{WORDS}" for number in range(count)]


def count_wrong(database: str, dimensions: int = 1536) -> int:
    """Count the chunks whose vector does not belong to their text."""
    with psycopg.connect(database) as connection:
        rows = connection.execute("SELECT content, embedding::real[] FROM document_chunks").fetchall()
    return sum(
        found is None or array("f", found).tobytes()[: 4 * dimensions] != vector_of(text, dimensions)
        for text, found in rows
    )


def kept(database: str) -> set[str]:
    """Return the digests of the texts whose vectors are in the cache."""
    with psycopg.connect(database) as connection:
        if connection.execute("SELECT to_regclass('migrator.embeddings') IS NULL").fetchone() == (True,):
            return set()
        return {bytes(row[0]).hex() for row in connection.execute("SELECT sha256 FROM migrator.embeddings")}


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def ask(database: str, query: str) -> list[Any]:
    with psycopg.connect(database) as connection:
        return connection.execute(query.encode()).fetchall()
