"""Tables whose keys have several columns: loaded, compared, rebuilt, exported, reverted, loaded again equally."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import LiteralString

import psycopg
import pytest
from bson import ObjectId, decode_all, encode

from migrator.documents.codec import CODEC_OPTIONS, decode
from tests.archive_writer import write_folder
from tests.driving import call
from tests.press import NAMES, Press, write_project
from tests.user_projects import Document, everything, load_and_load_again, load_every_way

SEEDS = [1, *(pytest.param(seed, marks=pytest.mark.long) for seed in range(2, 40))]


@pytest.mark.parametrize("seed", SEEDS)
def test_composite_keys(seed: int, database: str, tmp_path: Path) -> None:
    """Plan, run, verification, revert, run again; export gives the documents."""
    documents = Press(seed, 100).collections()
    settings = write_project(tmp_path, database, documents)
    tables = load_and_load_again(settings, database)
    assert min(tables.values()) > 10, f"seed {seed}: {tables}"
    exported = call("export", "-c", settings, tmp_path / "exported")
    assert exported.code == 0, exported.err
    for name in NAMES:
        found = decode_all((tmp_path / "exported" / "press" / f"{name}.bson").read_bytes(), CODEC_OPTIONS)
        assert by_id(found) == by_id([decode(encode(each)) for each in documents[name]]), f"seed {seed}: {name}"


def by_id(documents: list[Document]) -> dict[str, bytes]:
    """Return the documents by `_id`, with their fields by name: a rebuilt document has them in any order."""
    return {repr(each["_id"]): encode(dict(sorted(each.items())), codec_options=CODEC_OPTIONS) for each in documents}


# change → (check, table) that must find it
FAULTS: dict[LiteralString, tuple[str, str]] = {
    "UPDATE articles SET title = 'other' WHERE ctid = (SELECT min(ctid) FROM articles)":
        ("rows", "articles of articles"),
    "UPDATE readings SET taken_at = taken_at + interval '1 us' WHERE ctid = (SELECT min(ctid) FROM readings)":
        ("rows exist", "readings"),
    "UPDATE readings SET code = 'zz' WHERE ctid = (SELECT max(ctid) FROM readings)": ("rows", "readings"),
    "INSERT INTO trade.lines SELECT order_id, 99, 'new' FROM trade.lines LIMIT 1": ("rows exist", "trade.lines"),
    "UPDATE revisions SET text = 'other' WHERE ctid = (SELECT min(ctid) FROM revisions)": ("rows", "revisions"),
    "DELETE FROM remarks WHERE ctid = (SELECT min(ctid) FROM remarks)": ("rows", "remarks"),
    "UPDATE migrator.ledger SET target_id = 'damaged' WHERE ctid = (SELECT min(ctid) FROM migrator.ledger"
    " WHERE collection = 'lines' AND outcome = 'loaded')": ("round trip", "lines"),
    "UPDATE comments SET slug = slug || '!' WHERE ctid = (SELECT min(ctid) FROM comments WHERE slug IS NOT NULL)":
        ("foreign key", "comments.slug, tenant"),
}  # fmt: skip


def test_changed_rows_are_found(database: str, tmp_path: Path) -> None:
    """Values, keys, rows of elements, and a reference of two columns that leads nowhere, in one verification."""
    settings = write_project(tmp_path, database, Press(1, 60).collections())
    assert call("run", "-c", settings).code == 0
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("SET session_replication_role = replica")  # no foreign key refuses the changes
        for change in FAULTS:
            assert connection.execute(change).rowcount == 1
    verified = call("verify", "-c", settings, "--level", "roundtrip", "--json")
    assert verified.code == 4
    failed = {(each["check"], each["table"]) for each in verified.json["checks"] if not each["ok"]}
    assert set(FAULTS.values()) <= failed


def test_rows_of_the_application_stay(database: str, tmp_path: Path) -> None:
    """A row that existed before keeps its key: the document is rejected, and revert leaves the row."""
    documents = Press(5, 40, dirt=0).collections()
    settings = write_project(tmp_path, database, documents)
    ddl = call("schema", "-c", settings).out
    first = documents["articles"][0]
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(ddl.encode())
        connection.execute("INSERT INTO articles VALUES (%s, 'own', %s)", (first["tenant"], first["slug"]))
    assert call("run", "-c", settings).code == 0
    assert call("verify", "-c", settings, "--level", "roundtrip").code == 0
    with psycopg.connect(database, autocommit=True) as connection:
        title = "SELECT title FROM articles WHERE tenant = %s AND slug = %s"
        assert connection.execute(title, (first["tenant"], first["slug"])).fetchone() == ("own",)
        details = "SELECT count(*) FROM migrator.rejects WHERE detail LIKE '%not created by migrate'"
        row = connection.execute(details).fetchone()
        assert row is not None
        assert row[0] >= 1
    assert call("revert", "-c", settings, "--yes").code == 0
    with psycopg.connect(database, autocommit=True) as connection:
        assert connection.execute("SELECT title FROM articles").fetchall() == [("own",)]


def test_a_retry_gives_what_a_run_gives(new_database: Callable[[], str], tmp_path: Path) -> None:
    """Documents that were rejected, or had lost their references, are mended in the source and tried again."""
    mended, fresh = new_database(), new_database()
    press = Press(6, 60, dirt=0)
    documents = {**press.collections(), "legacy": []}  # a retry takes no row from a document of another mapping
    before = {name: [dict(each) for each in found] for name, found in documents.items()}
    for each in before["articles"][::5]:
        each["slug"] = 7  # no text: rejected, and references to it lead nowhere
    for each in before["lines"][::7]:
        each["order"] = ObjectId("65f0c0de0000000000000001")
    settings = write_project(tmp_path / "mended", mended, before)
    assert call("run", "-c", settings).code == 0
    content = {name: list(map(encode, found)) for name, found in documents.items()}
    write_folder(tmp_path / "mended" / "dump" / "press", content)
    retried = call("rejects", "retry", "-c", settings, "--json")
    assert retried.code == 0, retried.told
    assert retried.json["loaded"] > 5
    again = write_project(tmp_path / "fresh", fresh, documents)
    assert call("run", "-c", again).code == 0
    assert everything(mended) == everything(fresh)


def test_archive_and_workers_give_the_same(new_database: Callable[[], str], tmp_path: Path) -> None:
    """A stream, and partitions in several processes with small batches, give the same database."""
    digests = load_every_way(write_project, "press", Press(3, 200).collections(), new_database, tmp_path)
    assert digests[0] == digests[1] == digests[2]
