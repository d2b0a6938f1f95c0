"""The locks between `migrate follow` and a comparison at the same time: advisory locks of PostgreSQL.

`follow` holds the lock of the target (lock.py). A comparison writes only into scratch schemas of its own, so it does
not need that lock: it makes `follow` wait between two batches while it compares. Changes are still received then.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from migrator.errors import LockedError
from migrator.postgres.errors import is_idle
from migrator.state.lock import Connection, exclusive, find_holder, own_name

FOLLOW_KEY: Final = int.from_bytes(b"follow", "big") % 2**31  # held while changes are applied
APPLY_KEY: Final = int.from_bytes(b"apply", "big") % 2**31  # shared: by a batch; exclusive: by a comparison
COMPARE_KEY: Final = int.from_bytes(b"compare", "big") % 2**31  # held by the one comparison of a target


@contextmanager
def following(connection: Connection) -> Iterator[None]:
    """Show in the block that changes are applied by this process."""
    connection.execute("SELECT pg_advisory_lock(%s)", (FOLLOW_KEY,))
    try:
        yield
    finally:
        if is_idle(connection):
            connection.execute("SELECT pg_advisory_unlock(%s)", (FOLLOW_KEY,))


@contextmanager
def applying(connection: Connection) -> Iterator[bool]:
    """Yield whether a batch may be applied in the block; not while a comparison holds, or waits for, the lock."""
    found = connection.execute("SELECT pg_try_advisory_lock_shared(%s)", (APPLY_KEY,)).fetchone()
    is_free = bool(found and found[0])
    try:
        yield is_free
    finally:
        if is_free and is_idle(connection):
            connection.execute("SELECT pg_advisory_unlock_shared(%s)", (APPLY_KEY,))


@contextmanager
def paused(connection: Connection) -> Iterator[None]:
    """Wait for the current batch of changes, and let no other begin in the block."""
    connection.execute("SELECT pg_advisory_lock(%s)", (APPLY_KEY,))
    try:
        yield
    finally:
        if is_idle(connection):
            connection.execute("SELECT pg_advisory_unlock(%s)", (APPLY_KEY,))


@contextmanager
def comparing(connection: Connection) -> Iterator[None]:
    """Hold the lock for a comparison, and that of the target, unless `follow` holds it.

    Raises:
        LockedError: another comparison, or another command than `follow`, is using the target.
    """
    with _holding_compare(connection):
        if find_holder(connection, FOLLOW_KEY) is not None:
            connection.execute("SELECT set_config('application_name', %s, false)", (own_name(),))
            yield
        else:
            with exclusive(connection):
                yield


@contextmanager
def cutting_over(connection: Connection) -> Iterator[None]:
    """Hold the lock for a cutover, which compares, too.

    Raises:
        LockedError: a comparison or another cutover is using the target.
    """
    with _holding_compare(connection):
        connection.execute("SELECT set_config('application_name', %s, false)", (own_name(),))
        yield


@contextmanager
def _holding_compare(connection: Connection) -> Iterator[None]:
    found = connection.execute("SELECT pg_try_advisory_lock(%s)", (COMPARE_KEY,)).fetchone()
    if not (found and found[0]):
        raise LockedError(
            "another migrate process is using this target:"
            f" {find_holder(connection, COMPARE_KEY) or 'it has just ended'}",
            hint="Wait until it has finished (`migrate status` shows its progress), then run the same command again.",
        )
    try:
        yield
    finally:
        if is_idle(connection):
            connection.execute("SELECT pg_advisory_unlock(%s)", (COMPARE_KEY,))
