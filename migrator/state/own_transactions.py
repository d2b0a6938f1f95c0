"""Tells which row versions this migration wrote, by the `xmin` of the row: records and queries `own_transactions`.

A row version belongs to the migration if the transaction in its `xmin` is recorded in `own_transactions`. `xmin` holds
the last 32 bits of the transaction ID; the table holds all 64 bits, so the comparison casts to `xid`.
Not here: which rows a revert deletes (`provenance`), and who caused a difference (`verification.attribution`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from psycopg import sql
from psycopg.pq import TransactionStatus

from migrator.state.records import Connection, Namespace

SUSPENSION_STEP = "triggers"  # its detail names the triggers and rules that the run suspends


def record_transaction(connection: Connection, namespace: Namespace) -> None:
    """Record the current transaction as one of this migration, and suspend the owner's triggers in it if necessary.

    Call it in every transaction that writes rows of the target, before the first row and outside of savepoints: a
    savepoint has a transaction ID of its own (`own_transaction`).
    """
    query = namespace.sql(
        "WITH own AS (INSERT INTO {own_transactions} DEFAULT VALUES ON CONFLICT DO NOTHING)"
        " SELECT set_config('session_replication_role', 'replica', true) FROM {steps} WHERE step = %s"
    )
    connection.execute(query, (SUSPENSION_STEP,))


@contextmanager
def own_transaction(connection: Connection, namespace: Namespace) -> Iterator[None]:
    """Execute the block in a transaction, or in a savepoint of the open one, recorded as one of this migration.

    After an error in the block, the open transaction can go on.
    """
    is_nested = is_in_transaction(connection)
    with connection.transaction():
        if is_nested:
            _record_savepoint(connection, namespace)
        else:
            record_transaction(connection, namespace)
        yield


def is_in_transaction(connection: Connection) -> bool:
    """Return whether a transaction is open."""
    return connection.info.transaction_status != TransactionStatus.IDLE


def _record_savepoint(connection: Connection, namespace: Namespace) -> None:
    """Record the transaction ID of the current savepoint.

    No function returns it, but a row that the savepoint writes has its last 32 bits in `xmin`. It is larger than the ID
    of the whole transaction, by less than 2^32.
    """
    connection.execute(namespace.sql("INSERT INTO {own_transactions} (xid) VALUES ('0')"))
    query = namespace.sql(
        "UPDATE {own_transactions} SET xid = (t.top + ((xmin::text::bigint - t.top) & 4294967295))::text::xid8"
        " FROM (SELECT pg_current_xact_id()::text::bigint AS top) t WHERE xid = '0'"
    )
    connection.execute(query)


def forget_unused(connection: Connection, namespace: Namespace, tables: Iterable[str]) -> int:
    """Delete the transactions of which no row version is left in `tables`, and return the number of the others.

    `tables`: names of all tables of the migration; those that do not exist are left out. It reads the tables. No other
    transaction of this migration may be open.
    """
    found = [namespace.table(name) for name in tables]
    there = [each for each in found if _exists(connection, each)]
    versions = sql.SQL(" UNION ").join(sql.SQL("SELECT xmin FROM {}").format(each) for each in there)
    query = namespace.sql(
        "WITH used AS MATERIALIZED ({versions}) DELETE FROM {own_transactions} w"
        " WHERE NOT EXISTS (SELECT FROM used u WHERE u.xmin = w.xid::xid)",
        versions=versions,
    )
    connection.execute(query)
    return count(connection, namespace)


def _exists(connection: Connection, table: sql.Composable) -> bool:
    found = connection.execute("SELECT to_regclass(%s) IS NOT NULL", (table.as_string(connection),)).fetchone()
    return found == (True,)


def count(connection: Connection, namespace: Namespace) -> int:
    """Return the number of recorded transactions."""
    row = connection.execute(namespace.sql("SELECT count(*) FROM {own_transactions}")).fetchone()
    assert row is not None  # an aggregate returns a row
    return int(row[0])


def adopt(connection: Connection, namespace: Namespace, table: str, collection: str, key: str) -> int:
    """Record the transactions that wrote the rows of a collection's loaded documents as ours; return their number.

    `table`: the name; `key`: its column with the ID. For rows that another client wrote and that the source has since.
    Requires a transaction.
    """
    connection.execute("SELECT pg_current_xact_id()")  # `age` counts from it only if it was assigned before
    query = namespace.sql(
        "WITH top AS MATERIALIZED (SELECT pg_current_xact_id()::text::bigint AS id),"
        " found AS (SELECT DISTINCT t.xmin AS xmin FROM {table} t JOIN {ledger} l ON l.target_id = t.{key}::text"
        " AND l.collection = %s AND l.outcome = 'loaded' WHERE NOT {own})"
        " INSERT INTO {own_transactions} (xid, adopted) SELECT (top.id - age(found.xmin))::text::xid8, true"
        " FROM found, top WHERE age(found.xmin) < 2147483647 ON CONFLICT DO NOTHING",
        table=namespace.table(table),
        key=sql.Identifier(key),
        own=written_by_migration(namespace),
    )
    return connection.execute(query, (collection,)).rowcount


def is_traceable(connection: Connection, namespace: Namespace) -> bool:
    """Return whether `xmin` identifies the writer of a row. It does not in a database restored from a dump."""
    query = namespace.sql("SELECT EXISTS (SELECT FROM {own_transactions} WHERE xmin <> xid::xid AND NOT adopted)")
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
