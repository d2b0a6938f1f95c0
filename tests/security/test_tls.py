"""PostgreSQL over TLS, with a password: the options of target.url do what libpq says, for workers, too."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import psycopg
import pytest
import trustme

from migrator.targets import bundled
from migrator.targets.server import ServerTarget, connect_worker
from tests.archive_writer import write_folder
from tests.driving import call
from tests.scenarios import write_config

PASSWORD = "open/sesame@4711"


@dataclass(frozen=True, slots=True)
class Server:
    """A server that lets in nobody without TLS and a password."""

    port: int
    authority: Path
    stranger: Path  # another certificate authority

    def url(self, options: str, host: str = "localhost", password: str = PASSWORD) -> str:
        return f"postgresql://postgres:{quote(password, safe='')}@{host}:{self.port}/postgres?{options}"


def find_programs() -> Path | None:
    """A PostgreSQL of this machine that was built with OpenSSL; the bundled one was not."""
    candidates = [*Path("/usr/lib/postgresql").glob("*/bin/pg_ctl"), Path(shutil.which("pg_ctl") or "/none")]
    for found in sorted(candidates, reverse=True):
        programs = found.resolve().parent
        if (programs / "initdb").exists():
            shown = subprocess.run(["ldd", programs / "postgres"], capture_output=True, text=True, check=False).stdout
            if "libssl" in shown:
                return programs
    return None


PROGRAMS = find_programs()
pytestmark = pytest.mark.skipif(PROGRAMS is None, reason="no PostgreSQL with TLS on this machine")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("tls")
    data, port, account = folder / "data", free_port(), bundled.choose_account(folder / "data")
    authority, stranger = trustme.CA(), trustme.CA()
    authority.cert_pem.write_to_path(folder / "ca.pem")
    stranger.cert_pem.write_to_path(folder / "stranger.pem")
    data.mkdir(mode=0o700)
    give(data, account)
    if account.is_service_account:
        bundled.allow_traversal(account, folder)
    control(account, data, "initdb", f"--pgdata={data}", "--username=postgres", "--auth=trust", "--no-sync")
    certificate = authority.issue_cert("localhost")
    certificate.private_key_pem.write_to_path(data / "server.key")
    certificate.cert_chain_pems[0].write_to_path(data / "server.crt")
    (data / "pg_hba.conf").write_text("local all all trust\nhostssl all all all scram-sha-256\n")
    (data / "server.key").chmod(0o600)
    for name in ("server.key", "server.crt", "pg_hba.conf"):
        give(data / name, account)
    options = f"-p {port} -c ssl=on -c listen_addresses=127.0.0.1 -c unix_socket_directories={data} -c fsync=off"
    control(account, data, "pg_ctl", "start", "-w", "-o", options, "-l", str(data / "log"))
    try:
        place = {"host": str(data), "port": port, "user": "postgres", "dbname": "postgres"}
        with psycopg.connect(**place, autocommit=True) as connection:  # type: ignore[arg-type]
            connection.execute(f"ALTER ROLE postgres PASSWORD '{PASSWORD}'".encode())
        yield Server(port, folder / "ca.pem", folder / "stranger.pem")
    finally:
        control(account, data, "pg_ctl", "stop", "-m", "immediate")


def give(path: Path, account: bundled.Account) -> None:
    if account.uid is not None and account.gid is not None:
        os.chown(path, account.uid, account.gid)


def control(account: bundled.Account, data: Path, program: str, *arguments: str) -> None:
    assert PROGRAMS is not None
    log = data.parent / "control.log"
    with log.open("w") as output:
        done = subprocess.run(
            [PROGRAMS / program, *arguments], env={"PGDATA": str(data), "LC_ALL": "C", "PATH": os.environ["PATH"]},
            stdout=output, stderr=output, cwd=data, user=account.uid, group=account.gid,
            extra_groups=[] if account.is_service_account else None, check=False,
        )  # fmt: skip
    assert done.returncode == 0, log.read_text()


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def configure(folder: Path, url: str) -> Path:
    source = folder / "dump"
    if not source.exists():
        write_folder(source, {"users": [], "odd": []})
    return write_config(folder / "migrate.toml", f"dump:{source}", url)


def test_a_verified_connection(server: Server, tmp_path: Path) -> None:
    """verify-full with the authority's certificate; a worker's connection, made from the target's, is as safe."""
    url = server.url(f"sslmode=verify-full&sslrootcert={server.authority}")
    answer = call("status", "-c", configure(tmp_path, url))
    assert answer.code == 0, answer.told
    for connection in (ServerTarget(url).connect(), connect_worker(ServerTarget(url).dsn)):
        with connection:
            query = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()"
            assert connection.execute(query).fetchone() == (True,)
            assert connection.info.get_parameters()["sslmode"] == "verify-full"


@pytest.mark.parametrize("options", ["sslmode=require", "sslmode=prefer", ""])
def test_an_encrypted_connection(server: Server, tmp_path: Path, options: str) -> None:
    """Without a certificate to compare with, the connection is encrypted all the same."""
    answer = call("status", "-c", configure(tmp_path, server.url(options)))
    assert answer.code == 0, answer.told


@pytest.mark.parametrize(
    ("options", "host", "password", "said"),
    [
        ("sslmode=verify-full&sslrootcert={stranger}", "localhost", PASSWORD, "the TLS handshake failed"),
        ("sslmode=verify-full&sslrootcert={authority}", "127.0.0.1", PASSWORD, "the TLS handshake failed"),
        ("sslmode=verify-full&sslrootcert=/nowhere.pem", "localhost", PASSWORD, "the TLS handshake failed"),
        ("sslmode=disable", "localhost", PASSWORD, "the server requires TLS"),
        ("sslmode=require", "localhost", "not-this-one", "authentication failed"),
        ("sslmode=nonsense", "localhost", PASSWORD, "sslmode"),
    ],
)
def test_what_is_not_to_be_trusted(
    server: Server, tmp_path: Path, options: str, host: str, password: str, said: str
) -> None:
    """Another authority, another name, no certificate, no TLS, a wrong password: cause and remedy, exit code 7."""
    filled = options.format(stranger=server.stranger, authority=server.authority)
    answer = call("run", "-c", configure(tmp_path, server.url(filled, host, password)))
    assert answer.code in (2, 7), answer.told
    assert said in answer.err
    assert "hint: " in answer.err
    for secret in (PASSWORD, quote(PASSWORD, safe="")):
        assert secret not in answer.told
