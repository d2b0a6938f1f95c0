"""PgBouncer from Debian in front of a test server, in session or transaction mode."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

NOBODY = 65534
SEARCHED = os.environ.get("PATH", "") + ":/usr/sbin"


@cache
def program() -> str:
    """The path of pgbouncer. Where it is missing root installs Debian's package; elsewhere the test is skipped."""
    if found := shutil.which("pgbouncer", path=SEARCHED):
        return found
    if os.getuid() == 0 and shutil.which("apt-get"):
        for command in (["update", "-qq"], ["install", "-y", "-qq", "pgbouncer"]):
            subprocess.run(["apt-get", "-o", "DPkg::Lock::Timeout=120", *command], check=False, capture_output=True)
    found = shutil.which("pgbouncer", path=SEARCHED)
    if found is None:
        pytest.skip("PgBouncer is not installed (Debian: apt-get install pgbouncer)")
    return found


@contextmanager
def pooled(database_url: str, mode: str, pool_size: int = 20) -> Iterator[str]:
    """Runs a pooler in front of the server of a URL; yields the URL of the same database through the pooler."""
    parts = {key: str(value) for key, value in conninfo_to_dict(database_url).items() if value}
    with tempfile.TemporaryDirectory(prefix="pgbouncer-") as name:
        folder = Path(name)
        folder.chmod(0o777)
        port = _free_port()
        server = {key: parts[key] for key in ("host", "port", "user", "password") if key in parts}
        user, password = parts.get("user", "postgres"), parts.get("password", "")
        (folder / "users.txt").write_text(f'"{user}" "{password}"\n')
        (folder / "pgbouncer.ini").write_text(
            f"[databases]\n* = {make_conninfo('', **server)}\n"
            f"[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\n"
            f"unix_socket_dir = {folder}\nauth_type = any\nauth_file = {folder}/users.txt\npool_mode = {mode}\n"
            f"default_pool_size = {pool_size}\nserver_tls_sslmode = disable\nlogfile = {folder}/log\n"
            "ignore_startup_parameters = extra_float_digits\nquery_wait_timeout = 10\n"
        )
        process = subprocess.Popen(
            [program(), folder / "pgbouncer.ini"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            user=_account(server.get("host", "")),
        )
        try:
            url = f"postgresql://{user}@127.0.0.1:{port}/{parts['dbname']}"
            _wait_for(url, folder / "log")
            yield url
        finally:
            process.terminate()
            process.wait(timeout=30)


def _account(host: str) -> int | None:
    """PgBouncer does not run as root, and must be able to open the socket. None: the account of this process."""
    if os.getuid() != 0:
        return None
    if not host.startswith("/"):
        return NOBODY
    return next(Path(host).glob(".s.PGSQL.*[0-9]")).stat().st_uid


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_for(url: str, log: Path) -> None:
    for _ in range(200):
        try:
            with psycopg.connect(url, connect_timeout=2) as connection:
                connection.execute("SELECT 1")
            return
        except psycopg.OperationalError:
            time.sleep(0.05)
    raise AssertionError(f"PgBouncer does not answer: {log.read_text() if log.exists() else 'no log'}")
