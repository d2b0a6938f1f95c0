"""`migrate scaffold`: the draft is clean code that loads, nothing is overwritten, and errors have remedies."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.driving import call, spawn

FIXTURES = Path(__file__).parents[2] / "fixtures"


@pytest.fixture(scope="module", params=["librechat", "demo"])
def project(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The draft for a fixture."""
    folder = tmp_path_factory.mktemp("scaffold") / "project"
    answer = call("scaffold", folder, "--source", FIXTURES / request.param, "--json")
    assert answer.code == 0, answer.told
    assert answer.json["documents"] == {"librechat": 5163, "demo": 251}[request.param]
    return folder


def run_tool(project: Path, *arguments: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", *arguments], cwd=project, capture_output=True, text=True, check=False, timeout=280
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("width", ["88", "120"])
def test_the_code_is_formatted_and_without_errors(project: Path, width: str) -> None:
    run_tool(project, "ruff", "format", "--isolated", "--line-length", width, "--check", ".")
    run_tool(project, "ruff", "check", "--isolated", "--select", "E4,E7,E9,F,I,UP,B,RUF", ".")


@pytest.mark.long
def test_the_code_has_types(project: Path) -> None:
    run_tool(project, "mypy", "--strict", "--no-incremental", "mappings", "schema")


def test_the_packages_load_and_nothing_is_overwritten(project: Path) -> None:
    answer = spawn("schema", "-c", project / "migrate.toml")
    assert answer.code == 0, answer.told
    assert "CREATE TABLE" in answer.out
    before = {path: path.read_bytes() for path in project.rglob("*.py")}
    answer = call("scaffold", project, "--source", FIXTURES / "demo")
    assert answer.code == 2
    assert "already exists" in answer.err
    assert {path: path.read_bytes() for path in project.rglob("*.py")} == before


def test_errors_have_remedies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No source, a source that does not exist, one without documents, a folder that cannot be created."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "things.bson").write_bytes(b"")
    (tmp_path / "file").write_text("")
    for arguments, code, hint in [
        (("new",), 2, "--source"),
        (("new", "--source", "nowhere"), 7, "url"),
        (("new", "--source", "empty"), 7, "--database"),
        (("file/new", "--source", FIXTURES / "demo"), 2, "another folder"),
    ]:
        answer = call("scaffold", *arguments)
        assert (answer.code, hint in answer.err) == (code, True), answer.told
    assert not (tmp_path / "new").exists()
