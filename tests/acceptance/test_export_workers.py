"""Large collections are exported by worker processes, in parts: the dump is the same, and errors are reported."""

from __future__ import annotations

import signal
import time
from contextlib import suppress
from pathlib import Path

import psutil  # type: ignore[import-untyped]
import psycopg
import pytest

from bench.documents import write_dump
from migrator.workflows import export_workers
from migrator.workflows.export_folder import export_folder
from tests.archive_writer import write_folder
from tests.driving import call
from tests.processes import Command, start
from tests.round_trip import documents_of
from tests.scenarios import write_config
from tests.talks import make_talks
from tests.templates import Templates

pytestmark = pytest.mark.usefixtures("quick")


@pytest.fixture
def migrated(database: str, templates: Templates, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The migrate.toml of a complete migration whose messages are so many that workers export them."""
    monkeypatch.setattr(export_workers, "LARGE", 100)
    write_folder(tmp_path / "dump" / "LibreChat", make_talks(messages=600))

    def configure(url: str, workers: int) -> Path:
        path = tmp_path / "migrate.toml"
        return write_config(path, f"dump:{tmp_path / 'dump'}", url, {"engine": {"workers": workers}})

    templates.copy("600 messages", database, lambda url: call("run", "-c", configure(url, 1)))
    return configure(database, 3)


def test_the_parts_make_one_dump(migrated: Path, tmp_path: Path) -> None:
    check_export(migrated, tmp_path)


def test_an_error_in_a_part_is_reported(migrated: Path, database: str, tmp_path: Path) -> None:
    """A row that does not fit its residue is named, as without workers; the file gets no final name.

    The folder says that it is not complete, and the same command begins again in it.
    """
    query = (
        "SELECT residue, source_id FROM migrator.ledger WHERE collection = 'messages' ORDER BY source_id DESC LIMIT 1"
    )
    change = "UPDATE migrator.ledger SET residue = %s WHERE source_id = %s"
    with psycopg.connect(database, autocommit=True) as connection:
        found = connection.execute(query).fetchone()
        assert found is not None
        connection.execute(change, [b"\5", found[1]])
        answer = call("export", tmp_path / "out", "-c", migrated)
        assert answer.code == 4, answer.told
        assert "messages: the document of row" in answer.told
        assert not list((tmp_path / "out").rglob("messages.bson"))
        assert "not complete" in (tmp_path / "out" / "incomplete.txt").read_text()
        connection.execute(change, found)
    check_export(migrated, tmp_path)


def check_export(config: Path, folder: Path) -> None:
    """Export, perhaps into the folder of an interrupted export: the dump is the same, and nothing else is left."""
    answer = call("export", folder / "out", "-c", config)
    assert answer.code == 0, answer.told
    assert documents_of(f"dump:{folder / 'out'}") == documents_of(f"dump:{folder / 'dump'}")
    files = [path.name for path in (folder / "out").rglob("*") if path.is_file()]
    assert all(name.endswith((".bson", ".json")) for name in files), files


def test_only_files_of_an_interrupted_export_are_deleted(migrated: Path, tmp_path: Path) -> None:
    """Any other file, and another export that still writes, are reasons to refuse."""
    with suppress(ZeroDivisionError), export_folder(tmp_path / "out", "LibreChat") as home:
        (home / "messages.bson.00.partial").touch()
        refused = call("export", tmp_path / "out", "-c", migrated)
        assert (refused.code, "another export is writing" in refused.err) == (2, True), refused.told
        raise ZeroDivisionError
    other = tmp_path / "out" / "notes.txt"
    other.touch()
    refused = call("export", tmp_path / "out", "-c", migrated)
    assert (refused.code, "is not empty" in refused.err) == (2, True), refused.told
    assert (home / "messages.bson.00.partial").exists()
    other.unlink()
    check_export(migrated, tmp_path)


@pytest.mark.long
def test_kills(tmp_path: Path) -> None:
    """Interrupted or killed, with a killed worker or a target that is down: nothing is left running, the error is
    named, and the same command writes the whole dump."""
    write_dump(tmp_path / "dump" / "LibreChat", 60_000)
    config = write_config(
        tmp_path / "migrate.toml", f"dump:{tmp_path}/dump", f"embedded:{tmp_path}/target", {"engine": {"workers": 2}}
    )
    assert call("run", "-c", config).code == 0
    for kind, codes in {"interrupt": {5}, "kill": {-9}, "worker": {5}, "server": {7}}.items():
        process = start("export", tmp_path / "out", "-c", config)
        family = wait_for_parts(process, tmp_path / "out")
        workers = [each for each in family if "postgres" not in each.name()]
        if kind == "interrupt":
            process.send_signal(signal.SIGINT)
        elif kind == "kill":
            process.kill()
        elif kind == "worker":
            next(each for each in workers if each.ppid() != process.pid).kill()  # a child of the fork server
        else:
            for each in postmasters(tmp_path / "target"):
                each.kill()
        out, err = process.communicate()
        assert process.returncode in codes, (kind, out, err)
        assert b"Traceback" not in out + err, (kind, err)
        assert not psutil.wait_procs(workers, timeout=60)[1], kind
        assert (tmp_path / "out" / "incomplete.txt").exists(), kind
    check_export(config, tmp_path)


def wait_for_parts(process: Command, folder: Path) -> list[psutil.Process]:
    """Wait until workers write, and return all processes of the export."""
    for old in folder.rglob("*.partial"):  # of the export before
        old.unlink()
    while not any(path.stat().st_size for path in folder.rglob("messages.bson.0*.partial")):
        assert process.poll() is None, process.communicate()
        time.sleep(0.005)
    return list(psutil.Process(process.pid).children(recursive=True))


def postmasters(folder: Path) -> list[psutil.Process]:
    """Return the first process of the server of a data folder."""
    return [psutil.Process(int((folder / "postmaster.pid").read_text().split()[0]))]
