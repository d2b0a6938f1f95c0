"""Fixtures of the acceptance tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.driving import hurried


@pytest.fixture
def quick(server_url: str) -> Iterator[None]:
    """Commands in this process rehearse on the tests' server."""
    with hurried(server_url):
        yield
