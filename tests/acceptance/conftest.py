"""Fixtures of the acceptance tests that need databases and roles of their own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.integration.schemas import CONTRACT
from tests.target_server import Server


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
