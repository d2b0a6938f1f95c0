"""Connection strings and failed connections in words."""

from __future__ import annotations

import re

import psycopg
from psycopg.conninfo import conninfo_to_dict

from migrator.errors import TargetError, UsageError
from migrator.masking import Secrets

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


def explain_connection_error(
    error: psycopg.Error, label: str, secrets: Secrets, key: str = "target.url"
) -> TargetError:
    """Why there is no connection, in words without secrets; `key` is what to correct in migrate.toml."""
    text = secrets.mask(" ".join(str(error).split()))
    for pattern, cause, remedy in _CAUSES:
        if re.search(pattern, text):
            failure = TargetError(f"cannot connect to {label}: {cause} ({text})", remedy.replace("target.url", key))
            failure.transient = cause in _PASSING
            return failure
    return TargetError(f"cannot connect to {label}: {text}", f"check {key}, and the server's log")
