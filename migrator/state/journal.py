"""The journal and the ledger: where a run stands, what became of every document. All SQL here is about schema migrator.

A `Namespace` says in which schemas of a database a migration lives: `public` and `migrator`, or a pair of scratch
schemas where `plan` and `verify` rehearse the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from importlib.resources import files
from typing import Any, LiteralString, cast

import psycopg
from psycopg import sql
from psycopg.types.json import Jsonb

from migrator import __version__
from migrator.documents.residue import raw_document_of
from migrator.errors import StoppedError, UsageError
from migrator.sources.base import Batch, Source, SourceCollection


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


RECORDS = (
    "runs", "steps", "partitions", "batches", "heartbeats", "metadata",
    "ledger", "rejects", "archive", "findings", "aliases", "links", "member_lists", "own_transactions", "foreign_edits",
    "embeddings",
)  # fmt: skip
VERSION = 2  # of the records: one more whenever what records.sql and schema_changes.sql make is no longer the same
_MADE_BY = "Records of migrate, version "
Connection = psycopg.Connection[Any]


@dataclass(frozen=True, slots=True)
class Namespace:
    """The schema of the target's tables and the schema of the records."""

    rows: str = "public"
    records: str = "migrator"

    def table(self, name: str) -> sql.Identifier:
        """A table of the target."""
        return sql.Identifier(self.rows, name)

    def sql(self, template: LiteralString, **names: sql.Composable) -> sql.Composed:
        """A statement: `{ledger}` and the other records by name, further names as given."""
        records = {name: sql.Identifier(self.records, name) for name in RECORDS}
        return sql.SQL(template).format(**{**records, **names})


SCRATCH_NAMESPACE = Namespace("migrator_scratch", "migrator_scratch_records")


def create_records(connection: Connection, namespace: Namespace) -> None:
    """Creates the schema of the records and its relations where they are missing."""
    script = files("migrator.sql").joinpath("records.sql").read_text(encoding="utf-8")
    with connection.transaction():
        there = has_records(connection, namespace)
        connection.execute(sql.SQL("CREATE SCHEMA IF NOT EXISTS {}").format(sql.Identifier(namespace.records)))
        indexes = {name: sql.Identifier(name) for name in ("aliases_idx", "links_idx")}
        connection.execute(namespace.sql(script, **indexes))
        if not there:
            comment = namespace.sql("COMMENT ON TABLE {runs} IS {said}", said=sql.Literal(f"{_MADE_BY}{VERSION}"))
            connection.execute(comment)


def has_records(connection: Connection, namespace: Namespace) -> bool:
    """Whether a migration has begun in this place. Whoever opens records asks this first.

    Raises `UsageError` where another version of migrate has made them: it may have made others.
    """
    version = read_version(connection, namespace)
    if version not in (None, VERSION):
        age = "an older" if version < VERSION else "a newer"
        raise UsageError(
            f"{age} migrate made the records in schema {namespace.records}: their version is {version}, not {VERSION}",
            hint=f"Go on, or revert, with that one: the column version of {namespace.records}.runs says which it is.",
        )
    return version is not None


def read_version(connection: Connection, namespace: Namespace) -> int | None:
    """The version of the records in this place, 0 of those that have none; None where there are no records.

    It is a comment, because that can be asked for whatever columns there are, and goes where the table goes.
    """
    query = "SELECT obj_description(c.oid, 'pg_class') FROM pg_class c WHERE c.oid = to_regclass(%s)"
    found = connection.execute(query, (f"{namespace.records}.runs",)).fetchone()
    if found is None:
        return None
    number = (found[0] or "").removeprefix(_MADE_BY)
    return int(number) if number.isdecimal() else 0


def latest_run(connection: Connection, namespace: Namespace) -> tuple[int, str, dict[str, str]] | None:
    """Number, status and fingerprints of the newest run; None before the first."""
    query = namespace.sql("SELECT run, status, fingerprints FROM {runs} ORDER BY run DESC LIMIT 1")
    return cast("tuple[int, str, dict[str, str]] | None", connection.execute(query).fetchone())


def begin_run(connection: Connection, namespace: Namespace, source: Source, fingerprints: Mapping[str, str]) -> int:
    """Opens a run and returns its number."""
    query = namespace.sql(
        "INSERT INTO {runs} (status, version, source, database, fingerprints)"
        " VALUES ('running', %s, %s, %s, %s) RETURNING run"
    )
    label = source.label.encode("utf-8", "backslashreplace").decode()  # a path may be any bytes
    values = (__version__, label, source.database, Jsonb(dict(fingerprints)))
    row = connection.execute(query, values).fetchone()
    assert row is not None  # INSERT … RETURNING always answers
    return int(row[0])


def resume_run(connection: Connection, namespace: Namespace, run: int) -> None:
    query = namespace.sql("UPDATE {runs} SET status = 'running', finished = NULL WHERE run = %s")
    connection.execute(query, (run,))


def begin_attempt(connection: Connection, namespace: Namespace, run: int) -> int:
    """Numbers an attempt at a run; from now on nothing of the attempts before is committed (`fence_attempt`)."""
    query = namespace.sql("UPDATE {runs} SET attempt = attempt + 1 WHERE run = %s RETURNING attempt")
    row = connection.execute(query, (run,)).fetchone()
    assert row is not None  # the run is open
    return int(row[0])


def fence_attempt(connection: Connection, namespace: Namespace, run: int, attempt: int) -> None:
    """Within a transaction: no later attempt begins before it ends. Raises `StoppedError` where one has begun."""
    query = namespace.sql("SELECT FROM {runs} WHERE run = %s AND attempt = %s FOR SHARE")
    if connection.execute(query, (run, attempt)).fetchone() is None:
        raise StoppedError("another process has taken this run over", hint="`migrate status` shows how far it is.")


def record_transaction(connection: Connection, namespace: Namespace) -> None:
    """Within the transaction, not a savepoint, of whatever writes rows of the target: says that it was ours.

    A row whose last writer has not signed is somebody else's, or has been changed since (`belongings`).
    """
    connection.execute(namespace.sql("INSERT INTO {own_transactions} DEFAULT VALUES ON CONFLICT DO NOTHING"))


def renew_fingerprints(connection: Connection, namespace: Namespace, run: int, fingerprints: Mapping[str, str]) -> None:
    """What later calls must find unchanged, from now on."""
    query = namespace.sql("UPDATE {runs} SET fingerprints = %s WHERE run = %s")
    connection.execute(query, (Jsonb(dict(fingerprints)), run))


def end_run(connection: Connection, namespace: Namespace, run: int, status: str) -> None:
    query = namespace.sql("UPDATE {runs} SET status = %s, finished = clock_timestamp() WHERE run = %s")
    connection.execute(query, (status, run))


def finished_steps(connection: Connection, namespace: Namespace) -> set[str]:
    return {row[0] for row in connection.execute(namespace.sql("SELECT step FROM {steps}"))}


def finish_step(
    connection: Connection, namespace: Namespace, run: int, step: str, detail: Any = None, began: datetime | None = None
) -> None:
    """Records a step as done; call it inside the transaction of the step's own writes. `began`: if not with that."""
    query = namespace.sql(
        "INSERT INTO {steps} (step, run, detail, began) VALUES (%s, %s, %s, coalesce(%s, now()))"
        " ON CONFLICT (step) DO NOTHING"
    )
    connection.execute(query, (step, run, None if detail is None else Jsonb(detail), began))


def read_clock(connection: Connection) -> datetime:
    """The server's: all moments in the journal are its."""
    row = connection.execute("SELECT clock_timestamp()").fetchone()
    assert row is not None  # a SELECT of one value always answers
    return cast("datetime", row[0])


def step_detail(connection: Connection, namespace: Namespace, step: str) -> Any:
    """What a finished step left for later; None where it has not run."""
    found = connection.execute(namespace.sql("SELECT detail FROM {steps} WHERE step = %s"), (step,)).fetchone()
    return found[0] if found else None


def pin_setting(connection: Connection, namespace: Namespace, run: int, step: str, value: Any) -> Any:
    """The value that a setting had when the run began, whatever it is now."""
    finish_step(connection, namespace, run, step, value)
    return step_detail(connection, namespace, step)


def record_batch(connection: Connection, namespace: Namespace, run: int, batch: Batch) -> None:
    """The journal entry of a batch, in the transaction of its rows."""
    query = namespace.sql(
        "INSERT INTO {batches} (collection, part, first_position, last_position, documents, bytes, last, run)"
        " VALUES (%s, %s, %s, %s, %s, %s, %s, %s)"
    )
    values = (
        batch.collection, batch.part, batch.start, batch.end, batch.count, len(batch.data), batch.last, run,
    )  # fmt: skip
    connection.execute(query, values)


def has_batch(connection: Connection, namespace: Namespace, batch: Batch) -> bool:
    """Whether a batch is committed."""
    query = namespace.sql("SELECT FROM {batches} WHERE collection = %s AND part = %s AND first_position = %s")
    return connection.execute(query, (batch.collection, batch.part, batch.start)).fetchone() is not None


def count_entries(connection: Connection, namespace: Namespace) -> int:
    """Batches and steps that are done."""
    query = namespace.sql("SELECT (SELECT count(*) FROM {batches}) + (SELECT count(*) FROM {steps})")
    row = connection.execute(query).fetchone()
    assert row is not None  # a SELECT of counts always answers
    return int(row[0])


def record_metadata(connection: Connection, namespace: Namespace, collections: list[SourceCollection]) -> None:
    """Options and indexes of every source collection, for the way back; sizes, for who wants to know how far it is."""
    query = namespace.sql(
        "INSERT INTO {metadata} (collection, metadata, documents, bytes, origin) VALUES (%s, %s, %s, %s, %s)"
        " ON CONFLICT (collection) DO UPDATE SET documents = excluded.documents, bytes = excluded.bytes"
    )
    values = [(each.name, each.metadata, each.documents, each.bytes, each.origin) for each in collections]
    with connection.cursor() as cursor:
        cursor.executemany(query, values)


def read_metadata(connection: Connection, namespace: Namespace) -> dict[str, bytes | None]:
    """What `record_metadata` kept."""
    found = connection.execute(namespace.sql("SELECT collection, metadata FROM {metadata}"), binary=True)
    return {name: None if data is None else bytes(data) for name, data in found}


def read_origins(connection: Connection, namespace: Namespace) -> dict[str, str]:
    """Where the collections come from that are none of the database."""
    return dict(connection.execute(namespace.sql("SELECT collection, origin FROM {metadata} WHERE origin IS NOT NULL")))


def database_name(connection: Connection, namespace: Namespace) -> str:
    """The source's database."""
    found = connection.execute(namespace.sql("SELECT database FROM {runs} ORDER BY run DESC LIMIT 1")).fetchone()
    assert found is not None  # there are records, so there is a run
    return str(found[0])


def read_documents(connection: Connection, namespace: Namespace, relation: str, collection: str) -> Iterator[bytes]:
    """The documents of a collection that are whole in `rejects` or `archive`, streamed."""
    query = sql.SQL("COPY (SELECT document FROM {} WHERE collection = %s) TO STDOUT (FORMAT BINARY)").format(
        sql.Identifier(namespace.records, relation)
    )
    with connection.cursor() as cursor, cursor.copy(query, (collection,)) as stream:
        for (document,) in stream.rows():
            yield bytes(document)


def read_ledger_documents(connection: Connection, namespace: Namespace, collection: str) -> Iterator[bytes]:
    """The loaded documents of a collection that has no rows of its own (`merging`): the ledger keeps them, streamed."""
    query = namespace.sql(
        "COPY (SELECT residue FROM {ledger} WHERE collection = %s AND outcome = 'loaded') TO STDOUT (FORMAT BINARY)"
    )
    with connection.cursor() as cursor, cursor.copy(query, (collection,)) as stream:
        for (residue,) in stream.rows():
            whole = raw_document_of(bytes(residue))
            assert whole is not None  # how they are written
            yield whole


def count_outcomes(connection: Connection, namespace: Namespace) -> dict[str, Counts]:
    """The accounting identity of every collection read so far, from journal and ledger."""
    kept = namespace.sql("SELECT collection, outcome, count(*) FROM {ledger} GROUP BY 1, 2")
    return balance(connection, namespace, {(row[0], row[1]): int(row[2]) for row in connection.execute(kept)})


def balance(connection: Connection, namespace: Namespace, outcomes: Mapping[tuple[str, str], int]) -> dict[str, Counts]:
    """The same where the ledger's entries have been counted, by collection and outcome."""
    read = namespace.sql("SELECT collection, sum(documents)::bigint FROM {batches} GROUP BY 1 ORDER BY 1")
    return {
        name: Counts(
            source=int(documents),
            loaded=outcomes.get((name, "loaded"), 0),
            rejected=outcomes.get((name, "rejected"), 0),
            archived=outcomes.get((name, "archived"), 0),
        )
        for name, documents in connection.execute(read).fetchall()
    }


def ledger_size(connection: Connection, namespace: Namespace) -> int:
    """Bytes."""
    row = connection.execute("SELECT pg_table_size(%s::regclass)", (f"{namespace.records}.ledger",)).fetchone()
    assert row is not None  # a SELECT of one value always answers
    return int(row[0])


def count_by(connection: Connection, namespace: Namespace, relation: str, column: str) -> dict[str, int]:
    """Rows of `findings` by code, or of `rejects` by reason."""
    query = sql.SQL("SELECT {column}, count(*) FROM {relation} GROUP BY 1 ORDER BY 2 DESC, 1").format(
        column=sql.Identifier(column), relation=sql.Identifier(namespace.records, relation)
    )
    return {row[0]: int(row[1]) for row in connection.execute(query)}
