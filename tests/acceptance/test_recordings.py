"""Recordings and chunks: compared with a second implementation of the rules; round trips; interruptions."""

from __future__ import annotations

import random
import signal
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from unittest.mock import patch

import bson
import psycopg
import pytest

from migrator.events import Event, StepAdvanced
from migrator.terminal.console import Console
from tests.acceptance.test_interruptions import check_left_over, finish, interrupt
from tests.archive_writer import write_folder
from tests.driving import call, digest_database, dump_database
from tests.killing import COMMITS, count
from tests.lessons import (
    Lessons,
    expected_duration,
    expected_video,
    make_files,
    make_lessons,
    oid,
    row_id,
    used_recordings,
)
from tests.scenarios import write_config
from tests.templates import Templates

pytestmark = pytest.mark.usefixtures("quick")


def configure(made: Lessons, database: str, folder: Path, **settings: Any) -> Path:
    folder.mkdir(exist_ok=True)
    dump = write_folder(folder / "dump", made.bson())
    sections = made.write(folder)
    sections["recordings"] |= settings.pop("recordings", {})
    return write_config(folder / "migrate.toml", f"dump:{dump}", database, {**sections, **settings})


def run(config: Path) -> dict[str, Any]:
    answer = call("run", "-c", config, "--json")
    assert answer.code == 0, answer.told
    report: dict[str, Any] = answer.json
    return report


def read(database: str, query: str) -> list[Any]:
    with psycopg.connect(database) as connection:
        return connection.execute(query.encode()).fetchall()


@pytest.mark.parametrize("prefer", [pytest.param("module", marks=pytest.mark.long), "recording"])
def test_recordings(prefer: str, database: str, tmp_path: Path) -> None:
    """Plan, run, verify, export and revert agree with the rules, and a second run gives the same result."""
    check_recordings(make_lessons(400, 300), prefer, database, tmp_path)


@pytest.mark.long
@pytest.mark.parametrize("prefer", ["module", "recording"])
def test_five_thousand_recordings(prefer: str, database: str, tmp_path: Path) -> None:
    """The same with five thousand rows."""
    check_recordings(make_lessons(5000, 2000), prefer, database, tmp_path)


def check_recordings(made: Lessons, prefer: str, database: str, folder: Path) -> None:
    config = configure(made, database, folder, recordings={"prefer": prefer})
    before = dump_database(database)
    planned = call("plan", "-c", config, "--json").json
    outcome = run(config)["collections"]
    check_foretold(planned, outcome)
    check_rules(made, prefer, database, outcome)
    answer = call("verify", "-c", config, "--level", "roundtrip", "--json")
    assert answer.code == 0, answer.told
    check_export(made, config, folder / "out")
    first = digest_database(database)
    assert call("revert", "-c", config, "--yes").code == 0
    assert dump_database(database) == before
    run(config)
    assert digest_database(database) == first


def check_foretold(planned: dict[str, Any], outcome: dict[str, Any]) -> None:
    for each in planned["source"]["collections"]:
        counts = outcome[each["name"]]
        assert each["predicted"] == {name: counts[name] for name in each["predicted"]}
        assert each["documents"] == counts["source"] == sum(each["predicted"].values())


def check_rules(made: Lessons, prefer: str, database: str, outcome: dict[str, Any]) -> None:
    """Compare rows, ledger and findings with the second implementation of the rules."""
    used = used_recordings(made)
    assert outcome["recordings"]["loaded"] == len(used)
    rows = {
        row[0]: row[1:] for row in read(database, "SELECT id::text, duration, video_url, video_provider FROM modules")
    }
    for module in made.documents["modules"]:
        name, recording = row_id("modules", module["_id"]), used.get(module["order"])
        if name in rows:
            expected = (
                expected_duration(module, recording, prefer), *expected_video(module, recording, prefer)
            )  # fmt: skip
            assert rows[name] == expected, (module, recording)
    query = "SELECT target_id, source_id FROM migrator.ledger WHERE collection = 'recordings' AND outcome = 'loaded'"
    wanted = Counter((row_id("modules", made.documents["modules"][n]["_id"]), each["id"]) for n, each in used.items())
    assert Counter((target, bson.decode(source)["_id"]) for target, source in read(database, query)) == wanted
    archived = read(database, "SELECT count(*) FROM migrator.archive WHERE collection = 'recordings'")[0][0]
    query = (
        "SELECT count(*) FROM migrator.findings WHERE code IN ('recording_unmatched', 'recording_superseded')"
        " AND collection = 'recordings'"
    )
    assert read(database, query)[0][0] == archived == len(made.recordings) - len(used)


def check_export(made: Lessons, config: Path, folder: Path) -> None:
    """Modules, recordings and chunks are exported as they were, although columns and residues have changed."""
    assert call("export", folder, "-c", config).code == 0
    (home,) = (path for path in folder.iterdir() if path.is_dir())
    for name in ("modules", "files"):
        documents = {each["_id"]: each for each in bson.decode_all((home / f"{name}.bson").read_bytes())}
        sources = {each["_id"]: bson.decode(bson.encode(each)) for each in made.documents[name]}
        assert documents == sources
    lines = (folder / "recordings.jsonl").read_text(encoding="utf-8").splitlines()
    assert len(lines) == len(made.recordings)
    assert not (home / "recordings.bson").exists()
    assert len((folder / "document_chunks.jsonl").read_bytes().splitlines()) == len(made.chunks)


# --- interruptions --------------------------------------------------------------------------------------------------


def test_stopped_within_the_merge(database: str, tmp_path: Path) -> None:
    """A merge is complete or has not started; the same command completes it."""
    made = make_lessons(200, 0)
    config = configure(made, database, tmp_path / "here")
    emit = Console.emit

    def stop(console: Console, event: Event) -> None:
        emit(console, event)
        if isinstance(event, StepAdvanced) and event.step == "merge recordings":
            raise KeyboardInterrupt

    with patch.object(Console, "emit", stop):
        assert call("run", "-c", config).code == 5
    query = "SELECT outcome, count(*) FROM migrator.ledger WHERE collection = 'recordings' GROUP BY 1"
    assert read(database, query) == [("archived", 200)]
    assert read(database, "SELECT count(*) FROM migrator.findings WHERE collection = 'recordings'") == [(0,)]
    run(config)
    check_rules(made, "module", database, {"recordings": {"loaded": len(used_recordings(made))}})
    assert call("verify", "-c", config, "--level", "roundtrip").code == 0


def test_killed_and_begun_again(new_database: Callable[[], str], tmp_path: Path) -> None:
    """kill -9 while chunks are read and recordings merged: everything ends as undisturbed."""
    check_kills(new_database, tmp_path, make_lessons(150, 500), 2, seed=20261130)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(10))
def test_killed_often(seed: int, new_database: Callable[[], str], tmp_path: Path) -> None:
    """The same with many kills."""
    check_kills(new_database, tmp_path, make_lessons(300, 2000), 6, seed)


def check_kills(new_database: Callable[[], str], folder: Path, made: Lessons, kills: int, seed: int) -> None:
    engine = {"engine": {"batch_rows": 25}}
    whole, broken = new_database(), new_database()
    run(configure(made, whole, folder / "whole", **engine))
    config = configure(made, broken, folder / "broken", **engine)
    for moment in sorted(random.Random(seed).sample(range(1, count(whole, COMMITS)), kills)):
        interrupt(config, broken, signal.SIGKILL, moment, COMMITS)
        check_left_over(broken)
    answer = finish(config)
    assert answer.code == 0, answer.told
    assert digest_database(broken) == digest_database(whole), seed


# --- documents loaded later -----------------------------------------------------------------------------------------


def test_modules_that_come_later(new_database: Callable[[], str], tmp_path: Path) -> None:
    """`rejects retry` loads modules whose course was rejected; their recordings are merged as in a single run."""
    later, at_once = new_database(), new_database()
    made = make_lessons(200, 100)
    course = made.documents["courses"][0]
    made.documents["courses"].append({**course, "_id": oid(1, 99), "title": None})
    config = configure(made, later, tmp_path / "here")
    assert run(config)["collections"]["modules"]["rejected"] == 5
    made.documents["courses"][1]["title"] = "Another"
    write_folder(tmp_path / "here" / "dump", made.bson())
    answer = call("rejects", "retry", "-c", config, "--json")
    assert (answer.code, answer.json["collections"]["modules"]["rejected"]) == (0, 0), answer.told
    run(configure(made, at_once, tmp_path / "there"))
    for query in (
        "SELECT * FROM modules ORDER BY id",
        "SELECT collection, source_id, target_id, outcome FROM migrator.ledger ORDER BY 1, 2, 3",
        "SELECT collection, source_id, document FROM migrator.archive ORDER BY 1, 2, 3",
        "SELECT collection, source_id, code, detail FROM migrator.findings ORDER BY 1, 2, 3, 4",
    ):
        assert read(later, query) == read(at_once, query)
    assert call("verify", "-c", config, "--level", "roundtrip").code == 0
    assert call("revert", "-c", config, "--yes").code == 0


@pytest.mark.long
def test_a_file_that_comes_later(new_database: Callable[[], str], tmp_path: Path) -> None:
    """A corrected file gets an ID back; its chunks have its creation time, as in a single run."""
    later, at_once = new_database(), new_database()
    made = make_lessons(10, 60)
    first, second = made.documents["files"][:2]
    moment = datetime(1, 2, 3, 4, 5, 6, 7000, tzinfo=UTC)
    second["file_id"], first["createdAt"], first["filename"] = first["file_id"], moment, None
    config = configure(made, later, tmp_path / "here")
    assert run(config)["collections"]["files"]["rejected"] == 1
    first["filename"] = "mended.txt"
    write_folder(tmp_path / "here" / "dump", made.bson())
    answer = call("rejects", "retry", "-c", config, "--json")
    assert (answer.code, answer.json["collections"]["files"]["rejected"]) == (0, 1), answer.told
    run(configure(made, at_once, tmp_path / "there"))
    for table in ("files", "document_chunks"):
        assert digest_database(later)[table] == digest_database(at_once)[table]
    assert read(later, "SELECT count(*) > 9 FROM document_chunks WHERE created_at = '0001-02-03 04:05:06.007'") == [
        (True,)
    ]
    assert call("verify", "-c", config, "--level", "roundtrip").code == 0


def test_changed_sources_are_refused(database: str, tmp_path: Path) -> None:
    """Recordings and chunks are part of the fingerprints of runs and plans."""
    made = make_lessons(30, 30)
    config = configure(made, database, tmp_path / "here")
    assert call("plan", "-c", config, "--out", tmp_path / "plan.json").code == 0
    (tmp_path / "here" / "recordings.csv").open("a", encoding="utf-8").write("x" + "," * 13 + "\r\n")
    answer = call("run", "-c", config, "--plan", tmp_path / "plan.json")
    assert (answer.code, "recordings" in answer.told) == (3, True), answer.told
    run(config)
    (tmp_path / "here" / "chunks.jsonl").open("a", encoding="utf-8").write('{"content": "x"}\n')
    answer = call("run", "-c", config)
    assert (answer.code, "chunks" in answer.told) == (2, True), answer.told
    answer = call("verify", "-c", config, "--level", "counts")
    assert (answer.code, "document_chunks" in answer.told) == (4, True), answer.told


# --- changes by others ----------------------------------------------------------------------------------------------


def test_a_source_that_is_lost(new_database: Callable[[], str], tmp_path: Path) -> None:
    """The server of the vector store ends the session: the run retries and gives the same result."""
    source, whole, broken = new_database(), new_database(), new_database()
    made = make_lessons(20, 0)
    made.documents["files"] = make_files(200)
    files = [each["file_id"] for each in made.documents["files"]]
    with psycopg.connect(source, autocommit=True) as connection:
        connection.execute(
            "CREATE TABLE langchain_pg_embedding (uuid uuid PRIMARY KEY, document text, cmetadata json, custom_id text)"
        )
        connection.execute(
            "INSERT INTO langchain_pg_embedding SELECT gen_random_uuid(), repeat(n::text || ' words ', 300),"
            " json_build_object('page', n %% 7), (%s::text[])[1 + n %% %s] FROM generate_series(1, 6000) n",
            (files, len(files)),
        )
    settings = {"chunks": {"url": source}, "engine": {"batch_rows": 200, "workers": 1}}
    run(write_config(tmp_path / "a.toml", f"dump:{write_folder(tmp_path / 'dump', made.bson())}", whole, settings))
    config = write_config(tmp_path / "b.toml", f"dump:{tmp_path / 'dump'}", broken, settings)
    emit, ended = Console.emit, list[int]()

    def end(console: Console, event: Event) -> None:
        emit(console, event)
        if isinstance(event, StepAdvanced) and event.step == "load document_chunks" and not ended:
            query = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database()"
            # Not the server's own processes: autovacuum may be at the new rows.
            ended.append(len(read(source, f"{query} AND pid <> pg_backend_pid() AND backend_type = 'client backend'")))

    with patch.object(Console, "emit", end):
        answer = call("run", "-c", config)
    assert (answer.code, ended) == (0, [1]), answer.told
    assert "retrying" in answer.told
    assert digest_database(broken) == digest_database(whole)
    assert read(broken, "SELECT count(*) FROM document_chunks") == [(6000,)]


def test_a_collection_of_the_same_name(database: str, tmp_path: Path) -> None:
    """A MongoDB collection named recordings conflicts with the section [recordings]."""
    made = make_lessons(10, 0)
    made.documents["recordings"] = [{"_id": 1}]
    answer = call("run", "-c", configure(made, database, tmp_path / "here"))
    assert (answer.code, "also has a collection recordings" in answer.told) == (2, True), answer.told


def test_one_collection_after_the_other(database: str, tmp_path: Path) -> None:
    """Recordings may be loaded before the modules; they are merged when both are loaded."""
    made = make_lessons(60, 20)
    config = configure(made, database, tmp_path / "here")
    for only in ("recordings", "courses,users,files", "document_chunks"):
        assert call("run", "-c", config, "--only", only).code == 0
    loaded = "SELECT count(*) FROM migrator.ledger WHERE collection = 'recordings' AND outcome = 'loaded'"
    assert read(database, loaded) == [(0,)]
    assert call("run", "-c", config, "--only", "modules").code == 0
    assert read(database, loaded) == [(len(used_recordings(made)),)]
    run(config)
    assert call("verify", "-c", config, "--level", "roundtrip").code == 0


@pytest.mark.parametrize(
    ("statement", "level", "words"),
    [
        ("UPDATE modules SET transcript = 'x' WHERE duration IS NOT NULL", "rows", "transcript: expected"),
        ("UPDATE document_chunks SET content = content || '!'", "rows", "content: expected"),
        (
            "DELETE FROM document_chunks WHERE id = (SELECT min(id::text)::uuid FROM document_chunks)",
            "counts",
            "missing",
        ),
        ("DELETE FROM migrator.archive WHERE collection = 'recordings'", "counts", "archive"),
        (
            "UPDATE migrator.ledger SET residue = overlay(residue PLACING 'X' FROM 60) WHERE collection = 'recordings'"
            " AND residue IS NOT NULL",
            "roundtrip",
            "recordings",
        ),
    ],
)
def test_damage_is_found(
    statement: str, level: str, words: str, database: str, templates: Templates, tmp_path: Path
) -> None:
    """Verify finds any change to rows and records of recordings and chunks."""
    made = make_lessons(60, 40)
    templates.copy("60 recordings", database, lambda url: run(configure(made, url, tmp_path / "template")))
    config = configure(made, database, tmp_path / "here")
    with psycopg.connect(database) as connection:
        assert connection.execute(statement.encode()).rowcount > 0
    answer = call("verify", "-c", config, "--level", level)
    assert (answer.code, words in answer.told) == (4, True), answer.told
