"""Connection strings: parse them, name a database in output, and explain a failed connection attempt.

Not here: errors on an open connection (`errors.py`).
"""

from __future__ import annotations

import re
from typing import NamedTuple

import psycopg
from psycopg.conninfo import conninfo_to_dict

from migrator.errors import TargetError, UsageError
from migrator.masking import Secrets


class _Cause(NamedTuple):
    """`pattern` recognizes the text of libpq or the server. `transient`: a later attempt may succeed."""

    pattern: str
    cause: str
    remedy: str
    transient: bool = False


# For a failed connection attempt, libpq gives a text only, no SQLSTATE. The first match wins.
_CAUSES = (
    _Cause(
        r"failed to resolve host|could not translate host name|Name or service not known",
        "unknown host",
        "Check the host name in target.url.",
    ),
    _Cause(
        r"no password supplied|password authentication failed|authentication failed",
        "authentication failed",
        "Check user and password in target.url. Write special characters of the password as %XX.",
    ),
    _Cause(r"role .* does not exist", "the user does not exist", "Create the role, or use another one in target.url."),
    _Cause(
        r"database .* does not exist",
        "the database does not exist",
        "Create it with createdb, or use another one in target.url.",
    ),
    _Cause(
        r"no encryption|SSL off|SSL connection is required|requires? (SSL|TLS|encryption)",
        "the server requires TLS",
        "Add ?sslmode=require to target.url.",
    ),
    _Cause(
        r"server does not support SSL",
        "the server does not support TLS",
        "Remove sslmode from target.url, if the network is trusted.",
    ),
    _Cause(
        r"certificate|SSL error",
        "the TLS handshake failed",
        "Check sslmode and sslrootcert in target.url, and the certificate of the server.",
    ),
    _Cause(
        r"no pg_hba\.conf entry",
        "the server does not accept connections from this host",
        "Add this host to pg_hba.conf on the server.",
    ),
    _Cause(
        r"timeout expired|timed out|No route to host|[Nn]etwork is unreachable",
        "connection timed out",
        "Check host, port and firewall. ?connect_timeout=SECONDS in target.url sets a longer timeout.",
        transient=True,
    ),
    _Cause(
        r"Connection refused|No such file or directory|Connection reset|closed the connection unexpectedly",
        "connection refused",
        "Check that PostgreSQL is running, and check host and port in target.url.",
        transient=True,
    ),
    _Cause(
        r"too many (clients|connections)|remaining connection slots",
        "the server has no free connection",
        "Close other connections, or lower engine.workers.",
        transient=True,
    ),
    _Cause(
        r"starting up|shutting down|recovery mode|not yet accepting",
        "the server is starting up or shutting down",
        "Retry in a minute.",
        transient=True,
    ),
)


def parse_url(url: str, secrets: Secrets, key: str = "target.url") -> dict[str, str]:
    """Return the libpq parameters in a URL. `key` is its name in migrate.toml.

    Raises:
        UsageError: the URL is not a valid connection string.
    """
    try:
        return {key: str(value) for key, value in conninfo_to_dict(url).items() if value is not None}
    except psycopg.ProgrammingError as error:
        # The text that libpq quotes can be part of a password with unescaped special characters.
        reason = secrets.mask(str(error).partition('"')[0].strip(" :"))
        hint = "Write it as postgresql://USER:PASSWORD@HOST:PORT/DATABASE?sslmode=require, special characters as %XX."
        raise UsageError(f"{key} is not a valid connection string: {reason}", hint) from None


def label_of(parts: dict[str, str]) -> str:
    """Return the name of a database for output, without secrets."""
    user = f"{parts['user']}@" if "user" in parts else ""
    port = f":{parts['port']}" if "port" in parts else ""
    return f"postgresql://{user}{parts.get('host', 'localhost')}{port}/{parts.get('dbname', parts.get('user', ''))}"


def explain_connection_error(
    error: psycopg.Error, label: str, secrets: Secrets, key: str = "target.url"
) -> TargetError:
    """Return cause and remedy of a failed connection attempt, without secrets. `key` is the setting to correct."""
    text = secrets.mask(" ".join(str(error).split()))
    for known in _CAUSES:
        if re.search(known.pattern, text):
            remedy = known.remedy.replace("target.url", key)
            failure = TargetError(f"cannot connect to {label}: {known.cause} ({text})", remedy)
            failure.transient = known.transient
            return failure
    return TargetError(f"cannot connect to {label}: {text}", f"Check {key} and the log of the server.")
