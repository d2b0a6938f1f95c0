"""kill -9 of any process at any moment: the run goes on, alone or by the same command, and ends as if undisturbed."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil  # type: ignore[import-untyped]
import psycopg
import pytest

from migrator.errors import TargetError
from migrator.targets.embedded import EmbeddedTarget
from tests.archive_writer import write_archive, write_folder
from tests.driving import COMMAND, call, digest_database
from tests.scenarios import write_config
from tests.talks import make_talks

ENGINE = {"engine": {"batch_rows": 60, "part_bytes": 20_000, "workers": 2}}


@dataclass
class Server:
    """A PostgreSQL of the test's own, that may be killed: nobody else's tests run in it."""

    target: EmbeddedTarget
    databases: int = 0

    def new_database(self) -> str:
        self.databases += 1
        name = f"killed_{self.databases}"
        with self.target.connect() as connection:
            connection.execute(f"CREATE DATABASE {name}")
        return f"postgresql://{self.address['user']}@/{name}?host={self.address['host']}&port={self.address['port']}"

    def revive(self) -> None:
        """Starts PostgreSQL again where it was killed, and waits until it answers."""
        for _ in range(100):
            with suppress(TargetError, psycopg.Error), self.target.connect():
                return
            time.sleep(0.1)
        raise AssertionError("PostgreSQL does not come back")

    @property
    def address(self) -> dict[str, str]:
        parts = dict(pair.split("=", 1) for pair in self.target.dsn.split())
        return {name: value.strip("'") for name, value in parts.items()}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    target = EmbeddedTarget(tmp_path_factory.mktemp("killed") / "postgres", durable=False)
    yield Server(target)
    target.close()


@pytest.mark.parametrize("form", ["folder", "archive"])
def test_killed_at_any_moment(form: str, server: Server, tmp_path: Path) -> None:
    """Five kills of workers, PostgreSQL and the command itself: tables, ledger and rejects end the same."""
    check_kills(server, tmp_path, form, kills=5, seed=random.randrange(10_000))


@pytest.mark.long
@pytest.mark.parametrize("seed", range(20))
def test_two_hundred_kills(seed: int, server: Server, tmp_path: Path) -> None:
    """Ten kills twenty times over."""
    check_kills(server, tmp_path, "folder" if seed % 4 else "archive", kills=10, seed=seed)


def check_kills(server: Server, folder: Path, form: str, *, kills: int, seed: int) -> None:
    made = make_talks()
    dump = write_folder(folder / "dump", made) if form == "folder" else write_archive(folder / "dump", {"chat": made})
    url = f"dump:{dump}"
    whole = server.new_database()
    assert call("run", "-c", write_config(folder / "whole.toml", url, whole)).code == 0
    expected = digest_database(whole)
    chance, killer = random.Random(seed), Killer()
    while killer.count < kills:
        broken = server.new_database()
        config = write_config(folder / "broken.toml", url, broken, ENGINE)
        run_to_the_end(server, config, broken, chance, killer, kills)
        assert digest_database(broken) == expected, (seed, killer.killed)
    assert call("verify", "-c", config, "--level", "roundtrip").code == 0


def run_to_the_end(
    server: Server, config: Path, database: str, chance: random.Random, killer: Killer, kills: int
) -> None:
    """Begins the command again whenever it was killed, until it has done its work."""
    for _ in range(100):
        process = subprocess.Popen(
            [str(COMMAND), "run", "-c", str(config), "--json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        while process.poll() is None and killer.count < kills:
            time.sleep(chance.uniform(0.05, 0.8))
            killer.kill_one(process, database, chance)
            server.revive()
        out, told = process.communicate(timeout=240)
        # multiprocessing's own resource tracker, when killed, complains on its way back; ours must not.
        assert b"migrator/" not in told, told.decode()
        if process.returncode == 0:
            return
        assert process.returncode in (-signal.SIGKILL, 5, 7), (out.decode(), told.decode())
        wait_for_the_lock(database)
    raise AssertionError("a hundred attempts, and no end")


@dataclass
class Killer:
    """Kills processes, and remembers what they were."""

    killed: Counter[str] = field(default_factory=Counter)

    @property
    def count(self) -> int:
        return self.killed.total()

    def kill_one(self, process: subprocess.Popen[bytes], database: str, chance: random.Random) -> None:
        victims = list(self._victims(process, database))
        if not victims or process.poll() is not None:
            return
        kinds = sorted({kind for kind, _ in victims})
        chosen = chance.choice(kinds)
        with suppress(ProcessLookupError):
            os.kill(chance.choice([pid for kind, pid in victims if kind == chosen]), signal.SIGKILL)
            self.killed[chosen] += 1

    def _victims(self, process: subprocess.Popen[bytes], database: str) -> Iterator[tuple[str, int]]:
        yield "command", process.pid
        with suppress(psutil.Error):
            for child in psutil.Process(process.pid).children(recursive=True):
                yield "worker", child.pid
        with suppress(psycopg.Error), psycopg.connect(database, autocommit=True, connect_timeout=5) as connection:
            query = "SELECT pid FROM pg_stat_activity WHERE application_name LIKE 'migrate%'"
            sessions = [row[0] for row in connection.execute(query)]
            yield from (("session", pid) for pid in sessions)
            if sessions:
                yield "postmaster", psutil.Process(sessions[0]).ppid()


def wait_for_the_lock(database: str) -> None:
    """A server notices only after a while that a killed client is gone."""
    query = (
        "SELECT FROM pg_locks l JOIN pg_database d ON d.oid = l.database"
        " WHERE l.locktype = 'advisory' AND d.datname = current_database()"
    )
    for _ in range(600):
        with suppress(psycopg.Error), psycopg.connect(database, autocommit=True) as connection:
            if connection.execute(query).fetchone() is None:
                return
        time.sleep(0.05)
    raise AssertionError("the lock was never given back")
