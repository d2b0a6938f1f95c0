"""`embed`: computes missing embeddings after a run, or the vector of one text for a search."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from migrator.commands.context import Session, open_session
from migrator.commands.history import recorded
from migrator.commands.options import DEFAULT, AsJson, ConfigPath, Quiet, Verbose, print_result
from migrator.documents.vectors import Vector, pad
from migrator.embedding import open_provider
from migrator.embedding.provider import Failure
from migrator.embedding.vector_store import width_of
from migrator.errors import EmbeddingError, UsageError
from migrator.formatting import format_count
from migrator.workflows.embedding import embed_missing


def embed(
    text: Annotated[str, typer.Option(help="Print the vector of this text, to use it in a query.")] = "",
    config: ConfigPath = DEFAULT, json: AsJson = False, verbose: Verbose = False, quiet: Quiet = False,
) -> None:  # fmt: skip
    """Compute embeddings that are still missing."""
    session = open_session(config, json, verbose, quiet)
    if text:
        vector = embed_text(session, text)
        print_result(session.console, {"vector": list(vector)}, lambda: typer.echo(format_vector(vector)))
        return
    with recorded(session, "embed") as entry, session.target() as target:
        entry |= {"target": target.label}
        report = embed_missing(session.config, session.definition, target, session.console.emit)
        entry |= {"run": report.run, "status": "done"}
    missing = report.chunks - report.filled
    summary = f"{format_count(report.filled, 'chunks')} embedded, {missing:,} without an embedding."
    print_result(session.console, report.as_json(), lambda: session.console.print(summary))


def embed_text(session: Session, text: str) -> Vector:
    """Returns the vector of a text, as wide as the column. Raises: `UsageError`, `EmbeddingError`."""
    provider = open_provider(session.config.embedding, session.warn)
    if provider is None:
        raise UsageError("no embedding provider is configured", hint='Set embedding.provider to "openai" or "local".')

    async def ask() -> Vector:
        try:
            result = (await provider.embed([text])).results[0]
        finally:
            await provider.close()
        if isinstance(result, Failure):
            raise EmbeddingError(f"the text could not be embedded: {result.why}")
        return result.vector

    vector = asyncio.run(ask())
    embedded = session.definition.embedded
    return vector if embedded is None else pad(vector, width_of(embedded))


def format_vector(vector: Vector) -> str:
    """Returns the vector as pgvector reads it: '[0.1,0.2]'."""
    return "[" + ",".join(f"{value:.9g}" for value in vector) + "]"
