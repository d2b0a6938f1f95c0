"""The package as users install it: a wheel in a clean environment without extras and without a compiler."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tomllib
import zipfile
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
# What a build reads. It takes place in a copy: a checkout may contain the results of earlier builds.
SOURCES = ("mappings", "migrator", "schema", "LICENSE", "MANIFEST.in", "README.md", "pyproject.toml", "setup.py")
VERSIONS = ("python3.11", "python3.12", "python3.13")
ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "MIGRATE_"))}


def execute(*command: object, folder: Path, **environment: str) -> str:
    """Runs a command; returns its standard output."""
    done = subprocess.run(
        [*map(str, command)], cwd=folder, env=ENVIRONMENT | environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def copy_sources(folder: Path) -> Path:
    """Copies what a build reads; returns the path of the copy."""
    copy = folder / "checkout"
    ignored = shutil.ignore_patterns("__pycache__", "*.so", "*.c")
    for name in (*SOURCES, "fixtures"):
        source = ROOT / name
        if source.is_dir():
            keep = shutil.ignore_patterns("scenarios", "librechat") if name == "fixtures" else ignored
            shutil.copytree(source, copy / name, ignore=keep)
        else:
            shutil.copy(source, copy / name)
    return copy


def build(folder: Path, python: str = sys.executable) -> Path:
    """Builds a wheel as users do, with pip; returns its path."""
    execute(python, "-m", "pip", "wheel", "--no-deps", "-w", folder / "dist", copy_sources(folder), folder=folder)
    (wheel,) = (folder / "dist").glob("*.whl")
    return wheel


def build_quickly(folder: Path, **environment: str) -> Path:
    """Builds a wheel with the build tools of this environment, as pip does in a new one; returns its path.

    To install the build tools, and to ask them twice for what they will do, takes pip twice as long as the build.
    """
    command = "import sys; from setuptools import build_meta; build_meta.build_wheel(sys.argv[1])"
    execute(sys.executable, "-c", command, folder / "dist", folder=copy_sources(folder), **environment)
    (wheel,) = (folder / "dist").glob("*.whl")
    return wheel


def create_environment(folder: Path, python: str) -> Path:
    execute(python, "-m", "venv", "--without-pip", folder / "env", folder=folder)
    return folder / "env" / "bin"


def install(wheel: Path, folder: Path, python: str = sys.executable) -> Path:
    """Installs a wheel into a new environment; returns the environment's folder of programs."""
    programs = create_environment(folder, python)
    # Only what the demo imports is compiled, on import: compiling all of the packages takes longer than the demo.
    pip = (sys.executable, "-m", "pip", "--python", programs / "python")
    execute(*pip, "install", "--no-compile", wheel, folder=folder)
    return programs


def install_with_links(wheel: Path, folder: Path) -> Path:
    """Installs a wheel into a new environment, and links what it declares from this one: nothing else is there.

    Returns the environment's folder of programs.
    """
    programs = create_environment(folder, sys.executable)
    pip = (sys.executable, "-m", "pip", "--python", programs / "python")
    execute(*pip, "install", "--no-compile", "--no-deps", "--no-index", wheel, folder=folder)
    (packages,) = (folder / "env").glob("lib/python*/site-packages")
    (installed,) = metadata.distributions(path=[str(packages)])
    for distribution in find_required(installed):
        for name in {file.parts[0] for file in distribution.files or ()} - {"..", "__pycache__"}:
            (packages / name).symlink_to(str(distribution.locate_file(name)))
    return programs


def find_required(distribution: metadata.Distribution) -> list[metadata.Distribution]:
    """Returns the distributions of this environment that another one requires without extras, and their own ones."""
    found: dict[str, metadata.Distribution] = {}
    waiting = [(distribution, "")]
    seen: set[tuple[str, str]] = set()
    while waiting:
        owner, extra = waiting.pop()
        for requirement in map(Requirement, owner.requires or ()):
            if requirement.marker is not None and not requirement.marker.evaluate({"extra": extra}):
                continue
            name = canonicalize_name(requirement.name)
            found[name] = metadata.distribution(name)
            assert requirement.specifier.contains(found[name].version, prereleases=True), requirement
            more = {(name, each) for each in ("", *requirement.extras)} - seen
            seen |= more
            waiting += [(found[name], each) for _, each in sorted(more)]
    return list(found.values())


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
    """The wheel has one top-level package, and in an environment with nothing but what it declares it migrates the
    demo."""
    wheel = build_quickly(tmp_path, CC="/bin/false")
    names = zipfile.ZipFile(wheel).namelist()
    top = {name.split("/")[0] for name in names}
    assert {name for name in top if not name.endswith(".dist-info")} == {"migrator"}
    assert not [name for name in names if name.endswith((".so", ".c", ".pyc"))]
    programs = install_with_links(wheel, tmp_path)
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
    modules = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["ext-modules"]
    assert sum(name.endswith(".so") for name in names) == len(modules)
    assert not [name for name in names if name.endswith(".c")]


@pytest.mark.long
@pytest.mark.parametrize("python", VERSIONS)
def test_each_version_of_python(tmp_path: Path, python: str) -> None:
    """The demo runs with each supported version of Python that this machine has."""
    if shutil.which(python) is None or subprocess.run([python, "--version"], check=False).returncode != 0:
        pytest.skip(f"this machine has no {python}")
    programs = install(build(tmp_path, python), tmp_path, python)
    assert run_demo(programs, tmp_path / "project")["ok"]
