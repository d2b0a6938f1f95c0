"""The server process of the workers starts before the command is imported, if it is certainly needed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from migrator.commands import early_start
from migrator.execution.fork_server import LARGE_SOURCE
from migrator.workflows.verify_rows import WORKER_MODULES


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[tuple[object, object]]:
    """The packages and modules of each server process that would have been started."""
    found: list[tuple[object, object]] = []
    monkeypatch.setattr(
        "migrator.execution.fork_server.start_fork_server", lambda packages, modules: found.append((packages, modules))
    )
    return found


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project with a large dump: a file without blocks on the disk."""
    for place in ("large/app", "small"):
        (tmp_path / place).mkdir(parents=True)
        with (tmp_path / place / "messages.bson").open("wb") as file:
            file.truncate(LARGE_SOURCE + 1 if place == "large/app" else LARGE_SOURCE)
    write(tmp_path)
    return tmp_path


def write(folder: Path, *lines: str, source: str = "dump:large") -> None:
    text = "\n".join([f'source = {{ url = "{source}" }}', *lines])
    (folder / "migrate.toml").write_text(text, encoding="utf-8")


def start(folder: Path, line: str, environ: dict[str, str] | None = None) -> None:
    early_start.start_early([*line.split(), "-c", str(folder / "migrate.toml")], environ or {})


@pytest.mark.parametrize("line", ["run", "run --dry-run --workers 3", "plan --out x", "verify --level=roundtrip"])
def test_starts_for_a_large_dump(line: str, project: Path, started: list[tuple[object, object]]) -> None:
    start(project, line)
    modules = WORKER_MODULES if line.startswith("verify") else ()
    assert started == [(("mappings", "schema", str(project)), modules)]


def test_the_configuration_names_the_packages(project: Path, started: list[tuple[object, object]]) -> None:
    write(project, 'migration = { mappings = "m", schema = "s" }', source="dump:large/app")
    start(project, "run", {"MIGRATE_MIGRATION__SCHEMA": "other.s"})
    assert started == [(("m", "other.s", str(project)), ())]


@pytest.mark.parametrize(
    "line",
    ["", "status", "export", "run --help", "plan -h", "run --workers 1", "run --workers=1", "verify --level counts"],
)
def test_commands_without_workers(line: str, project: Path, started: list[tuple[object, object]]) -> None:
    start(project, line)
    assert not started


@pytest.mark.parametrize(
    ("lines", "environ", "source"),
    [
        ("engine = { workers = 1 }", {}, "dump:large"),
        ('engine = { executor = "tcp://scheduler:8786" }', {}, "dump:large"),
        ("", {"MIGRATE_ENGINE__WORKERS": "1"}, "dump:large"),
        ("", {"MIGRATE_SOURCE__URL": "dump:small"}, "dump:large"),
        ("", {"PGOPTIONS": "-c work_mem=1GB"}, "dump:large"),
        ("", {}, "dump:small"),
        ("", {}, "dump:${PLACE}"),
        ("", {}, "dump:none"),
        ("", {}, "mongodb://server/app"),
        ("engine = 1", {}, "dump:large"),
        ('engine = { workers = "two" }', {}, "dump:large"),
        ("not TOML", {}, "dump:large"),
    ],
)
def test_what_is_not_certain_or_wrong_is_left_to_the_command(
    lines: str,
    environ: dict[str, str],
    source: str,
    project: Path,
    started: list[tuple[object, object]],
    capfd: pytest.CaptureFixture[str],
) -> None:
    write(project, lines, source=source)
    start(project, "run", environ)
    early_start.start_early(["run", "--config"], environ)
    early_start.start_early(["run", "-c", str(project / "none.toml")], environ)
    assert not started
    assert capfd.readouterr() == ("", "")


PROGRAM = """
import os, signal, sys
from migrator.execution.fork_server import start_fork_server

def report():
    from migrator.execution.fork_server import PACKAGES
    print(*(name in sys.modules for name in ("tables", "migrator.execution.tasks")), PACKAGES in os.environ)

if __name__ == "__main__":
    context = start_fork_server(("tables", "tables", sys.argv[1]))
    from multiprocessing.forkserver import _forkserver
    os.kill(_forkserver._forkserver_pid, signal.SIGINT)
    process = context.Process(target=report)
    process.start()
    process.join()
    sys.exit(process.exitcode)
"""


@pytest.mark.parametrize(("package", "is_loaded"), [("", True), ("1 / 0", False), ("(", False), ("exit(3)", False)])
def test_the_server_process_has_imported_the_project(package: str, *, is_loaded: bool, tmp_path: Path) -> None:
    """Nothing is printed by Ctrl-C during its imports, nor for a package that the command cannot import either."""
    (tmp_path / "project").mkdir()
    (tmp_path / "project" / "tables.py").write_text(package, encoding="utf-8")
    program = tmp_path / "program.py"
    program.write_text(PROGRAM, encoding="utf-8")
    ended = subprocess.run(
        [sys.executable, program, tmp_path / "project"], capture_output=True, text=True, check=False, timeout=60
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, f"{is_loaded} True False\n", "")
