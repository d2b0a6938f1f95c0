"""Temporary databases for dry runs: an embedded server in a temporary folder, or a database on the target server."""

from __future__ import annotations

import fcntl
import os
import secrets
import shutil
import stat
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path

import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo

from migrator.errors import StoppedError, TargetError
from migrator.targets.base import Connection, Target
from migrator.targets.embedded import SETTINGS, EmbeddedTarget
from migrator.targets.server import ServerTarget

# No data has to survive a crash.
_FAST_SETTINGS = {**SETTINGS, "fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
PREFIX = "migrate_dry_run_"
FOLDER_PREFIX = "migrate-scratch-"
_OWNER = "owner.lock"
_NEW = 60  # seconds
_NEEDED = 32 << 20  # bytes: files of the write-ahead log have 16 MB


@contextmanager
def ephemeral_target(*, production_settings: bool = False) -> Iterator[Target]:
    """Open an empty embedded database and delete it at the end of the block.

    `production_settings`: with the durability settings of an embedded target, to measure realistic durations.
    """
    _remove_abandoned()
    with ExitStack() as undo:
        folder = Path(tempfile.mkdtemp(prefix=FOLDER_PREFIX))
        undo.callback(shutil.rmtree, folder, ignore_errors=True)
        undo.enter_context(_own(folder))
        settings = SETTINGS if production_settings else _FAST_SETTINGS
        target = EmbeddedTarget(folder / "postgres", settings=settings, durable=False)
        undo.callback(target.close)
        try:
            yield target
        except (psycopg.Error, TargetError, StoppedError) as error:
            _explain_full_disk(error, folder)
            raise


def _explain_full_disk(error: Exception, folder: Path) -> None:
    """Raises: `StoppedError` if the server had no space for its next file: then it ends, and connections are lost."""
    space = os.statvfs(folder)
    if isinstance(error, psycopg.errors.DiskFull) or space.f_bavail * space.f_frsize < _NEEDED:
        raise StoppedError(
            f"no disk space left in {folder.parent}, which holds the temporary database of the dry run",
            hint="Free disk space, or set TMPDIR to a folder on another disk. Then run the same command again.",
        ) from error


@contextmanager
def _own(folder: Path) -> Iterator[None]:
    """Hold a lock in the folder, which ends with this process, in the block."""
    with (folder / _OWNER).open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _remove_abandoned() -> None:
    """Delete the folders of killed commands of this user: those that are not locked. New ones may not be locked yet."""
    for folder in Path(tempfile.gettempdir()).glob(f"{FOLDER_PREFIX}*"):
        with suppress(OSError):
            found = folder.lstat()
            if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
                continue
            if time.time() - (folder / _OWNER).lstat().st_mtime < _NEW:
                continue
            with (folder / _OWNER).open() as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def ephemeral_database(target: Target) -> Iterator[Target]:
    """Create an empty database on the server of `target` and drop it at the end of the block.

    Databases that killed dry runs left behind are dropped, too.

    Raises:
        TargetError: the role of the target may not create databases.
    """
    name = f"{PREFIX}{os.getpid()}_{secrets.token_hex(4)}"
    with closing(target.connect()) as connection:
        drop_abandoned(connection)
        try:
            connection.execute(sql.SQL("CREATE DATABASE {} TEMPLATE template0").format(sql.Identifier(name)))
        except psycopg.errors.InsufficientPrivilege as error:
            raise TargetError(
                f"the target role may not create a database for the dry run: {error.diag.message_primary}",
                hint="Run ALTER ROLE … CREATEDB, or use an embedded PostgreSQL: --rehearse-in embedded.",
            ) from error
        try:
            database = ServerTarget(make_conninfo(target.dsn, dbname=name))
            with closing(database), closing(database.connect()):  # `drop_abandoned` skips a database with a connection
                yield database
        finally:
            # A new connection, because the one above may be lost.
            with closing(target.connect()) as again:
                again.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))


def drop_abandoned(connection: Connection) -> None:
    """Drop the databases of killed dry runs: those without a connection."""
    query = (
        "SELECT datname FROM pg_database d WHERE starts_with(datname, %s) AND pg_has_role(datdba, 'MEMBER')"
        " AND NOT EXISTS (SELECT FROM pg_stat_activity a WHERE a.datid = d.oid)"
    )
    for (name,) in connection.execute(query, (PREFIX,)).fetchall():
        connection.execute(sql.SQL("DROP DATABASE IF EXISTS {}").format(sql.Identifier(name)))
