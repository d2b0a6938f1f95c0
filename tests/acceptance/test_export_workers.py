"""Large collections are exported by worker processes, in parts: the dump is the same, and errors are reported."""

from __future__ import annotations

from pathlib import Path

import psycopg
import pytest

from migrator.workflows import export_workers
from tests.archive_writer import write_folder
from tests.driving import call
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
    answer = call("export", tmp_path / "out", "-c", migrated)
    assert answer.code == 0, answer.told
    assert documents_of(f"dump:{tmp_path / 'out'}") == documents_of(f"dump:{tmp_path / 'dump'}")
    files = [path.name for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert all(name.endswith((".bson", ".json")) for name in files), files


def test_an_error_in_a_part_is_reported(migrated: Path, database: str, tmp_path: Path) -> None:
    """A row that does not fit its residue is named, as without workers; the file gets no final name."""
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(
            "UPDATE migrator.ledger SET residue = '\\x05' WHERE source_id ="
            " (SELECT max(source_id) FROM migrator.ledger WHERE collection = 'messages')"
        )
    answer = call("export", tmp_path / "out", "-c", migrated)
    assert answer.code == 4, answer.told
    assert "messages: the document of row" in answer.told
    assert not list((tmp_path / "out").rglob("messages.bson"))
