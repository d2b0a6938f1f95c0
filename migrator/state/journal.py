"""The journal: runs, their attempts and steps, the batches they committed, and what is known of the source.

A run can be interrupted at any moment. The journal says what is committed, so that the next attempt resumes there.
The schema of the records is in `records.py`, the ledger in `ledger.py`, what remains to be read in `partitions.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, cast

from psycopg.types.json import Jsonb

from migrator import __version__
from migrator.errors import StoppedError, UsageError
from migrator.sources.base import Batch, Source, SourceCollection
from migrator.state.records import Connection, Namespace, has_records

RETRY = "rejects retry"  # the step that marks a retry in progress
AUXILIARY = "follow: auxiliary sources"  # the step with the fingerprints of auxiliary sources that were read again
DONE = "done"  # the status of a finished run; others are 'running' and 'stopped'

# --- runs ------------------------------------------------------------------------------------------------------------


def latest_run(connection: Connection, namespace: Namespace) -> tuple[int, str, dict[str, str]] | None:
    """Return the number, status and fingerprints of the newest run; None before the first run."""
    query = namespace.sql(
        "SELECT run, status, fingerprints || coalesce((SELECT detail FROM {steps} WHERE step = %s), '{{}}')"
        " FROM {runs} ORDER BY run DESC LIMIT 1"
    )
    return cast("tuple[int, str, dict[str, str]] | None", connection.execute(query, (AUXILIARY,)).fetchone())


def require_finished(connection: Connection, namespace: Namespace) -> tuple[int, dict[str, str]]:
    """Return the number and the fingerprints of the finished run.

    Raises:
        UsageError: the target contains no migration, or its run is not finished.
    """
    latest = latest_run(connection, namespace) if has_records(connection, namespace) else None
    if latest is None:
        raise UsageError("the target contains no migration", hint="Start with `migrate run`.")
    run, status, fingerprints = latest
    if status != DONE:
        command = "migrate rejects retry" if is_retrying(connection, namespace) else "migrate run"
        raise UsageError(
            f"run {run} in the target is not finished",
            hint=f"`{command}` completes it; `migrate status` shows its progress. Then use this command again.",
        )
    return run, fingerprints


def require_retryable(connection: Connection, namespace: Namespace) -> tuple[int, dict[str, str]]:
    """Return the number and the fingerprints of the run whose rejects can be retried: finished, or in an interrupted
    retry.

    Raises:
        UsageError: the target contains no migration, or its run was interrupted otherwise.
    """
    latest = latest_run(connection, namespace) if has_records(connection, namespace) else None
    if latest is None or latest[1] == DONE or not is_retrying(connection, namespace):
        return require_finished(connection, namespace)
    return latest[0], latest[2]


def begin_retry(connection: Connection, namespace: Namespace, run: int) -> None:
    """Record that a retry is in progress, in the transaction that opens the run again. `end_run` removes the record."""
    resume_run(connection, namespace, run)
    finish_step(connection, namespace, run, RETRY, {})


def is_retrying(connection: Connection, namespace: Namespace) -> bool:
    """Return whether a retry was interrupted, or is in progress."""
    return RETRY in finished_steps(connection, namespace)


def begin_run(connection: Connection, namespace: Namespace, source: Source, fingerprints: Mapping[str, str]) -> int:
    """Record a new run and return its number."""
    query = namespace.sql(
        "INSERT INTO {runs} (status, version, source, database, fingerprints)"
        " VALUES ('running', %s, %s, %s, %s) RETURNING run"
    )
    label = source.label.encode("utf-8", "backslashreplace").decode()  # a path may hold any bytes
    values = (__version__, label, source.database, Jsonb(dict(fingerprints)))
    row = connection.execute(query, values).fetchone()
    assert row is not None  # INSERT … RETURNING returns the row
    return int(row[0])


def resume_run(connection: Connection, namespace: Namespace, run: int) -> None:
    query = namespace.sql("UPDATE {runs} SET status = 'running', finished = NULL WHERE run = %s")
    connection.execute(query, (run,))


def end_run(connection: Connection, namespace: Namespace, run: int, status: str) -> None:
    """Record the status of a run that has ended. A finished run is in no retry any more."""
    query = namespace.sql("UPDATE {runs} SET status = %s, finished = clock_timestamp() WHERE run = %s")
    with connection.transaction():
        if status == DONE:
            connection.execute(namespace.sql("DELETE FROM {steps} WHERE step = %s"), (RETRY,))
        connection.execute(query, (status, run))


def renew_fingerprints(connection: Connection, namespace: Namespace, run: int, fingerprints: Mapping[str, str]) -> None:
    """Replace the fingerprints that later commands compare with their own."""
    query = namespace.sql("UPDATE {runs} SET fingerprints = %s WHERE run = %s")
    connection.execute(query, (Jsonb(dict(fingerprints)), run))


def record_auxiliary(connection: Connection, namespace: Namespace, run: int, fingerprints: Mapping[str, str]) -> None:
    """Record the fingerprints of auxiliary sources, by section, as they are in the target now.

    The row of the run stays as it is: it tells when the run ended.
    """
    query = namespace.sql(
        "INSERT INTO {steps} (step, run, detail) VALUES (%s, %s, %s)"
        " ON CONFLICT (step) DO UPDATE SET detail = {steps}.detail || excluded.detail"
    )
    connection.execute(query, (AUXILIARY, run, Jsonb(dict(fingerprints))))


def begin_attempt(connection: Connection, namespace: Namespace, run: int) -> int:
    """Return the number of a new attempt at a run. Workers of earlier attempts cannot commit from now on.

    The number is a fencing token, checked by `fence_attempt`.
    """
    query = namespace.sql("UPDATE {runs} SET attempt = attempt + 1 WHERE run = %s RETURNING attempt")
    row = connection.execute(query, (run,)).fetchone()
    assert row is not None  # the run exists
    return int(row[0])


def fence_attempt(connection: Connection, namespace: Namespace, run: int, attempt: int) -> None:
    """Keep later attempts from starting until the current transaction ends.

    Raises:
        StoppedError: a later attempt has started.
    """
    query = namespace.sql("SELECT FROM {runs} WHERE run = %s AND attempt = %s FOR SHARE")
    if connection.execute(query, (run, attempt)).fetchone() is None:
        raise StoppedError("another process has taken over this run", hint="`migrate status` shows its progress.")


def database_name(connection: Connection, namespace: Namespace) -> str:
    """Return the name of the source database of the newest run."""
    found = connection.execute(namespace.sql("SELECT database FROM {runs} ORDER BY run DESC LIMIT 1")).fetchone()
    assert found is not None  # records exist, so a run exists
    return str(found[0])


# --- steps -----------------------------------------------------------------------------------------------------------


def finished_steps(connection: Connection, namespace: Namespace) -> set[str]:
    return {row[0] for row in connection.execute(namespace.sql("SELECT step FROM {steps}"))}


def finish_step(connection: Connection, namespace: Namespace, run: int, step: str, detail: Any = None) -> None:
    """Record a step as finished. Call it in the transaction of the step's own writes: the step began with that."""
    query = namespace.sql("INSERT INTO {steps} (step, run, detail) VALUES (%s, %s, %s) ON CONFLICT (step) DO NOTHING")
    connection.execute(query, (step, run, None if detail is None else Jsonb(detail)))


def finish_long_step(connection: Connection, namespace: Namespace, run: int, step: str, began: datetime) -> None:
    """Record a step of several transactions as finished. `began` is a time of the server, from `read_clock`."""
    query = namespace.sql("INSERT INTO {steps} (step, run, began) VALUES (%s, %s, %s) ON CONFLICT (step) DO NOTHING")
    connection.execute(query, (step, run, began))


def step_detail(connection: Connection, namespace: Namespace, step: str) -> Any:
    """Return the detail that a finished step recorded; None if the step has not finished."""
    found = connection.execute(namespace.sql("SELECT detail FROM {steps} WHERE step = %s"), (step,)).fetchone()
    return found[0] if found else None


def pin_setting(connection: Connection, namespace: Namespace, run: int, step: str, value: Any) -> Any:
    """Return the value that a setting had at the start of the run; record `value` if this is the start."""
    finish_step(connection, namespace, run, step, value)
    return step_detail(connection, namespace, step)


def read_clock(connection: Connection) -> datetime:
    """Return the time of the server. All times in the journal are times of the server."""
    row = connection.execute("SELECT clock_timestamp()").fetchone()
    assert row is not None  # the SELECT returns one row
    return cast("datetime", row[0])


# --- batches ---------------------------------------------------------------------------------------------------------


def record_batch(connection: Connection, namespace: Namespace, run: int, batch: Batch) -> None:
    """Record a batch. Call it in the transaction that writes the rows of the batch."""
    query = namespace.sql(
        "INSERT INTO {batches} (collection, part, first_position, last_position, documents, bytes, last, run)"
        " VALUES (%s, %s, %s, %s, %s, %s, %s, %s)"
    )
    values = (
        batch.collection, batch.part, batch.start, batch.end, batch.count, len(batch.data), batch.last, run,
    )  # fmt: skip
    connection.execute(query, values)


def has_batch(connection: Connection, namespace: Namespace, batch: Batch) -> bool:
    """Return whether a batch is committed."""
    query = namespace.sql("SELECT FROM {batches} WHERE collection = %s AND part = %s AND first_position = %s")
    return connection.execute(query, (batch.collection, batch.part, batch.start)).fetchone() is not None


def count_entries(connection: Connection, namespace: Namespace) -> int:
    """Return the number of committed batches and finished steps: it grows while a run makes progress."""
    query = namespace.sql("SELECT (SELECT count(*) FROM {batches}) + (SELECT count(*) FROM {steps})")
    row = connection.execute(query).fetchone()
    assert row is not None  # the SELECT returns one row
    return int(row[0])


# --- source collections ----------------------------------------------------------------------------------------------


def record_metadata(connection: Connection, namespace: Namespace, collections: list[SourceCollection]) -> None:
    """Record options and indexes of every source collection (for `export`), and sizes (for progress)."""
    query = namespace.sql(
        "INSERT INTO {metadata} (collection, metadata, documents, bytes, origin) VALUES (%s, %s, %s, %s, %s)"
        " ON CONFLICT (collection) DO UPDATE SET documents = excluded.documents, bytes = excluded.bytes"
    )
    values = [(each.name, each.metadata, each.documents, each.bytes, each.origin) for each in collections]
    with connection.cursor() as cursor:
        cursor.executemany(query, values)


def read_metadata(connection: Connection, namespace: Namespace) -> dict[str, bytes | None]:
    """Return options and indexes of the source collections, by name, as mongodump's metadata JSON."""
    found = connection.execute(namespace.sql("SELECT collection, metadata FROM {metadata}"), binary=True)
    return {name: None if data is None else bytes(data) for name, data in found}


def read_origins(connection: Connection, namespace: Namespace) -> dict[str, str]:
    """Return the label of the source of each collection that does not come from the MongoDB database."""
    return dict(connection.execute(namespace.sql("SELECT collection, origin FROM {metadata} WHERE origin IS NOT NULL")))
