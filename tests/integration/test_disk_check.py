"""The disk of the target in `migrate check`: what is estimated, what is known of the free space, and what is not."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch
from urllib.parse import urlsplit, urlunsplit
from uuid import uuid4

import psycopg
import pytest
from psycopg import sql

from migrator.postgres.storage import Storage, measure_planned, read_storage
from migrator.sources.base import SourceCollection
from migrator.workflows.disk_check import _estimate
from tests.chunks import DEMO, ask, configure
from tests.driving import call
from tests.scenarios import write_config


def disk(config: Path) -> dict[str, Any]:
    found: list[dict[str, Any]] = call("check", "-c", config, "--json").json["checks"]
    return next(each for each in found if each["check"] == "disk")


def collection(size: int | None) -> SourceCollection:
    return SourceCollection(name="c", documents=None, bytes=size, metadata=None)


@pytest.fixture
def stranger(database: str) -> Iterator[str]:
    """The URL of a role that may not see the settings of the server."""
    role = sql.Identifier(f"stranger_{uuid4().hex}")
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE ROLE {} LOGIN PASSWORD 'x'").format(role))
        connection.execute(sql.SQL("GRANT ALL ON SCHEMA public TO {}").format(role))
    parts = urlsplit(database)
    name = role.as_string().strip('"')
    yield urlunsplit(parts._replace(netloc=f"{name}:x@{parts.netloc.rpartition('@')[2]}"))
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(sql.SQL("DROP OWNED BY {0}; DROP ROLE {0}").format(role))


@pytest.mark.usefixtures("quick")
def test_local_server(database: str, tmp_path: Path) -> None:
    """The data directory of a server behind a Unix socket is compared with the estimate."""
    with psycopg.connect(database) as connection:
        storage = read_storage(connection)
    if storage.free is None:  # a container, or a server elsewhere
        pytest.skip("the server does not run on this machine")
    assert [(storage.folder,)] == ask(database, "SHOW data_directory")
    config = configure(tmp_path / "migrate.toml", database)
    found = disk(config)
    assert found["level"] == "ok"
    assert found["text"].startswith("estimated size 3.1 MB to 3.4 MB for 130 kB of BSON; tablespace pg_default")
    assert f" free in {storage.folder}" in found["text"]
    small = SimpleNamespace(f_bavail=1000, f_frsize=512)
    with patch("migrator.postgres.storage.os.statvfs", return_value=small):
        found = disk(config)
        assert found["level"] == "warning"
        assert "(an estimate)" in found["text"]
        assert "512 kB free" in found["text"]
        assert "`migrate plan` predicts the size" in found["remedy"]
        answer = call("run", "-c", config)
    assert answer.code == 0, answer.told
    assert "the disk of the target may be too small (an estimate)" in answer.told
    assert disk(config)["text"] == "not estimated, because the target contains a run"


def test_unknown_free_space(stranger: str, tmp_path: Path) -> None:
    """A role that may not see the data directory gets the estimate and the tablespace, and that no more is known."""
    found = disk(configure(tmp_path / "migrate.toml", stranger))
    assert found["level"] == "ok"
    assert found["text"].startswith("estimated size 3.1 MB to 3.4 MB for 130 kB of BSON; tablespace pg_default")
    assert found["text"].endswith("free space unknown (the server does not report it)")


def test_new_embedded_database(tmp_path: Path) -> None:
    """The folder of an embedded database that does not exist yet is measured at its nearest parent."""
    config = write_config(tmp_path / "migrate.toml", f"dump:{DEMO}", f"embedded:{tmp_path / 'new' / 'pg'}")
    assert f" free in {tmp_path / 'new' / 'pg'}" in disk(config)["text"]
    assert not (tmp_path / "new").exists()
    assert measure_planned(tmp_path / "a" / "b") == pytest.approx(
        os.statvfs(tmp_path).f_bavail * os.statvfs(tmp_path).f_frsize, rel=0.05
    )


def test_unknown_sizes() -> None:
    """Collections of unknown size are named; without any known size there is no estimate and no warning."""
    storage = Storage(tablespace="fast", wal=1 << 30, folder="/data", free=10_000_000)
    nothing = _estimate(storage, [collection(None)])
    assert nothing.text.startswith("size not known before the source is read (`migrate plan` predicts the size)")
    assert list(nothing.check()) == []
    some = _estimate(storage, [collection(1_000_000), collection(None), collection(None)])
    assert "estimated size 4.0 MB to 6.0 MB for 1.0 MB of BSON, and 2 collections of unknown size" in some.text
    assert "up to 6.0 MB of write-ahead log; 10 MB free in /data" in some.text
    (problem,) = some.check()  # 6 MB and as much write-ahead log
    assert problem.level == "warning"
