"""A target without disk space: the run ends and says so; with space again the same command ends as if undisturbed."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil  # type: ignore[import-untyped]
import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from bench.documents import write_dump
from migrator.targets.embedded import EmbeddedTarget
from tests.archive_writer import write_folder
from tests.conftest import with_database
from tests.driving import call, digest_database, spawn
from tests.scenarios import write_config
from tests.talks import make_talks

ENGINE = {"engine": {"workers": 2, "batch_rows": 200, "part_bytes": 100_000}}


@contextmanager
def small_disk(folder: Path, megabytes: int) -> Iterator[Path]:
    """A file system of this size. Only root may make one."""
    folder.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if made.returncode:
        pytest.skip("no file system can be mounted here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill_up(folder: Path, left: int) -> Path:
    """A file that leaves so many bytes free."""
    space = os.statvfs(folder)
    ballast = folder / "ballast"
    ballast.write_bytes(b"x" * (space.f_bavail * space.f_frsize - left))
    return ballast


def url_of(target: EmbeddedTarget, database: str) -> str:
    parts = conninfo_to_dict(target.dsn)
    return f"postgresql://{parts['user']}@/{database}?host={parts['host']}&port={parts['port']}"


@pytest.mark.long
def test_the_tables_have_no_space(tmp_path: Path) -> None:
    """A full tablespace: exit code 5 and what to do, not ten tries of the same."""
    dump = write_folder(tmp_path / "dump", make_talks(messages=6000))
    target = EmbeddedTarget(tmp_path / "postgres", durable=False)
    try:
        with target.connect() as connection, small_disk(tmp_path / "small", 300) as disk:
            server = psutil.Process(connection.info.backend_pid)
            os.chown(disk, server.uids().real, server.gids().real)
            connection.execute(f"CREATE TABLESPACE small LOCATION '{disk}'")
            connection.execute("CREATE DATABASE full_one TABLESPACE small")
            connection.execute("CREATE DATABASE whole")
            url = url_of(target, "full_one")
            full, whole = write_config(tmp_path / "m.toml", f"dump:{dump}", url, ENGINE), with_database(url, "whole")
            assert call("run", "-c", write_config(tmp_path / "w.toml", f"dump:{dump}", whole)).code == 0
            ballast = fill_up(disk, 3 << 20)
            answer = spawn("run", "-c", full, "--json")
            assert answer.code == 5, answer.told
            assert "no disk space left on the target server" in answer.json["error"]["message"]
            assert "Free some space" in answer.json["error"]["hint"]
            assert "retrying" not in answer.err
            with psycopg.connect(url) as other:
                found = other.execute("SELECT count(*) FROM migrator.ledger").fetchone()
                assert found is not None
                assert 0 < found[0] < 6540
            ballast.unlink()
            assert spawn("run", "-c", full, "--json").code == 0
            assert digest_database(url) == digest_database(whole)
            connection.execute("DROP DATABASE full_one")
            connection.execute("DROP TABLESPACE small")
    finally:
        target.close()


@pytest.mark.long
def test_a_plan_has_no_space(tmp_path: Path) -> None:
    """The folder for temporary files is full while workers load the rehearsal: it is named, and nothing stays in it."""
    write_dump(tmp_path / "dump" / "LibreChat", 60_000)
    config = write_config(tmp_path / "m.toml", f"dump:{tmp_path}/dump", f"embedded:{tmp_path}/target", ENGINE)
    with small_disk(tmp_path / "small", 160) as disk:
        disk.chmod(0o1777)
        answer = spawn("plan", "-c", config, "--json", environment={"TMPDIR": str(disk)})
        assert answer.code == 5, answer.told
        assert f"no disk space left in {disk}" in answer.json["error"]["message"]
        assert "set TMPDIR" in answer.json["error"]["hint"]
        assert "Traceback" not in answer.told
        assert [path for path in disk.iterdir() if path.is_dir()] == []


@pytest.mark.long
def test_the_log_has_no_space(tmp_path: Path) -> None:
    """Where PostgreSQL's log cannot be written the server itself gives up; the run ends, and goes on later."""
    dump = write_folder(tmp_path / "dump", make_talks(messages=6000))
    whole = tmp_path / "whole.toml"
    assert spawn("run", "-c", write_config(whole, f"dump:{dump}", f"embedded:{tmp_path}/whole")).code == 0
    with small_disk(tmp_path / "small", 400) as disk:
        config = write_config(tmp_path / "m.toml", f"dump:{dump}", f"embedded:{disk}/postgres", ENGINE)
        EmbeddedTarget(disk / "postgres").close()
        ballast = fill_up(disk, 12 << 20)
        answer = spawn("run", "-c", config, "--json")
        assert answer.code in (5, 7), answer.told
        assert "Traceback" not in answer.told
        ballast.unlink()
        answer = spawn("run", "-c", config, "--json")
        assert answer.code == 0, answer.told
        digests = []
        for folder in (disk / "postgres", tmp_path / "whole"):
            target = EmbeddedTarget(folder)
            digests.append(digest_database(url_of(target, "postgres")))
            target.close()
        assert digests[0] == digests[1]
