"""Projects of users in tests: two packages that are copied from a folder here, a dump, and settings."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from bson import encode

from tests.archive_writer import write_folder
from tests.driving import call, digest_database, dump_database

Document = dict[str, Any]
SETTINGS = """
[source]
url = "{source}"
database = "{name}"

[target]
url = "{target}"

[migration]
mappings = "{name}_mappings"
schema = "{name}_schema"
"""


def write_user_project(
    packages: Path,
    name: str,
    folder: Path,
    target: str,
    collections: dict[str, list[Document]] | None,
    source: str = "dump:dump",
) -> Path:
    """Writes the project with the packages `name`_schema and `name`_mappings, and returns the path of its settings."""
    for package in (f"{name}_schema", f"{name}_mappings"):
        shutil.copytree(packages / package, folder / package)
    if collections is not None:
        write_folder(folder / "dump" / name, {each: list(map(encode, found)) for each, found in collections.items()})
    settings = folder / "migrate.toml"
    settings.write_text(SETTINGS.format(source=source, target=target, name=name), encoding="utf-8")
    return settings


def load_and_load_again(settings: Path, database: str) -> dict[str, int]:
    """Plans, runs, verifies at level roundtrip, reverts to what was there, and loads again equally.

    Returns the rows of each collection's table.
    """
    before = dump_database(database)
    assert call("plan", "-c", settings).code == 0
    run = call("run", "-c", settings, "--json")
    assert run.code == 0, run.err
    verified = call("verify", "-c", settings, "--level", "roundtrip", "--json")
    assert verified.code == 0, verified.out
    digests = digest_database(database)
    assert call("revert", "-c", settings, "--yes").code == 0
    assert dump_database(database) == before
    assert call("run", "-c", settings).code == 0
    assert digest_database(database) == digests
    tables: dict[str, int] = run.json["tables"]
    return tables
