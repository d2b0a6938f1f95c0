"""Names that nobody means well, of collections, fields and ids: through every command, onto a terminal, into files."""

from __future__ import annotations

import json
import os
import re
import unicodedata
from pathlib import Path
from unittest.mock import patch
from xml.etree import ElementTree

import bson
import psycopg
import pytest
from bson import ObjectId

from migrator.sources import open_source
from migrator.workflows.export_files import name_file
from tests.archive_writer import write_archive
from tests.driving import call, hurried
from tests.scenarios import write_config

ODD = "\x1b[31m\x07\x9b2J\u202e"
NAMES = (
    'a"b', "a'b; DROP TABLE users; --", "a\nRun 9 done: all well", f"x{ODD}", "../../etc/x", "..", "a/b/c",
    "%(x)s {y} %s", "é" * 100, "C:\\x", "-rf", ".hidden", "with space", "$HOME", "<script>alert(1)</script>", "a" * 250,
    "b" * 240,
    "Users", "ledger", "%2e%2e%2f", "a\tb", "\u2028x", "users ", "日本", "&amp;", "`id`", "|id", "CON",
    "x.bson",
)  # fmt: skip
OWNER = ObjectId("64baaaafd882a3fac3fb6a01")
SAFE = {"Cc", "Cf", "Zl", "Zp"}  # categories that must not get out, but for line ends and tabs


def make_documents() -> dict[str, list[bytes]]:
    """Every name as a collection, a field, an id and a value; and some of it where the mapping looks."""
    found = {name: [bson.encode({"_id": name, name: {"$" + name: name}})] for name in NAMES}
    user = {"_id": OWNER, "email": "a@example.org", "name": ODD, "username": '"; DROP TABLE users; --', ODD: ODD}
    found["users"] = [
        bson.encode({**user, **dict.fromkeys(NAMES, 1)}),
        bson.encode({"_id": f"id {ODD}\n", "email": "a@example.org", "name": ODD}),
    ]
    talk = {"_id": f"talk {ODD}", "conversationId": f"c{ODD}", "endpoint": f"e{ODD}\n", "model": "'; --"}
    found["conversations"] = [
        bson.encode({**talk, "user": str(OWNER), "agent_id": ODD}),
        bson.encode({**talk, "_id": 2, "user": f"nobody {ODD}"}),
    ]
    return found


@pytest.fixture
def config(database: str, tmp_path: Path) -> Path:
    source = write_archive(tmp_path / "dump.archive", {"db": make_documents()})
    return write_config(tmp_path / "migrate.toml", f"dump:{source}", database)


def odd_in(text: str) -> set[str]:
    return {c for c in text if unicodedata.category(c) in SAFE and c not in "\n\t"}


def test_names_through_every_command(config: Path, database: str, server_url: str, tmp_path: Path) -> None:
    """Nothing gets out that could drive a terminal or be markup; nothing in the database is what a name says."""
    html, junit = tmp_path / "run.html", tmp_path / "verify.xml"
    plan = tmp_path / "plan.json"
    commands: list[tuple[object, ...]] = [
        ("plan", "--out", plan), ("plan", "--details", "users"), ("plan", "--details", NAMES[3]),
        ("run",), ("status",), ("status", "--json"),
        ("verify", "--level", "roundtrip", "--junit", junit), ("verify", "--json"),
        ("rejects", "list"), ("rejects", "list", "--json"), ("report", "--html", html), ("report", "--json"),
        ("plan", "--details", f"nothing {ODD}"), ("rejects", "export", tmp_path / "rejects.jsonl"),
        ("export", tmp_path / "out"),
    ]  # fmt: skip
    for command in commands:
        with hurried(server_url):
            answer = call(*command, "-c", config)
        assert answer.code == (2 if "nothing" in str(command[-1]) else 0), (command, answer.told)
        assert not odd_in(answer.told), command
        if "--json" in command:
            json.loads(answer.out)
        else:
            assert not re.search(r"(?m)^Run 9 done", answer.told), command
    number = call("rejects", "list", "-c", config, "--json").json["rejects"][0]["id"]
    assert not odd_in(call("rejects", "show", number, "-c", config).out)
    assert not odd_in(html.read_text(encoding="utf-8"))
    assert "<script" not in html.read_text(encoding="utf-8")
    ElementTree.parse(junit)
    with psycopg.connect(database) as connection:
        assert connection.execute("SELECT count(*) FROM users").fetchone() == (1,)


def test_names_come_back_from_files(config: Path, tmp_path: Path) -> None:
    """An export stays in its folder, hides nothing, and is read again with every name and document it had."""
    assert call("run", "-c", config, "-q").code == 0
    out = tmp_path / "out"
    before = {path for path in tmp_path.rglob("*") if path != out}
    assert call("export", out, "-c", config).code == 0
    written = set(tmp_path.rglob("*")) - before - {out, out / "db"}
    assert {path.parent for path in written} == {out / "db"}
    assert not [path for path in written if path.name.startswith(".") or len(path.name.encode()) > 255]
    found = open_source(f"dump:{out}")
    assert {each.name for each in found.collections()} == set(make_documents())
    read = {
        batch.collection: batch.data
        for batch in found.read(dict.fromkeys(make_documents(), ""), documents=9, size=9999)
    }
    for name in NAMES:
        assert read[name] == make_documents()[name][0]


def test_a_database_named_like_a_folder_above(database: str, tmp_path: Path) -> None:
    """`..` as a database's name leads nowhere."""
    source = write_archive(tmp_path / "dump.archive", {"..": {"users": []}})
    config = write_config(tmp_path / "migrate.toml", f"dump:{source}", database)
    assert call("run", "-c", config).code == 0
    assert call("export", tmp_path / "deep" / "out", "-c", config).code == 0
    assert [path.name for path in (tmp_path / "deep" / "out").iterdir()] == ["%2E."]
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["out"]


def test_long_names_are_cut_as_mongodump_does() -> None:
    """208 bytes, the delimiter, and 27 of a hash: always 238, and another name is another file."""
    cut = name_file("é" * 100)
    assert len(cut) == len(name_file("a" * 239)) == 238
    assert cut[:208] == ("%C3%A9" * 100)[:208]
    assert cut[208:211] == "%24"
    assert name_file("a" * 238) == "a" * 238
    assert name_file("a" * 250) != name_file("a" * 251)


def test_databases_that_have_no_name(database: str, tmp_path: Path) -> None:
    """A NUL in an archive's header, a folder that is no UTF-8: refused in words; a path may be any bytes."""
    folder, odd = os.fsencode(tmp_path), b"odd\xff"
    write_archive(tmp_path / "nul.archive", {"a\0b": {"users": []}})
    for place in (odd, b"root/" + odd, odd + b"2/app"):
        os.makedirs(folder + b"/" + place)
        Path(os.fsdecode(folder + b"/" + place)).joinpath("users.bson").write_bytes(b"")
    config = write_config(tmp_path / "migrate.toml", "dump:", database)
    for place, code in ((b"nul.archive", 7), (odd, 7), (b"root", 7), (odd + b"2", 0)):
        with patch.dict(os.environ, {"MIGRATE_SOURCE__URL": f"dump:{os.fsdecode(folder + b'/' + place)}"}):
            answer = call("run", "-c", config)
        assert answer.code == code, (place, answer.told)
        assert code == 0 or "invalid database name" in answer.err
