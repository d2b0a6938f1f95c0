"""`examples/`: the drafts are what `migrate scaffold` writes, untouched; the finished shop is a migration."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from examples.sources import MAKERS, main
from tests.driving import call
from tests.round_trip import there_and_back

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.mark.parametrize("name", MAKERS)
def test_the_draft_is_what_scaffold_writes(name: str, tmp_path: Path) -> None:
    """Each file equals the committed one. `test_scaffold.py` runs the same drafts, verifies and reverts them."""
    assert main([name, str(tmp_path / "dump")]) == 0
    answer = call("scaffold", tmp_path, "--source", tmp_path / "dump" / name)
    assert answer.code == 0, answer.told
    shutil.rmtree(tmp_path / "dump")
    assert files_of(tmp_path) == files_of(EXAMPLES / name / "draft")


@pytest.mark.usefixtures("restored_modules")
def test_the_finished_shop_is_a_migration(database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No document is rejected, carts are archived, every document is rebuilt exactly, and all is reverted."""
    project = tmp_path / "shop"
    shutil.copytree(EXAMPLES / "shop" / "finished", project)
    assert main(["shop", str(project / "dump")]) == 0
    there_and_back(project, f"dump:{project / 'dump' / 'shop'}", database, monkeypatch, frozenset({"carts"}))


def test_the_script_says_how_it_is_called(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["shoe", "dump"]) == 2
    assert "shop|content|devices FOLDER" in capsys.readouterr().err


def files_of(folder: Path) -> dict[str, str]:
    """The texts of a folder's files by path, without compiled modules."""
    paths = [path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    return {str(path.relative_to(folder)): path.read_text(encoding="utf-8") for path in paths}
