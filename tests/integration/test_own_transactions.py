"""Row versions of the migration are told apart from others, and a check as another role leaves no trace."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest
from psycopg import sql

from migrator.postgres.roles import act_as_reader
from migrator.state import own_transactions
from migrator.state.records import Connection, Namespace, create_records


@pytest.fixture
def connection(database: str) -> Iterator[Connection]:
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("CREATE TABLE notes (id integer PRIMARY KEY, text text)")
        yield connection


def ids(connection: Connection, condition: sql.Composed) -> list[int]:
    query = sql.SQL("SELECT id FROM notes t WHERE {} ORDER BY id").format(condition)
    return [row[0] for row in connection.execute(query)]


def test_only_recorded_transactions_count_as_the_migration(connection: Connection) -> None:
    """A row is the migration's until another transaction writes it; rows of other transactions never are."""
    namespace = Namespace()
    create_records(connection, namespace)
    connection.execute("INSERT INTO notes VALUES (1, 'other')")
    with connection.transaction():
        own_transactions.record_transaction(connection, namespace)
        connection.execute("INSERT INTO notes VALUES (2, 'own'), (3, 'own')")
    connection.execute("UPDATE notes SET text = 'changed' WHERE id = 3")
    assert own_transactions.is_traceable(connection, namespace)
    assert ids(connection, own_transactions.written_by_migration(namespace)) == [2]


def test_restored_records_are_not_traceable(connection: Connection) -> None:
    """In a database restored from a dump, every row version has the transaction of the restore."""
    namespace = Namespace()
    create_records(connection, namespace)
    connection.execute(namespace.sql("INSERT INTO {own_transactions} VALUES ('1000')"))
    assert not own_transactions.is_traceable(connection, namespace)


def test_rows_are_before_during_or_after_the_run(connection: Connection) -> None:
    """The first step and the end of the run divide row versions by age; an open run has no end."""
    namespace = Namespace()
    create_records(connection, namespace)
    connection.execute("INSERT INTO notes VALUES (1, 'before')")
    connection.execute(namespace.sql("INSERT INTO {steps} (step, run) VALUES ('tenant', 1)"))
    connection.execute("INSERT INTO notes VALUES (2, 'during')")
    assert ids(connection, own_transactions.written_during_run(namespace)) == []
    connection.execute(
        namespace.sql(
            "INSERT INTO {runs} (status, version, source, database, fingerprints) VALUES ('done', '', '', '', '{{}}')"
        )
    )
    connection.execute("INSERT INTO notes VALUES (3, 'after')")
    assert ids(connection, own_transactions.written_before_run(namespace)) == [1]
    assert ids(connection, own_transactions.written_during_run(namespace)) == [2]
    assert ids(connection, own_transactions.written_after_run(namespace)) == [3]


def test_a_reader_role_may_only_select_and_disappears(connection: Connection) -> None:
    """In the block the role can read the named table and nothing else; afterwards neither role nor change remains."""
    connection.execute("CREATE TABLE other (id integer)")
    before = connection.execute("SELECT current_user").fetchone()
    with act_as_reader(connection, "public", ["notes"]):
        assert connection.execute("SELECT count(*) FROM notes").fetchone() == (0,)
        for statement in ("INSERT INTO notes VALUES (1, '')", "SELECT FROM other"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege), connection.transaction():
                connection.execute(statement.encode())
    assert connection.execute("SELECT current_user").fetchone() == before
    assert connection.execute("SELECT FROM pg_roles WHERE rolname LIKE 'migrate_reader_%'").fetchall() == []
