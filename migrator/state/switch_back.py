"""Notes that the application was switched back, so that following first decides again what depends on several rows.

It is a step of the journal.
"""

from __future__ import annotations

from migrator.state import journal
from migrator.state.records import Connection, Namespace

STEP = "switch back"


def mark(connection: Connection, namespace: Namespace) -> None:
    """Note a switch back. Call it in its transaction."""
    latest = journal.latest_run(connection, namespace)
    assert latest is not None  # it was followed
    query = namespace.sql("INSERT INTO {steps} (step, run) VALUES (%s, %s) ON CONFLICT (step) DO NOTHING")
    connection.execute(query, (STEP, latest[0]))


def is_marked(connection: Connection, namespace: Namespace) -> bool:
    """Return whether a switch back was noted."""
    query = namespace.sql("SELECT EXISTS (SELECT FROM {steps} WHERE step = %s)")
    return connection.execute(query, (STEP,)).fetchone() == (True,)


def forget(connection: Connection, namespace: Namespace) -> None:
    """Delete the note: everything is decided."""
    connection.execute(namespace.sql("DELETE FROM {steps} WHERE step = %s"), (STEP,))
