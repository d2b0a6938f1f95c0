"""A PostgreSQL server reached by URL: connections to it.

Not here: starting a server (`embedded.py`), the texts for failed connections (`postgres/conninfo.py`).
"""

from __future__ import annotations

import shutil

import psycopg
from psycopg import pq
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from migrator.errors import TargetError
from migrator.masking import Secrets, url_secrets
from migrator.postgres.conninfo import explain_connection_error, label_of, parse_url
from migrator.targets.base import OLDEST_VERSION, Connection
from migrator.targets.watchdog import WATCHDOG

_SECRET = frozenset(
    option.keyword.decode()
    for option in pq.Conninfo.get_defaults()
    if option.dispchar == b"*" or option.keyword.startswith(b"scram_")
)  # options that libpq marks as secret, and the SCRAM keys, which are as good as a password
WORKER = "migrate worker"  # application_name of the sessions that work for the process with the lock (state/lock.py)
_CONNECT_TIMEOUT = 10  # seconds, unless the URL says otherwise

# Settings of the role or database (ALTER ROLE … SET) could cancel a long COPY or index build, so each session sets its
# own. It does so after connecting, because PgBouncer refuses startup parameters.
_SESSION = """
    SELECT set_config(name, value, false)
    FROM (VALUES ('TimeZone', 'UTC'), ('statement_timeout', '0'), ('lock_timeout', '0'),
                 ('idle_in_transaction_session_timeout', '0'), ('transaction_timeout', '0'),
                 -- The server must notice a lost client, too: its session holds locks.
                 ('tcp_keepalives_idle', '30'), ('tcp_keepalives_interval', '10'), ('tcp_keepalives_count', '6'),
                 ('tcp_user_timeout', '120000')) AS wanted (name, value)
    WHERE name IN (SELECT s.name FROM pg_settings AS s)
"""


# Detect a stalled network after about two minutes instead of hours. libpq ignores these options on a Unix socket.
_KEEPALIVE = {
    "keepalives_idle": "30",
    "keepalives_interval": "10",
    "keepalives_count": "6",
    "tcp_user_timeout": "120000",
}


class ServerTarget:
    """A database on a server. It keeps no connection open."""

    def __init__(self, url: str) -> None:
        self._secrets = Secrets(url_secrets(url))
        self._parts = parse_url(url, self._secrets)
        self.dsn = make_conninfo("", **{"connect_timeout": str(_CONNECT_TIMEOUT)} | _KEEPALIVE | self._parts)
        self.label = label_of(self._parts)

    def __repr__(self) -> str:
        return f"ServerTarget({self.label})"

    def connect(self) -> Connection:
        return open_connection(self.dsn, self.label, self._secrets)

    def psql_command(self) -> list[str]:
        # libpq has no environment variable for the passphrase of `sslkey`; psql prompts for it.
        public = {key: value for key, value in self._parts.items() if key not in _SECRET}
        return [_find_psql(), make_conninfo("", **public)]

    def psql_environment(self) -> dict[str, str]:
        return {"PGPASSWORD": self._parts["password"]} if "password" in self._parts else {}

    def close(self) -> None:
        """Do nothing: this target starts nothing."""


def open_connection(dsn: str, label: str, secrets: Secrets, name: str = "migrate") -> Connection:
    """Return a connection as `Target.connect` defines it. All errors become a `TargetError` without secrets."""
    try:
        connection = psycopg.connect(dsn, autocommit=True, application_name=name, client_encoding="UTF8")
    except psycopg.Error as error:
        raise explain_connection_error(error, label, secrets) from None
    WATCHDOG.watch(connection, dsn)
    try:
        _check_version(connection, label)
        connection.execute(_SESSION)
    except psycopg.Error as error:
        connection.close()
        raise explain_connection_error(error, label, secrets) from None
    except TargetError:
        connection.close()
        raise
    return connection


def connect_worker(dsn: str) -> Connection:
    """Return a connection of a worker to the target with this `dsn`."""
    parts = {key: str(value) for key, value in conninfo_to_dict(dsn).items() if value is not None}
    secrets = Secrets(parts[key] for key in _SECRET if key in parts)
    return open_connection(dsn, label_of(parts), secrets, WORKER)


def _check_version(connection: Connection, label: str) -> None:
    found = connection.info.server_version // 10_000
    if found < OLDEST_VERSION:
        message = f"{label} runs PostgreSQL {found}; the oldest supported version is {OLDEST_VERSION}"
        raise TargetError(message, "Upgrade the server, or use another one in target.url.")


def _find_psql() -> str:
    """Return the path of psql on this machine, else of the bundled one, which supports servers of any version."""
    from migrator.targets.bundled import program_path  # imported on demand, see `open_target`

    return shutil.which("psql") or str(program_path("psql"))
