"""The package as users install it: a wheel in a clean environment without extras and without a compiler."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
# What a build reads. It takes place in a copy: a checkout may contain the results of earlier builds.
SOURCES = ("mappings", "migrator", "schema", "LICENSE", "MANIFEST.in", "README.md", "pyproject.toml", "setup.py")
NEWER = ("python3.12", "python3.13")
ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "MIGRATE_"))}


def execute(*command: object, folder: Path, **environment: str) -> str:
    """Runs a command; returns its standard output."""
    done = subprocess.run(
        [*map(str, command)], cwd=folder, env=ENVIRONMENT | environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def build(folder: Path, python: str = sys.executable, **environment: str) -> Path:
    """Builds a wheel from a copy of the sources; returns its path."""
    copy = folder / "checkout"
    ignored = shutil.ignore_patterns("__pycache__", "*.so", "*.c")
    for name in (*SOURCES, "fixtures"):
        source = ROOT / name
        if source.is_dir():
            keep = shutil.ignore_patterns("scenarios", "librechat") if name == "fixtures" else ignored
            shutil.copytree(source, copy / name, ignore=keep)
        else:
            shutil.copy(source, copy / name)
    execute(python, "-m", "pip", "wheel", "--no-deps", "-w", folder / "dist", copy, folder=folder, **environment)
    (wheel,) = (folder / "dist").glob("*.whl")
    return wheel


def install(wheel: Path, folder: Path, python: str = sys.executable) -> Path:
    """Installs a wheel into a new environment; returns the environment's folder of programs."""
    execute(python, "-m", "venv", "--without-pip", folder / "env", folder=folder)
    programs = folder / "env" / "bin"
    # Only what the demo imports is compiled, on import: compiling all of the packages takes longer than the demo.
    pip = (sys.executable, "-m", "pip", "--python", programs / "python")
    execute(*pip, "install", "--no-compile", wheel, folder=folder)
    return programs


def run_demo(programs: Path, folder: Path) -> dict[str, Any]:
    """Copies the example project into an empty folder and migrates it; returns what `verify` printed."""
    folder.mkdir()
    migrate = programs / "migrate"
    execute(migrate, "init", "--example", "librechat", folder=folder)
    assert json.loads(execute(migrate, "plan", "--json", folder=folder))["blockers"] == 0
    assert json.loads(execute(migrate, "run", "--json", folder=folder))["status"] == "done"
    verified: dict[str, Any] = json.loads(execute(migrate, "verify", "--level", "roundtrip", "--json", folder=folder))
    return verified


def test_a_wheel_without_a_compiler_runs_the_demo(tmp_path: Path) -> None:
    """The wheel has one top-level package, and a copy of it in a clean environment migrates the demo."""
    wheel = build(tmp_path, CC="/bin/false")
    names = zipfile.ZipFile(wheel).namelist()
    top = {name.split("/")[0] for name in names}
    assert {name for name in top if not name.endswith(".dist-info")} == {"migrator"}
    assert not [name for name in names if name.endswith((".so", ".c", ".pyc"))]
    programs = install(wheel, tmp_path)
    verified = run_demo(programs, tmp_path / "project")
    assert verified["ok"]
    assert all(check["ok"] for check in verified["checks"])
    for package in ("mappings", "schema"):
        command = f"import importlib.util as u; print(u.find_spec({package!r}))"
        assert execute(programs / "python", "-c", command, folder=tmp_path).strip() == "None"
    version = execute(programs / "migrate", "--version", folder=tmp_path)
    assert execute(programs / "python", "-m", "migrator", "--version", folder=tmp_path) == version


@pytest.mark.long
def test_a_wheel_contains_the_compiled_modules(tmp_path: Path) -> None:
    """With a compiler, the wheel has the compiled decoder, and no generated C code."""
    if shutil.which("cc") is None:
        pytest.skip("this machine has no C compiler")
    names = zipfile.ZipFile(build(tmp_path)).namelist()
    assert sum(name.endswith(".so") for name in names) == 2
    assert not [name for name in names if name.endswith(".c")]


@pytest.mark.long
@pytest.mark.parametrize("python", NEWER)
def test_newer_versions_of_python(tmp_path: Path, python: str) -> None:
    """The demo runs with each supported version of Python that this machine has."""
    if shutil.which(python) is None or subprocess.run([python, "--version"], check=False).returncode != 0:
        pytest.skip(f"this machine has no {python}")
    programs = install(build(tmp_path, python), tmp_path, python)
    assert run_demo(programs, tmp_path / "project")["ok"]
