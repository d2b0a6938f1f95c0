"""The last full verification of a followed target without a difference, from which a cutover goes on.

It is a step of the journal. The position is that of the source's changes before the verification began: documents that
have no change after it were the same on both sides.
"""

from __future__ import annotations

from dataclasses import dataclass

from psycopg.types.json import Jsonb

from migrator.sources.base import Position
from migrator.state import journal
from migrator.state.records import Connection, Namespace
from migrator.state.sync import SyncState

STEP = "full verification"


@dataclass(frozen=True, slots=True, kw_only=True)
class FullVerification:
    """`position`: from which changes must be compared again; `age`: in seconds."""

    position: Position
    age: float


def record(connection: Connection, namespace: Namespace, began: SyncState) -> None:
    """Record that all documents were compared without a difference. `began`: read before the comparison began.

    Every change up to `began` must have been applied when the rows were compared.
    """
    latest = journal.latest_run(connection, namespace)
    assert latest is not None  # it was verified
    detail = {"token": began.position.token.hex(), "after_invalidate": began.position.after_invalidate}
    query = namespace.sql(
        "INSERT INTO {steps} (step, run, detail) VALUES (%s, %s, %s)"
        " ON CONFLICT (step) DO UPDATE SET detail = excluded.detail, began = now(), finished = clock_timestamp()"
    )
    connection.execute(query, (STEP, latest[0], Jsonb(detail)))


def read(connection: Connection, namespace: Namespace) -> FullVerification | None:
    """Return the last full verification; None if there is none."""
    query = namespace.sql(
        "SELECT detail, extract(epoch FROM clock_timestamp() - began)::float8 FROM {steps} WHERE step = %s"
    )
    found = connection.execute(query, (STEP,)).fetchone()
    if found is None:
        return None
    detail, age = found
    position = Position(token=bytes.fromhex(detail["token"]), after_invalidate=detail["after_invalidate"])
    return FullVerification(position=position, age=float(age))


def forget(connection: Connection, namespace: Namespace) -> None:
    """Delete the record: the target is to be verified again."""
    connection.execute(namespace.sql("DELETE FROM {steps} WHERE step = %s"), (STEP,))
