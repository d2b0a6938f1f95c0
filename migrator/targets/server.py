"""A PostgreSQL server reached by URL: connecting, and what went wrong in words when it does not work.

Not here: starting a server (embedded.py).
"""

from __future__ import annotations

import re
import shutil

import psycopg
from psycopg import pq
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from migrator.errors import TargetError, UsageError
from migrator.masking import Secrets, url_secrets
from migrator.targets.base import OLDEST_VERSION, Connection
from migrator.targets.guard import GUARD

_SECRET = frozenset(
    option.keyword.decode()
    for option in pq.Conninfo.get_defaults()
    if option.dispchar == b"*" or option.keyword.startswith(b"scram_")
)  # libpq's own word on what is not to be shown, but for the keys that stand for a password
WORKER = "migrate worker"  # such sessions work for whoever holds the lock (lock.py)
_CONNECT_TIMEOUT = 10  # seconds, unless the URL says otherwise

# A role or database may have settings of its own (ALTER ROLE … SET) that end a long COPY or index build. They are set
# after connecting and not as startup parameters, which PgBouncer refuses.
_SESSION = """
    SELECT set_config(name, value, false)
    FROM (VALUES ('TimeZone', 'UTC'), ('statement_timeout', '0'), ('lock_timeout', '0'),
                 ('idle_in_transaction_session_timeout', '0'), ('transaction_timeout', '0'),
                 -- The server, too, has to notice that we are gone: its sessions hold locks.
                 ('tcp_keepalives_idle', '30'), ('tcp_keepalives_interval', '10'), ('tcp_keepalives_count', '6'),
                 ('tcp_user_timeout', '120000')) AS wanted (name, value)
    WHERE name IN (SELECT s.name FROM pg_settings AS s)
"""

# libpq gives no SQLSTATE for a failed connection, only its text: (pattern, what it means, what to do).
_CAUSES: tuple[tuple[str, str, str], ...] = (
    (
        r"failed to resolve host|could not translate host name|Name or service not known",
        "the host is unknown",
        "check the host's name in target.url",
    ),
    (
        r"no password supplied|password authentication failed|authentication failed",
        "user or password is wrong",
        "check both in target.url; write special characters of the password as %XX",
    ),
    (r"role .* does not exist", "the user does not exist", "create the role, or name another one in target.url"),
    (r"database .* does not exist", "the database does not exist", "create it with createdb, or name another one"),
    (
        r"no encryption|SSL off|SSL connection is required|requires? (SSL|TLS|encryption)",
        "the server wants TLS",
        "add ?sslmode=require to target.url",
    ),
    (
        r"server does not support SSL",
        "the server has no TLS",
        "take sslmode out of target.url, if the network allows that",
    ),
    (
        r"certificate|SSL error",
        "TLS could not be established",
        "check sslmode, sslrootcert and the server's certificate",
    ),
    (r"no pg_hba\.conf entry", "the server lets nobody in from here", "add this host to the server's pg_hba.conf"),
    (
        r"timeout expired|timed out|No route to host|[Nn]etwork is unreachable",
        "no answer in time",
        "check host, port and firewall; ?connect_timeout=SECONDS in target.url waits longer",
    ),
    (
        r"Connection refused|No such file or directory|Connection reset|closed the connection unexpectedly",
        "the connection was refused",
        "is PostgreSQL running there, and is the port right?",
    ),
    (
        r"too many (clients|connections)|remaining connection slots",
        "the server has no connection left",
        "close other connections, or lower engine.workers",
    ),
    (
        r"starting up|shutting down|recovery mode|not yet accepting",
        "the server is starting or stopping",
        "try again in a minute",
    ),
)


_PASSING = {
    "no answer in time",
    "the connection was refused",
    "the server has no connection left",
    "the server is starting or stopping",
}

# A network that stalls is noticed after some two minutes instead of hours; libpq ignores these on a socket.
_STALLED = {"keepalives_idle": "30", "keepalives_interval": "10", "keepalives_count": "6", "tcp_user_timeout": "120000"}


class ServerTarget:
    """A database on a server. Nothing is kept open between connections."""

    def __init__(self, url: str) -> None:
        self._secrets = Secrets(url_secrets(url))
        self._parts = parse_url(url, self._secrets)
        self.dsn = make_conninfo("", **{"connect_timeout": str(_CONNECT_TIMEOUT)} | _STALLED | self._parts)
        self.label = label_of(self._parts)

    def __repr__(self) -> str:
        return f"ServerTarget({self.label})"

    def connect(self) -> Connection:
        return open_connection(self.dsn, self.label, self._secrets)

    def psql_command(self) -> list[str]:
        # There is no variable for the passphrase of `sslkey`: where one is needed psql asks for it.
        public = {key: value for key, value in self._parts.items() if key not in _SECRET}
        return [_find_psql(), make_conninfo("", **public)]

    def psql_environment(self) -> dict[str, str]:
        return {"PGPASSWORD": self._parts["password"]} if "password" in self._parts else {}

    def close(self) -> None:
        """There is nothing to end."""


def open_connection(dsn: str, label: str, secrets: Secrets, name: str = "migrate") -> Connection:
    """Connects as `Target.connect` promises; whatever goes wrong becomes a `TargetError` without secrets."""
    try:
        connection = psycopg.connect(dsn, autocommit=True, application_name=name, client_encoding="UTF8")
    except psycopg.Error as error:
        raise explain(error, label, secrets) from None
    GUARD.watch(connection, dsn)
    try:
        _check_version(connection, label)
        connection.execute(_SESSION)
    except psycopg.Error as error:
        connection.close()
        raise explain(error, label, secrets) from None
    except TargetError:
        connection.close()
        raise
    return connection


def connect_worker(dsn: str) -> Connection:
    """A further connection to a target that is known by its `dsn`."""
    parts = {key: str(value) for key, value in conninfo_to_dict(dsn).items() if value is not None}
    secrets = Secrets(parts[key] for key in _SECRET if key in parts)
    return open_connection(dsn, label_of(parts), secrets, WORKER)


def parse_url(url: str, secrets: Secrets, key: str = "target.url") -> dict[str, str]:
    """libpq's parameters in a URL. Raises `UsageError`; `key` is what to call it in migrate.toml."""
    try:
        return {key: str(value) for key, value in conninfo_to_dict(url).items() if value is not None}
    except psycopg.ProgrammingError as error:
        # What libpq quotes may be the rest of a password with bare special characters.
        said = secrets.mask(str(error).partition('"')[0].strip(" :"))
        hint = "write it as postgresql://USER:PASSWORD@HOST:PORT/DATABASE?sslmode=require, special characters as %XX"
        raise UsageError(f"{key} is no connection string: {said}", hint) from None


def label_of(parts: dict[str, str]) -> str:
    """How to name a database in output."""
    user = f"{parts['user']}@" if "user" in parts else ""
    port = f":{parts['port']}" if "port" in parts else ""
    return f"postgresql://{user}{parts.get('host', 'localhost')}{port}/{parts.get('dbname', parts.get('user', ''))}"


def _check_version(connection: Connection, label: str) -> None:
    found = connection.info.server_version // 10_000
    if found < OLDEST_VERSION:
        message = f"{label} runs PostgreSQL {found}; migrate needs {OLDEST_VERSION} or later"
        raise TargetError(message, "upgrade the server, or name another one in target.url")


def explain(error: psycopg.Error, label: str, secrets: Secrets, key: str = "target.url") -> TargetError:
    """Why there is no connection, in words without secrets; `key` is what to correct in migrate.toml."""
    text = secrets.mask(" ".join(str(error).split()))
    for pattern, cause, remedy in _CAUSES:
        if re.search(pattern, text):
            failure = TargetError(f"cannot connect to {label}: {cause} ({text})", remedy.replace("target.url", key))
            failure.transient = cause in _PASSING
            return failure
    return TargetError(f"cannot connect to {label}: {text}", f"check {key}, and the server's log")


def _find_psql() -> str:
    """The machine's psql, else the bundled one: it talks to servers of any version."""
    from migrator.targets.bundled import program_path  # on demand, see open_target

    return shutil.which("psql") or str(program_path("psql"))
