"""A PostgreSQL server reached by URL: connections to it.

Not here: starting a server (`embedded.py`), the texts for failed connections (`postgres/connection_failure.py`).
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from contextlib import closing

import psycopg
from psycopg import pq
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from migrator.errors import TargetError
from migrator.masking import Secrets, url_secrets
from migrator.postgres.connection_failure import explain_connection_error
from migrator.postgres.conninfo import label_of, parse_url
from migrator.postgres.pooler import refuse_transaction_pooling
from migrator.postgres.session import prepare_session
from migrator.targets.base import OLDEST_VERSION, Connection
from migrator.targets.sessions import KeptSessions, Session
from migrator.targets.watchdog import WATCHDOG

_SECRET = frozenset(
    option.keyword.decode()
    for option in pq.Conninfo.get_defaults()
    if option.dispchar == b"*" or option.keyword.startswith(b"scram_")
)  # options that libpq marks as secret, and the SCRAM keys, which are as good as a password
WORKER = "migrate worker"  # application_name of the sessions that work for the process with the lock (state/lock.py)
_CONNECT_TIMEOUT = 10  # seconds, unless the URL says otherwise

# Detect a stalled network after about two minutes instead of hours. libpq ignores these options on a Unix socket.
_KEEPALIVE = {
    "keepalives_idle": "30",
    "keepalives_interval": "10",
    "keepalives_count": "6",
    "tcp_user_timeout": "120000",
}


class ServerTarget:
    """A database on a server."""

    def __init__(self, url: str) -> None:
        self._secrets = Secrets(url_secrets(url))
        self._parts = parse_url(url, self._secrets)
        self.dsn = make_conninfo("", **{"connect_timeout": str(_CONNECT_TIMEOUT)} | _KEEPALIVE | self._parts)
        self.label = label_of(self._parts)
        self._pooling_checked = False
        self._kept = KeptSessions()

    def __repr__(self) -> str:
        return f"ServerTarget({self.label})"

    def connect(self) -> Connection:
        return reopen(self._kept, self.dsn) or open_connection(
            self.dsn, self.label, self._secrets, check=self._check_pooling, kept=self._kept
        )

    def _check_pooling(self, connection: Connection) -> None:
        """Refuse a pooler in transaction mode before settings are made: they would reach other sessions."""
        if not self._pooling_checked:
            with closing(_connect(self.dsn, self.label, self._secrets)) as other:
                refuse_transaction_pooling(connection, other, self.label)
                self._kept.offer(other)
            self._pooling_checked = True

    def psql_command(self) -> list[str]:
        # libpq has no environment variable for the passphrase of `sslkey`; psql prompts for it.
        public = {key: value for key, value in self._parts.items() if key not in _SECRET}
        return [_find_psql(), make_conninfo("", **public)]

    def psql_environment(self) -> dict[str, str]:
        return {"PGPASSWORD": self._parts["password"]} if "password" in self._parts else {}

    def close(self) -> None:
        """End the sessions that are kept for the next `connect`."""
        self._kept.close()


def open_connection(
    dsn: str,
    label: str,
    secrets: Secrets,
    name: str = "migrate",
    check: Callable[[Connection], None] | None = None,
    kept: KeptSessions | None = None,
) -> Connection:
    """Return a connection as `Target.connect` defines it. `check` is called before settings are made.

    `kept` gets its session when it is closed.

    Raises:
        TargetError: the connection failed; the error contains no secrets.
    """
    connection = _connect(dsn, label, secrets, name)
    WATCHDOG.watch(connection, dsn)
    try:
        _check_version(connection, label)
        if check is not None:
            check(connection)
        prepare_session(connection)
    except psycopg.Error as error:
        connection.close()
        raise explain_connection_error(error, dsn, label, secrets) from None
    except TargetError:
        connection.close()
        raise
    if kept is not None:
        kept.offer(connection)
    return connection


def reopen(kept: KeptSessions, dsn: str) -> Connection | None:
    """Return a connection with a kept session, as a new one would be; None if there is no usable one."""
    while (connection := kept.take()) is not None:
        try:
            prepare_session(connection)
        except psycopg.Error:  # the session was lost in the meantime
            connection.close()
            continue
        WATCHDOG.watch(connection, dsn)
        kept.offer(connection)
        return connection
    return None


def _connect(dsn: str, label: str, secrets: Secrets, name: str = "migrate") -> Session:
    try:
        return Session.connect(dsn, autocommit=True, application_name=name, client_encoding="UTF8")
    except psycopg.Error as error:
        raise explain_connection_error(error, dsn, label, secrets) from None


def connect_worker(dsn: str, kept: KeptSessions | None = None) -> Connection:
    """Return a connection of a worker to the target with this `dsn`."""
    parts = {key: str(value) for key, value in conninfo_to_dict(dsn).items() if value is not None}
    secrets = Secrets(parts[key] for key in _SECRET if key in parts)
    return open_connection(dsn, label_of(parts), secrets, WORKER, kept=kept)


class WorkerSessions:
    """The sessions of workers in this process, several times one after the other."""

    def __init__(self, dsn: str) -> None:
        self.dsn, self._kept = dsn, KeptSessions()

    def connect(self) -> Connection:
        return reopen(self._kept, self.dsn) or connect_worker(self.dsn, self._kept)

    def close(self) -> None:
        """End the sessions that are kept for the next `connect`."""
        self._kept.close()


def _check_version(connection: Connection, label: str) -> None:
    found = connection.info.server_version // 10_000
    if found < OLDEST_VERSION:
        message = f"{label} runs PostgreSQL {found}; the oldest supported version is {OLDEST_VERSION}"
        raise TargetError(message, "Upgrade the server, or use another one in target.url.")


def _find_psql() -> str:
    """Return the path of psql on this machine, else of the bundled one, which supports servers of any version."""
    from migrator.targets.bundled import program_path  # imported on demand, see `open_target`

    return shutil.which("psql") or str(program_path("psql"))
