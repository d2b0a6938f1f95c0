"""The ledger and the documents that the records keep: counts of outcomes, and whole documents as streams.

Writers of the ledger are in `rows/copy.py`: they use COPY.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from psycopg import sql

from migrator.documents.residue import raw_document_of
from migrator.state.records import Connection, Namespace


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """The accounting identity of one collection: `source = loaded + rejected + archived`."""

    source: int
    loaded: int
    rejected: int
    archived: int

    @property
    def remainder(self) -> int:
        return self.source - self.loaded - self.rejected - self.archived

    def as_json(self) -> dict[str, int]:
        return {"source": self.source, "loaded": self.loaded, "rejected": self.rejected, "archived": self.archived}


def count_outcomes(connection: Connection, namespace: Namespace) -> dict[str, Counts]:
    """Count the outcomes of every collection read so far, from journal and ledger."""
    query = namespace.sql("SELECT collection, outcome, count(*) FROM {ledger} GROUP BY 1, 2")
    return balance(connection, namespace, {(row[0], row[1]): int(row[2]) for row in connection.execute(query)})


def balance(connection: Connection, namespace: Namespace, outcomes: Mapping[tuple[str, str], int]) -> dict[str, Counts]:
    """Return the counts of every collection read so far, from `outcomes`: ledger rows by (collection, outcome)."""
    query = namespace.sql("SELECT collection, sum(documents)::bigint FROM {batches} GROUP BY 1 ORDER BY 1")
    return {
        name: Counts(
            source=int(documents),
            loaded=outcomes.get((name, "loaded"), 0),
            rejected=outcomes.get((name, "rejected"), 0),
            archived=outcomes.get((name, "archived"), 0),
        )
        for name, documents in connection.execute(query).fetchall()
    }


def ledger_size(connection: Connection, namespace: Namespace) -> int:
    """Return the size of the ledger in bytes, without its indexes."""
    row = connection.execute("SELECT pg_table_size(%s::regclass)", (f"{namespace.records}.ledger",)).fetchone()
    assert row is not None  # the SELECT returns one row
    return int(row[0])


def count_by(connection: Connection, namespace: Namespace, relation: str, column: str) -> dict[str, int]:
    """Count the rows of `findings` by code, or of `rejects` by reason; the most frequent value first."""
    query = sql.SQL("SELECT {column}, count(*) FROM {relation} GROUP BY 1 ORDER BY 2 DESC, 1").format(
        column=sql.Identifier(column), relation=sql.Identifier(namespace.records, relation)
    )
    return {row[0]: int(row[1]) for row in connection.execute(query)}


def read_documents(connection: Connection, namespace: Namespace, relation: str, collection: str) -> Iterator[bytes]:
    """Stream the original documents of a collection from `rejects` or `archive`, as BSON."""
    query = sql.SQL("COPY (SELECT document FROM {} WHERE collection = %s) TO STDOUT (FORMAT BINARY)").format(
        sql.Identifier(namespace.records, relation)
    )
    with connection.cursor() as cursor, cursor.copy(query, (collection,)) as stream:
        for (document,) in stream.rows():
            yield bytes(document)


def read_ledger_documents(connection: Connection, namespace: Namespace, collection: str) -> Iterator[bytes]:
    """Stream the loaded documents of a collection that was merged into other rows, as BSON.

    Such a collection has no rows of its own: the residue in the ledger is the whole document.
    """
    query = namespace.sql(
        "COPY (SELECT residue FROM {ledger} WHERE collection = %s AND outcome = 'loaded') TO STDOUT (FORMAT BINARY)"
    )
    with connection.cursor() as cursor, cursor.copy(query, (collection,)) as stream:
        for (residue,) in stream.rows():
            whole = raw_document_of(bytes(residue))
            assert whole is not None  # the merge wrote whole documents
            yield whole
