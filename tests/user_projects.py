"""Projects of users in tests: two packages that are copied from a folder here, a dump, and settings."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import psycopg
from bson import encode

from migrator.documents import raw_bson
from migrator.documents.codec import decode
from migrator.mapping.collection import Collection
from migrator.mapping.project import ProjectPackages, import_packages
from tests.archive_writer import write_archive, write_folder
from tests.driving import Answer, call, digest_database, dump_database

Document = dict[str, Any]
Changed = dict[tuple[str, bytes], bytes | None]
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


def import_mappings(folder: Path, name: str) -> dict[str, Collection]:
    """Imports the packages `name`_schema and `name`_mappings of a folder; returns the mappings by collection."""
    mappings, _ = import_packages(ProjectPackages(f"{name}_mappings", f"{name}_schema", str(folder)))
    return {each.name: each for each in mappings.MAPPINGS}


def write_packages(folder: Path, name: str, schema: str, mappings: str) -> Path:
    """Write the packages `name`_schema and `name`_mappings with these texts, and return their folder."""
    for package, text in ((f"{name}_schema", schema), (f"{name}_mappings", mappings)):
        (folder / package).mkdir(parents=True)
        (folder / package / "__init__.py").write_text(text, encoding="utf-8")
    return folder


def load_and_load_again(settings: Path, database: str) -> dict[str, int]:
    """Plans, runs, verifies at level roundtrip, reverts to what was there, and loads again equally.

    Returns the rows of each collection's table.
    """
    before = dump_database(database)
    plan = call("plan", "-c", settings, "--json")
    assert plan.code == 0, plan.told
    run = call("run", "-c", settings, "--json")
    assert run.code == 0, run.err
    verified = call("verify", "-c", settings, "--level", "roundtrip", "--json")
    assert verified.code == 0, verified.out
    digests = digest_database(database)
    assert rows_of(plan) == rows_of(run)
    reverted = call("revert", "-c", settings, "--yes", "--json")
    assert reverted.code == 0, reverted.told
    assert rows_of(run).items() <= rows_of(reverted).items()  # and the row of the tenant
    assert dump_database(database) == before
    assert call("run", "-c", settings).code == 0
    assert digest_database(database) == digests
    tables: dict[str, int] = run.json["tables"]
    return tables


def load_every_way(
    write_project: Callable[[Path, str, dict[str, list[Document]]], Path],
    name: str,
    documents: dict[str, list[Document]],
    new_database: Callable[[], str],
    folder: Path,
) -> list[dict[str, Any]]:
    """Runs the project `name` from a folder, from an archive, and in partitions in several processes with small
    batches.

    Returns the digests of the tables of each target.
    """
    digests = []
    for way in ("folder", "archive", "parts"):
        target = new_database()
        settings = write_project(folder / way, target, documents)
        if way == "archive":
            content = {each: list(map(encode, found)) for each, found in documents.items()}
            write_archive(folder / way / "dump.archive", {name: content})
            settings.write_text(settings.read_text().replace("dump:dump", "dump:dump.archive"))
        if way == "parts":
            settings.write_text(f"{settings.read_text()}\n[engine]\nworkers = 2\npart_bytes = 4096\nbatch_rows = 7\n")
        run = call("run", "-c", settings)
        assert run.code == 0, run.err
        found = digest_database(target)
        digests.append({table: found[table] for table in found if not table.startswith("migrator.")})
    return digests


def change_documents(
    chance: random.Random,
    make: Callable[[str, Any], Document],
    documents: dict[str, list[Document]],
    changes: int,
    names: Sequence[str],
) -> Changed:
    """Change, delete and add documents of `names`. Return what changed, None for a document that is gone.

    `make` returns a new document of a collection with an `_id`.
    """
    changed = Changed()
    for _ in range(changes):
        name = chance.choice(names)
        place = chance.randrange(len(documents[name]))
        source_id = documents[name][place]["_id"]
        if chance.random() < 0.25 and len(documents[name]) > 3:
            del documents[name][place]
            changed[name, raw_bson.source_id(encode({"_id": source_id}))] = None
            continue
        document = make(name, source_id)
        documents[name][place] = document
        changed[name, raw_bson.source_id(encode({"_id": source_id}))] = encode(document)
    gone = [key for key, raw in changed.items() if raw is None]
    for name, source_id in chance.sample(gone, len(gone) // 3):  # some come back
        document = make(name, decode(source_id)["_id"])
        documents[name].append(document)
        changed[name, source_id] = encode(document)
    return changed


def everything(url: str) -> dict[str, Any]:
    """Return digests, and the ledger with the fields of residues by name: a rebuilt document has them in any order."""
    query = "SELECT collection, source_id, outcome, target_id, residue FROM migrator.ledger ORDER BY 1, 2, 3, 4"
    digests: dict[str, Any] = digest_database(url)
    with psycopg.connect(url) as connection:
        rows = connection.execute(query, binary=True).fetchall()
    digests["migrator.ledger"] = [(*key, residue and _by_name(bytes(residue))) for *key, residue in rows]
    return digests


def _by_name(residue: bytes) -> str:
    parts = decode(residue)
    return repr({**parts, "set": sorted(parts.get("set", {}).items(), key=lambda pair: pair[0])})


def rows_of(answer: Answer) -> dict[str, int]:
    """The rows of each table that has any."""
    return {name: count for name, count in answer.json["tables"].items() if count}
