"""Finds and imports the packages of a project: its mappings and its schema. Errors in them are the user's.

A project is the folder of a `migrate.toml`. Its packages are searched there first, then among the installed packages.
Not here: what the packages must define (loader.py).
"""

from __future__ import annotations

import sys
import traceback
from collections.abc import Iterator
from importlib import import_module, invalidate_caches
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

from migrator.errors import MigrateError, UsageError

_folder_on_path: list[str] = []  # the project folder that this process has put on sys.path: at most one
_imported: set[Path] = set()  # the folders of the packages that were imported as mappings or schema


class ProjectPackages(NamedTuple):
    """The dotted names of the two packages, and the folder to search first ('': installed packages only)."""

    mappings: str
    schema: str
    folder: str = ""

    @property
    def modules(self) -> tuple[str, str]:
        return self.mappings, self.schema


def import_packages(packages: ProjectPackages) -> tuple[ModuleType, ModuleType]:
    """Imports the mappings and the schema. Raises: `UsageError` with file, line and cause if one cannot be imported."""
    _search_first(packages.folder)
    _unload_others({name.partition(".")[0] for name in packages.modules})
    return (
        _import(packages.mappings, "mappings", packages.folder),
        _import(packages.schema, "schema", packages.folder),
    )


def _search_first(folder: str) -> None:
    """Puts the folder at the head of sys.path, in place of the folder of another project."""
    for other in _folder_on_path:
        if other in sys.path:
            sys.path.remove(other)
    _folder_on_path[:] = [folder] if folder else []
    sys.path[:0] = _folder_on_path


def _import(name: str, key: str, folder: str) -> ModuleType:
    try:
        module = import_module(name)
    except MigrateError:  # the engine refuses a rule, and says which
        raise
    except ModuleNotFoundError as error:
        if error.name is None or not (name + ".").startswith(error.name + "."):
            raise _import_error(name, key, error) from error
        searched = f"in {folder} or among the installed packages" if folder else "among the installed packages"
        raise UsageError(
            f"[migration] {key}: no Python package {name!r} {searched}",
            hint="Name another package, or create it. `migrate init --example librechat DIR` writes an example.",
        ) from error
    except (Exception, SystemExit) as error:  # its cause is in the user's package, whatever its type
        raise _import_error(name, key, error) from error
    if module.__file__ is None:
        raise UsageError(
            f"[migration] {key}: {name!r} is a folder without __init__.py", hint="Add an __init__.py to the package."
        )
    _imported.add(Path(module.__file__).resolve().parent)
    return module


def _unload_others(packages: set[str]) -> None:
    """Unloads packages of the same names that this process imported from elsewhere: from another project."""
    inner = tuple(f"{name}." for name in packages)
    loaded = {name: sys.modules[name] for name in list(sys.modules) if name in packages or name.startswith(inner)}
    for name in loaded:  # all at first, because the mappings import the schema
        del sys.modules[name]
    invalidate_caches()
    for package in packages & loaded.keys():
        found = find_spec(package)
        if found is not None and found.origin == loaded[package].__file__:
            sys.modules.update({name: each for name, each in loaded.items() if name.partition(".")[0] == package})


def _import_error(name: str, key: str, error: BaseException) -> UsageError:
    return UsageError(
        f"[migration] {key}: the package {name!r} cannot be imported: {_locate_import(error)}{_describe(error)}",
        hint="Fix the package; `migrate schema` imports it and does nothing else.",
    )


def _describe(error: BaseException) -> str:
    """The type and the whole text: an import works on no data that the text could quote."""
    text = error.msg if isinstance(error, SyntaxError) else str(error)
    return f"{type(error).__name__}: {text}".removesuffix(": ")


def _locate_import(error: BaseException) -> str:
    """'FILE, line N: ' of the innermost frame outside Python's import system and the engine; '' if there is none."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{error.filename}, line {error.lineno}: "
    engine = Path(__file__).resolve().parents[1]
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if not frame.filename.startswith("<") and not Path(frame.filename).resolve().is_relative_to(engine)
        and "importlib" not in frame.filename
    ]  # fmt: skip
    return f"{frames[-1].filename}, line {frames[-1].lineno}: " if frames else ""


def find_project_frame(error: BaseException) -> str | None:
    """'FILE, line N, in FUNCTION' of the innermost frame in an imported project package; None: the error is not theirs.

    Errors of worker processes carry their traceback as text, in `__cause__`.
    """
    found = [place for file, place in _frames(error) if any(Path(file).is_relative_to(each) for each in _imported)]
    return found[-1] if found else None


def _frames(error: BaseException) -> Iterator[tuple[str, str]]:
    if error.__cause__ is not None and type(error.__cause__).__name__ == "_RemoteTraceback":
        for line in str(error.__cause__).splitlines():
            if line.startswith('  File "') and '", line ' in line:
                file, place = line.removeprefix('  File "').split('", ', 1)
                yield file, f"{file}, {place}"
    for frame in traceback.extract_tb(error.__traceback__):
        yield frame.filename, f"{frame.filename}, line {frame.lineno}, in {frame.name}"
