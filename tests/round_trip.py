"""A project's way to PostgreSQL and back: run, verified at level roundtrip, exported and reverted."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from migrator.documents.raw_bson import split_documents
from migrator.sources import open_source
from migrator.sources.base import Source
from migrator.verification.record_diff import sort_fields
from tests.driving import call


def there_and_back(
    project: Path, url: str, database: str, monkeypatch: pytest.MonkeyPatch, archived: frozenset[str] = frozenset()
) -> None:
    """Checks that a project loads all documents of the source `url`, except the `archived` collections, that the
    export equals the source, and that nothing is left after `revert`."""
    monkeypatch.setenv("MIGRATE_TARGET__URL", database)
    monkeypatch.setenv("MIGRATE_ENGINE__WORKERS", "1")
    config, rebuilt = ("-c", project / "migrate.toml"), project / "rebuilt"
    answer = call("run", *config, "--json")
    assert answer.code == 0, answer.told
    for name, each in answer.json["collections"].items():
        assert each["archived" if name in archived else "loaded"] == each["source"], name
    for arguments in (("verify", "--level", "roundtrip"), ("export", rebuilt), ("revert", "--yes")):
        answer = call(*arguments, *config)
        assert answer.code == 0, answer.told
    assert documents_of(f"dump:{rebuilt}") == documents_of(url)
    with psycopg.connect(database) as connection:
        assert connection.execute("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'").fetchone() == (0,)


def documents_of(url: str) -> dict[str, list[bytes]]:
    """The documents of all collections that have any, sorted, with their fields sorted."""
    source = open_source(url)
    return {
        collection.name: documents
        for collection in source.collections()
        if (documents := sorted(map(sort_fields, _read(source, collection.name))))
    }


def _read(source: Source, name: str) -> Iterator[bytes]:
    for batch in source.read({name: ""}, documents=5000, size=4 << 20):
        yield from split_documents(batch.data)
