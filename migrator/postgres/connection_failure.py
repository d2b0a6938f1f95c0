"""Explains a failed connection attempt: cause, remedy, and whether a later attempt may succeed.

The texts of the server and of libpq may be in any language, so they are shown but never compared. What decides is the
SQLSTATE, the state of libpq's connection, and what the operating system says about host and port. libpq does not keep
the SQLSTATE of a failed attempt, therefore `read_sqlstate` makes another one, whose message is the SQLSTATE.
"""

from __future__ import annotations

import ctypes
import re
import select
import socket
import struct
import time
from contextlib import closing
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import psycopg
from psycopg import pq
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from migrator.errors import TargetError
from migrator.masking import Secrets

SECONDS = 5  # the longest wait for one answer
CONNECTED = "00000"
ONLY_SQLSTATE = 3  # PQERRORS_SQLSTATE
_SSL_REQUEST = struct.pack("!II", 8, 80877103)
_STATE = re.compile(rb":\s+([0-9A-Z]{5})\s*$")


class Cause(NamedTuple):
    """Why an attempt failed, and what to do. `transient`: a later attempt may succeed."""

    cause: str
    remedy: str
    transient: bool = False


LOGIN = Cause(
    "authentication failed",
    "Check user and password in target.url. Write special characters of the password as %XX.",
)
STARTING = Cause("the server is starting up or shutting down", "Retry in a minute.", transient=True)
NEEDS_TLS = Cause("the server requires TLS", "Add ?sslmode=require to target.url.")
NO_TLS = Cause("the server does not support TLS", "Remove sslmode from target.url, if the network is trusted.")
HANDSHAKE = Cause(
    "the TLS handshake failed",
    "Check sslmode and sslrootcert in target.url, and the certificate of the server.",
)
UNKNOWN_HOST = Cause("unknown host", "Check the host name in target.url.")
NO_ANSWER = Cause(
    "connection timed out",
    "Check host, port and firewall. ?connect_timeout=SECONDS in target.url sets a longer timeout.",
    transient=True,
)
NO_SERVER = Cause(
    "connection refused",
    "Check that PostgreSQL is running, and check host and port in target.url.",
    transient=True,
)
BY_STATE = {
    "28P01": LOGIN,
    "28000": Cause(
        "the server does not accept this user from this host",
        "Check that the role exists and may log in, and that pg_hba.conf on the server permits it from this host.",
    ),
    "3D000": Cause("the database does not exist", "Create it with createdb, or use another one in target.url."),
    "42501": Cause(
        "the user may not connect to the database", "GRANT CONNECT ON DATABASE … TO …; or use another user."
    ),
    "55000": Cause("the database does not accept connections", "ALTER DATABASE … ALLOW_CONNECTIONS true;"),
    "53300": Cause(
        "the server has no free connection", "Close other connections, or lower engine.workers.", transient=True
    ),
    "57P01": STARTING,
    "57P02": STARTING,
    "57P03": STARTING,
}


def explain_connection_error(
    error: psycopg.Error, dsn: str, label: str, secrets: Secrets, key: str = "target.url"
) -> TargetError:
    """Return cause and remedy of a failed connection attempt, without secrets. `key` is the setting to correct."""
    text = secrets.mask(" ".join(str(error).split()))
    known = find_cause(error, dsn)
    if known is None:
        return TargetError(f"cannot connect to {label}: {text}", f"Check {key} and the log of the server.")
    failure = TargetError(f"cannot connect to {label}: {known.cause} ({text})", known.remedy.replace("target.url", key))
    failure.transient = known.transient
    return failure


def find_cause(error: psycopg.Error, dsn: str) -> Cause | None:
    """Return why an attempt to connect with `dsn` failed; None if it is unknown."""
    if isinstance(error, psycopg.errors.ConnectionTimeout):
        return NO_ANSWER
    if error.sqlstate is not None:
        return BY_STATE.get(error.sqlstate)
    parts = {name: str(value) for name, value in conninfo_to_dict(dsn).items() if value is not None}
    hosts = parts.get("hostaddr", parts.get("host", "")).split(",")
    if len(hosts) == 1 and (unreachable := probe_host(hosts[0], _port(parts))) is not None:
        return unreachable
    state = read_sqlstate(dsn)
    if state == "28000" and _is_refused_without_tls(dsn, parts):
        return NEEDS_TLS
    if state is not None and state != CONNECTED:
        return BY_STATE.get(state)
    if error.pgconn is not None and error.pgconn.needs_password:
        return LOGIN
    if len(hosts) == 1 and not _is_socket(hosts[0]):
        return _probe_tls(hosts[0], _port(parts), parts.get("sslmode", "prefer"))
    return None


def probe_host(host: str, port: int) -> Cause | None:
    """Return why nothing answers at an address; None if something accepts connections there."""
    try:
        with closing(_connect(host, port)):
            return None
    except socket.gaierror:
        return UNKNOWN_HOST
    except (ConnectionError, FileNotFoundError, PermissionError):
        return NO_SERVER
    except OSError:  # a timeout, or no route
        return NO_ANSWER


def read_sqlstate(dsn: str, seconds: float = SECONDS) -> str | None:
    """Try to connect, and return the SQLSTATE of the server's answer: `CONNECTED` if it accepts; None without one."""
    library = _load_libpq()
    if library is None:
        return None
    connection = pq.PGconn.connect_start(dsn.encode())
    try:
        pointer: int | None = getattr(connection, "pgconn_ptr", None)  # psycopg's protocol does not declare it
        library.PQsetErrorVerbosity(pointer, ONLY_SQLSTATE)
        deadline, waits = time.monotonic() + seconds, pq.PollingStatus.WRITING
        while connection.status != pq.ConnStatus.BAD and (left := deadline - time.monotonic()) > 0:
            if waits == pq.PollingStatus.OK:
                return CONNECTED
            if waits == pq.PollingStatus.FAILED:
                break
            files = [connection.socket]
            reading = files if waits == pq.PollingStatus.READING else []
            select.select(reading, [] if reading else files, [], left)
            waits = pq.PollingStatus(connection.connect_poll())
        found = _STATE.search(connection.error_message)
        return found.group(1).decode() if found else None
    finally:
        connection.finish()


@cache
def _load_libpq() -> Any:
    """Return the libpq that psycopg has loaded; None if it cannot be found."""
    try:
        paths = set(re.findall(r"/\S*/libpq[-.]\S*", Path("/proc/self/maps").read_text(encoding="utf-8")))
        library = ctypes.CDLL(min(paths))
    except (OSError, ValueError):
        return None
    library.PQsetErrorVerbosity.argtypes = [ctypes.c_void_p, ctypes.c_int]
    return library


def _is_refused_without_tls(dsn: str, parts: dict[str, str]) -> bool:
    """Return whether the server refuses connections without TLS only."""
    if parts.get("sslmode", "prefer") not in ("disable", "allow") or _is_socket(parts.get("host", "")):
        return False
    return read_sqlstate(make_conninfo(dsn, sslmode="require")) not in (None, "28000")


def _probe_tls(host: str, port: int, mode: str) -> Cause | None:
    """Return what is wrong with TLS at a server that answers; None if it is something else."""
    try:
        with closing(_connect(host, port)) as probe:
            probe.sendall(_SSL_REQUEST)
            answer = probe.recv(1)
    except OSError:
        return NO_ANSWER
    if answer == b"N" and mode in ("require", "verify-ca", "verify-full"):
        return NO_TLS
    if answer == b"S" and mode != "disable":
        return HANDSHAKE
    return None if answer else NO_SERVER  # the server closes each connection at once


def _connect(host: str, port: int) -> socket.socket:
    if _is_socket(host):
        probe = socket.socket(socket.AF_UNIX)
        probe.settimeout(SECONDS)
        folder = host or "/tmp"
        probe.connect(f"\0{folder[1:]}/.s.PGSQL.{port}" if folder.startswith("@") else f"{folder}/.s.PGSQL.{port}")
        return probe
    return socket.create_connection((host, port), SECONDS)


def _is_socket(host: str) -> bool:
    return not host or host.startswith(("/", "@"))


def _port(parts: dict[str, str]) -> int:
    port = parts.get("port", "") or "5432"
    return int(port) if port.isdecimal() else 0
