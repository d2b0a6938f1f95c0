"""Where a database stores its data, and the free space there as far as it can be known.

PostgreSQL has no function for free disk space. It is known only if the server runs on this machine: a connection
through a Unix socket, to a role that may see the data directory. Nothing is written.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg

Connection = psycopg.Connection[Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Storage:
    """The tablespace of a database; the largest regular size of the write-ahead log, in bytes; the free bytes, and the
    folder where they were measured. `free` is None if they are unknown."""

    tablespace: str
    wal: int
    folder: str = ""
    free: int | None = None


def read_storage(connection: Connection) -> Storage:
    """Return the storage of the current database."""
    query = """
        SELECT t.spcname, pg_tablespace_location(t.oid), s.setting, pg_size_bytes(current_setting('max_wal_size'))
          FROM pg_database d JOIN pg_tablespace t ON t.oid = d.dattablespace
          LEFT JOIN pg_settings s ON s.name = 'data_directory'
         WHERE d.datname = current_database()
    """
    row = connection.execute(query).fetchone()
    assert row is not None  # the current database exists
    name, location, data_directory, wal = row
    is_local = (connection.info.host or "").startswith("/")
    # An in-place tablespace has a path relative to the data directory, which an ordinary role does not see.
    folder = Path(data_directory or "", location or "")
    free = measure_free(folder) if is_local and folder.is_absolute() else None
    return Storage(tablespace=name, wal=int(wal), folder="" if free is None else str(folder), free=free)


def measure_free(folder: Path) -> int | None:
    """Return the free bytes for an ordinary user in a folder; None if it does not exist or cannot be seen.

    A server behind the socket of a container has a data directory that does not exist here.
    """
    try:
        found = os.statvfs(folder)
    except OSError:
        return None
    return found.f_bavail * found.f_frsize


def measure_planned(folder: Path) -> int | None:
    """Return the free bytes where a folder will be created: in the nearest parent that exists."""
    return next(
        (free for each in (folder, *folder.absolute().parents) if (free := measure_free(each)) is not None), None
    )
