"""The example project that `migrate init --example` copies: the migration of LibreChat, with a small dump.

A wheel contains its files as data, in migrator/examples; a checkout has them where they are developed. `setup.py`
imports this module, so that it needs the standard library only.
"""

from __future__ import annotations

import shutil
from pathlib import Path

NAMES = ("librechat",)
# Where a file or folder of the repository is in the example project.
LAYOUT: dict[str, str] = {
    "fixtures/example-migrate.toml": "migrate.toml",
    "mappings": "mappings",
    "schema": "schema",
    "fixtures/demo": "demo",
    "fixtures/demo-recordings.csv": "demo-recordings.csv",
    "fixtures/demo-chunks.jsonl": "demo-chunks.jsonl",
}
_PACKAGE = Path(__file__).resolve().parents[1]


def copy_example(name: str, folder: Path) -> list[Path]:
    """Copies the example into `folder`, which is created; returns what it wrote. Raises: `FileExistsError`."""
    built = _PACKAGE / "examples" / name
    files = {built / path: path for path in LAYOUT.values()} if built.is_dir() else _checkout_files(_PACKAGE.parent)
    for path in files.values():
        if (folder / path).exists():
            raise FileExistsError(str(folder / path))
    folder.mkdir(parents=True, exist_ok=True)
    return [_copy(source, folder / path) for source, path in files.items()]


def build_example(checkout: Path, package: Path) -> list[Path]:
    """Copies the example from a checkout into a package that is built; returns what it wrote."""
    folder = package / "examples" / "librechat"
    folder.mkdir(parents=True, exist_ok=True)
    return [_copy(source, folder / path) for source, path in _checkout_files(checkout).items()]


def _checkout_files(checkout: Path) -> dict[Path, str]:
    return {checkout / path: target for path, target in LAYOUT.items()}


def _copy(source: Path, target: Path) -> Path:
    if source.is_dir():
        ignored = shutil.ignore_patterns("__pycache__")
        return Path(shutil.copytree(source, target, ignore=ignored, dirs_exist_ok=True))
    return Path(shutil.copyfile(source, target))
