"""Tables whose keys have several columns: loaded, compared, rebuilt, exported, reverted, loaded again equally."""

from __future__ import annotations

from pathlib import Path

import pytest
from bson import decode_all, encode

from migrator.documents.codec import CODEC_OPTIONS, decode
from tests.driving import call
from tests.press import NAMES, Press, write_project
from tests.user_projects import Document, load_and_load_again

SEEDS = [1, *(pytest.param(seed, marks=pytest.mark.long) for seed in range(2, 40))]


@pytest.mark.parametrize("seed", SEEDS)
def test_composite_keys(seed: int, database: str, tmp_path: Path) -> None:
    """Plan, run, verification, revert, run again; export gives the documents."""
    documents = Press(seed, 100).collections()
    settings = write_project(tmp_path, database, documents)
    tables = load_and_load_again(settings, database)
    assert min(tables.values()) > 10, f"seed {seed}: {tables}"
    exported = call("export", "-c", settings, tmp_path / "exported")
    assert exported.code == 0, exported.err
    for name in NAMES:
        found = decode_all((tmp_path / "exported" / "press" / f"{name}.bson").read_bytes(), CODEC_OPTIONS)
        assert by_id(found) == by_id([decode(encode(each)) for each in documents[name]]), f"seed {seed}: {name}"


def by_id(documents: list[Document]) -> dict[str, bytes]:
    """Return the documents by `_id`, with their fields by name: a rebuilt document has them in any order."""
    return {repr(each["_id"]): encode(dict(sorted(each.items())), codec_options=CODEC_OPTIONS) for each in documents}
