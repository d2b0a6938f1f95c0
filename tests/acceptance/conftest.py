"""Fixtures of the acceptance tests that need databases and roles of their own."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests import mongo
from tests.archive_writer import write_folder
from tests.changing import SAFE
from tests.driving import call
from tests.integration.schemas import CONTRACT
from tests.scenarios import write_config
from tests.talks import make_talks
from tests.target_server import Server
from tests.templates import Templates


@pytest.fixture
def server(server_url: str) -> Iterator[Server]:
    with ExitStack() as exits:
        yield Server(server_url, exits)


@pytest.fixture(scope="module")
def template(server_url: str) -> Iterator[str]:
    """The name of a database with the tables of the application."""
    with ExitStack() as exits:
        server = Server(server_url, exits)
        name = server.create()
        server.execute(CONTRACT, database=name)
        yield name


@pytest.fixture(scope="module")
def live_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[mongo.Server]:
    """A MongoDB that keeps what it has acknowledged when it is killed."""
    server = mongo.Server(tmp_path_factory.mktemp("source") / "mongo")
    server.options = SAFE
    server.start()
    yield server
    server.kill()


@pytest.fixture
def restored_modules() -> Iterator[None]:
    """Undoes what the commands of a test do to this process: sys.path, and the modules of the projects."""
    path, modules = list(sys.path), {name: sys.modules[name] for name in sys.modules if is_of_project(name)}
    yield
    sys.path[:] = path
    for name in [each for each in sys.modules if is_of_project(each)]:
        del sys.modules[name]
    sys.modules.update(modules)


def is_of_project(name: str) -> bool:
    return name.partition(".")[0] in ("mappings", "schema")


@pytest.fixture
def migrated(database: str, templates: Templates, quick: None, tmp_path: Path) -> Path:
    """The migrate.toml of a complete migration with some hundred messages: duplicates, orphans, rings."""
    write_folder(tmp_path / "dump" / "LibreChat", make_talks(messages=600))

    def configure(url: str) -> Path:
        return write_config(tmp_path / "migrate.toml", f"dump:{tmp_path / 'dump'}", url, {"engine": {"workers": 1}})

    def build(url: str) -> None:
        assert call("run", "-c", configure(url)).code == 0

    templates.copy("600 messages", database, build)
    return configure(database)
