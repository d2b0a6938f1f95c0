"""`examples/published`: sources that published models wrote; their drafts, untouched, are migrations."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.acceptance.test_examples import files_of
from tests.driving import call
from tests.round_trip import there_and_back

ROOT = Path(__file__).parents[2]
SOURCES, DRAFTS = ROOT / "fixtures" / "published", ROOT / "examples" / "published"
NAMES = [pytest.param("iotagent"), *(pytest.param(name, marks=pytest.mark.long) for name in ("payload", "reaction"))]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.usefixtures("restored_modules")
def test_an_untouched_draft_of_published_models(
    name: str, database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is the committed one, loads every document, and brings each back; nothing is left after `revert`."""
    source = tmp_path / "dump" / name
    shutil.copytree(SOURCES / name, source)
    answer = call("scaffold", tmp_path, "--source", source)
    assert answer.code == 0, answer.told
    assert files_of(tmp_path, "dump") == files_of(DRAFTS / name / "draft")
    there_and_back(tmp_path, f"dump:{source}", database, monkeypatch)
