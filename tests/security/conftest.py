"""A target, a configuration and a folder of logs, with secrets planted in them."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from multiprocessing.util import get_temp_dir
from pathlib import Path
from unittest.mock import patch
from urllib.parse import quote

import psycopg
import pytest
from psycopg import sql

from tests.conftest import administer
from tests.scenarios import write_config
from tests.security.planting import API_KEY, MONGO, PASSWORD, make_dump


@pytest.fixture
def logs(tmp_path: Path) -> Iterator[Path]:
    """Where crash logs go."""
    folder = tmp_path / "logs"
    folder.mkdir()
    get_temp_dir()  # of this process's worker processes, which outlive the folder of this test
    with patch.object(tempfile, "tempdir", str(folder)):
        yield folder


@pytest.fixture
def target(database: str, server_url: str) -> Iterator[str]:
    """A URL with a password that needs escaping; the server may not ask for it, but we must not tell it."""
    name = f"planted_{os.getpid()}"
    administer(server_url, "CREATE ROLE {} SUPERUSER LOGIN", name)
    with psycopg.connect(server_url, autocommit=True) as connection:
        connection.execute(sql.SQL("ALTER ROLE {} PASSWORD {}").format(sql.Identifier(name), PASSWORD))
    head, _, rest = database.partition("://")
    yield f"{head}://{name}:{quote(PASSWORD, safe='')}@{rest.partition('@')[2]}"
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(sql.SQL("DROP OWNED BY {} CASCADE").format(sql.Identifier(name)))
    administer(server_url, "DROP ROLE {}", name)


@pytest.fixture
def config(target: str, tmp_path: Path) -> Path:
    settings = {
        "embedding": {"provider": "none", "api_key": API_KEY, "base_url": f"https://u:{quote(MONGO, safe='')}@h/v1"}
    }
    return write_config(tmp_path / "migrate.toml", f"dump:{make_dump(tmp_path / 'dump')}", target, settings)
