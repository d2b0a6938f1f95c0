"""Tells which row versions this migration wrote, by the `xmin` of the row: records and queries `own_transactions`.

A row version belongs to the migration if the transaction in its `xmin` is recorded in `own_transactions`. `xmin` holds
the last 32 bits of the transaction ID; the table holds all 64 bits, so the comparison casts to `xid`.
Not here: which rows a revert deletes (`provenance`), and who caused a difference (`verification.attribution`).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from psycopg import sql
from psycopg.pq import TransactionStatus

from migrator.state.records import Connection, Namespace

SUSPENSION_STEP = "triggers"  # its detail names the triggers and rules that the run suspends


def record_transaction(connection: Connection, namespace: Namespace) -> None:
    """Record the current transaction as one of this migration, and suspend the owner's triggers in it if necessary.

    Call it in every transaction that writes rows of the target, before the first row and outside of savepoints: a
    savepoint has a transaction ID of its own.
    """
    query = namespace.sql(
        "WITH own AS (INSERT INTO {own_transactions} DEFAULT VALUES ON CONFLICT DO NOTHING)"
        " SELECT set_config('session_replication_role', 'replica', true) FROM {steps} WHERE step = %s"
    )
    connection.execute(query, (SUSPENSION_STEP,))


@contextmanager
def own_transaction(connection: Connection, namespace: Namespace) -> Iterator[None]:
    """Execute the block in the open transaction, or in a new one, and record it as one of this migration.

    A nested `connection.transaction()` would be a savepoint, whose rows have a transaction ID that is not recorded.
    """
    if connection.info.transaction_status == TransactionStatus.IDLE:
        with connection.transaction():
            record_transaction(connection, namespace)
            yield
    else:
        record_transaction(connection, namespace)
        yield


def is_traceable(connection: Connection, namespace: Namespace) -> bool:
    """Return whether `xmin` identifies the writer of a row. It does not in a database restored from a dump."""
    query = namespace.sql("SELECT EXISTS (SELECT FROM {own_transactions} WHERE xmin <> xid::xid)")
    return connection.execute(query).fetchone() == (False,)


def written_by_migration(namespace: Namespace, alias: str = "t") -> sql.Composed:
    """Compose the condition that this migration wrote the row version `alias`."""
    return namespace.sql(
        "EXISTS (SELECT FROM {own_transactions} w WHERE w.xid::xid = {alias}.xmin)", alias=sql.Identifier(alias)
    )


def written_after_run(namespace: Namespace, alias: str = "t") -> sql.Composed:
    """Compose the condition that the row version `alias` is newer than the end of the run.

    False while a run is open.
    """
    return namespace.sql(
        "coalesce(age({alias}.xmin) < (SELECT age(z.xmin) FROM {runs} z WHERE z.status = 'done'"
        " ORDER BY z.run DESC LIMIT 1), false)",
        alias=sql.Identifier(alias),
    )


def written_before_run(namespace: Namespace, alias: str = "t") -> sql.Composed:
    """Compose the condition that the row version `alias` is older than the first step of the run."""
    return namespace.sql(
        "coalesce(age({alias}.xmin) > (SELECT age(z.xmin) FROM {steps} z WHERE z.step = 'tenant'), false)",
        alias=sql.Identifier(alias),
    )


def written_during_run(namespace: Namespace, alias: str = "t") -> sql.Composed:
    """Compose the condition that the row version `alias` was written between the first step and the end of the run.

    False while a run is open.
    """
    return namespace.sql(
        "coalesce(age({alias}.xmin) BETWEEN"
        " (SELECT age(r.xmin) FROM {runs} r WHERE r.status = 'done' ORDER BY r.run DESC LIMIT 1)"
        " AND (SELECT age(s.xmin) FROM {steps} s WHERE s.step = 'tenant'), false)",
        alias=sql.Identifier(alias),
    )
