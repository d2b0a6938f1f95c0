"""A network that stalls: connections stay open, and nothing comes. A run goes on, or ends, within minutes."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from migrator.targets import watchdog
from tests.archive_writer import write_folder
from tests.driving import COMMAND, call, digest_database
from tests.killing import ENTRIES, wait_for
from tests.mongo import fill, mongo
from tests.proxy import Proxy, proxy_to
from tests.scenarios import write_config
from tests.talks import make_talks

ENGINE = {"batch_rows": 60, "part_bytes": 20_000, "max_rows_per_second": 1500}


@contextmanager
def way_to(database: str) -> Iterator[tuple[Proxy, str]]:
    """A proxy to a database's server, and the URL of the database through it."""
    parts = conninfo_to_dict(database)
    host, port = str(parts.get("host", "localhost")), int(parts.get("port") or 5432)
    with proxy_to(f"{host}/.s.PGSQL.{port}" if host.startswith("/") else (host, port)) as proxy:
        account = f"{parts['user']}:{parts.get('password') or ''}"
        yield proxy, f"postgresql://{account}@127.0.0.1:{proxy.port}/{parts['dbname']}?sslmode=disable"


def once(database: str, entries: int, act: Callable[[], None]) -> None:
    """Does something when a run has committed so much."""

    def wait() -> None:
        wait_for(database, ENTRIES, entries)
        act()

    threading.Thread(target=wait, daemon=True).start()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, seconds in (("POLL", 0.2), ("LONG", 1.0), ("ANSWERS", 1.0), ("STILL", 1.0)):
        monkeypatch.setattr(watchdog, name, seconds)


def stall_for_a_while(proxy: Proxy) -> None:
    proxy.stall()
    threading.Timer(5, proxy.resume).start()


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("how", [pytest.param(stall_for_a_while, marks=pytest.mark.long), Proxy.freeze])
def test_the_way_to_the_target_stalls(
    how: Callable[[Proxy], None], new_database: Callable[[], str], tmp_path: Path
) -> None:
    """It is noticed, said, and begun again on new connections; the session that the server still has is ended."""
    dump = write_folder(tmp_path / "dump", make_talks(messages=1500))
    whole, stalled = new_database(), new_database()
    assert call("run", "-c", write_config(tmp_path / "w.toml", f"dump:{dump}", whole)).code == 0
    with way_to(stalled) as (proxy, url):
        config = write_config(tmp_path / "m.toml", f"dump:{dump}", url, {"engine": {**ENGINE, "workers": 1}})
        once(stalled, 40, lambda: how(proxy))
        answer = call("run", "-c", config, "--json")
    assert answer.code == 0, answer.told
    assert "retrying" in answer.err
    assert digest_database(stalled) == digest_database(whole)


@pytest.mark.long
def test_the_way_of_workers_stalls(new_database: Callable[[], str], tmp_path: Path) -> None:
    """With the patience that everybody has: a minute and a half later worker processes go on, too."""
    dump = write_folder(tmp_path / "dump", make_talks())
    whole, stalled = new_database(), new_database()
    assert call("run", "-c", write_config(tmp_path / "w.toml", f"dump:{dump}", whole)).code == 0
    with way_to(stalled) as (proxy, url):
        config = write_config(tmp_path / "m.toml", f"dump:{dump}", url, {"engine": {**ENGINE, "workers": 2}})
        once(stalled, 50, proxy.freeze)
        done = subprocess.run(
            [str(COMMAND), "run", "-c", str(config), "--json"], capture_output=True, check=False, timeout=280, text=True
        )
    assert done.returncode == 0, done.stderr
    assert "retrying" in done.stderr
    assert digest_database(stalled) == digest_database(whole)


@pytest.mark.long
def test_the_way_to_the_source_stalls(new_database: Callable[[], str], tmp_path: Path) -> None:
    """A live source that says nothing for `socketTimeoutMS`: workers say so, and go on after their last document."""
    made = make_talks()
    whole, stalled = new_database(), new_database()
    dump = write_folder(tmp_path / "dump", made)
    assert call("run", "-c", write_config(tmp_path / "w.toml", f"dump:{dump}", whole)).code == 0
    with mongo(tmp_path / "mongo") as server:
        fill(server, "talks", made)
        host, _, port = server.removeprefix("mongodb://").partition(":")
        with proxy_to((host, int(port))) as proxy:
            options = "directConnection=true&socketTimeoutMS=1000&serverSelectionTimeoutMS=2000"
            url = f"mongodb://127.0.0.1:{proxy.port}/talks?{options}"
            config = write_config(tmp_path / "m.toml", url, stalled, {"engine": {**ENGINE, "workers": 2}})
            once(stalled, 40, lambda: stall_for_a_while(proxy))
            done = subprocess.run(
                [str(COMMAND), "run", "-c", str(config), "--json"],
                capture_output=True, check=False, timeout=120, text=True,
            )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "no response from the source" in done.stderr
    assert digest_database(stalled) == digest_database(whole)


def test_a_statement_that_takes_long_is_left_alone(impatient: None, database: str) -> None:
    """The server is at work on it, however long."""
    with way_to(database) as (_, url):
        from migrator.targets.server import ServerTarget

        with ServerTarget(url).connect() as connection:
            assert connection.execute("SELECT 1 FROM pg_sleep(3)").fetchone() == (1,)


@pytest.mark.usefixtures("impatient")
def test_a_session_that_has_ended_unheard(database: str) -> None:
    """Waiting for a session that the server does not have any more is an error, not for ever."""
    from migrator.targets.server import ServerTarget

    with way_to(database) as (proxy, url):
        connection = ServerTarget(url).connect()
        pid = connection.info.backend_pid
        threading.Timer(0.5, proxy.freeze).start()
        with psycopg.connect(database, autocommit=True) as other:
            threading.Timer(1, lambda: other.execute("SELECT pg_terminate_backend(%s)", (pid,))).start()
            with pytest.raises(psycopg.OperationalError):
                connection.execute("SELECT 1 FROM pg_sleep(3600)")
