"""Throw-away databases to rehearse in: an embedded server in a temporary folder, or a database beside the target."""

from __future__ import annotations

import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo

from migrator.errors import TargetError
from migrator.targets.base import Connection, Target
from migrator.targets.embedded import SETTINGS, EmbeddedTarget
from migrator.targets.server import ServerTarget

# Nothing here has to outlive a crash.
_CARELESS = {**SETTINGS, "fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
PREFIX = "migrate_rehearsal_"


@contextmanager
def ephemeral_target(*, production_settings: bool = False) -> Iterator[Target]:
    """An empty embedded database that lives as long as the `with` block, whatever ends it.

    `production_settings`: with the settings of an embedded target, for who wants to know how long that takes.
    """
    with ExitStack() as undo:
        folder = Path(tempfile.mkdtemp(prefix="migrate-scratch-"))
        undo.callback(shutil.rmtree, folder, ignore_errors=True)
        target = EmbeddedTarget(
            folder / "postgres", settings=SETTINGS if production_settings else _CARELESS, durable=False
        )
        undo.callback(target.close)
        yield target


@contextmanager
def ephemeral_database(target: Target) -> Iterator[Target]:
    """An empty database on the target's own server, dropped at the end; those of killed rehearsals go, too.

    Raises `TargetError` where the target's role may not make databases.
    """
    name = f"{PREFIX}{os.getpid()}_{secrets.token_hex(4)}"
    with closing(target.connect()) as connection:
        drop_left_over(connection)
        try:
            connection.execute(sql.SQL("CREATE DATABASE {} TEMPLATE template0").format(sql.Identifier(name)))
        except psycopg.errors.InsufficientPrivilege as error:
            raise TargetError(
                f"the target's role may not make a database to rehearse in: {error.diag.message_primary}",
                hint="ALTER ROLE … CREATEDB, or rehearse in an embedded PostgreSQL (--rehearse-in embedded).",
            ) from error
        try:
            beside = ServerTarget(make_conninfo(target.dsn, dbname=name))
            with closing(beside.connect()):  # while it is in use nobody takes it for left over
                yield beside
        finally:
            # The session above may have been what failed.
            with closing(target.connect()) as again:
                again.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))


def drop_left_over(connection: Connection) -> None:
    """Databases of rehearsals that were killed: nobody is connected to them."""
    query = (
        "SELECT datname FROM pg_database d WHERE starts_with(datname, %s) AND pg_has_role(datdba, 'MEMBER')"
        " AND NOT EXISTS (SELECT FROM pg_stat_activity a WHERE a.datid = d.oid)"
    )
    for (name,) in connection.execute(query, (PREFIX,)).fetchall():
        connection.execute(sql.SQL("DROP DATABASE IF EXISTS {}").format(sql.Identifier(name)))
