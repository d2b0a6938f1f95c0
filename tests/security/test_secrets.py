"""Planted secrets: nothing of the configuration's, and nothing of a document's values, gets out where others read.

What may hold values by contract is left out: rows, residues, rejected and archived documents, `rejects show` and
`rejects export`, and what `export` writes.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, LiteralString
from unittest.mock import patch
from urllib.parse import quote

import bson
import psycopg
import pytest
from bson import ObjectId
from psycopg import sql

from tests.archive_writer import write_folder
from tests.conftest import administer
from tests.driving import Answer, call, hurried
from tests.scenarios import write_config

PASSWORD = 'pla n/ted@"pass:word%1'
API_KEY = "planted-api-key-0815"
MONGO = "planted#mongo/pass"
SPELLINGS = {form for secret in (PASSWORD, API_KEY, MONGO) for form in (secret, quote(secret, safe=""), quote(secret))}
PLANT = "planted0value"  # in every value of every document
OWNER = ObjectId("64baaaafd882a3fac3fb6a01")
JOURNAL: dict[str, LiteralString] = {
    "runs": "*", "steps": "*", "parts": "*", "batches": "*", "activity": "*", "metadata": "*", "findings": "*",
    "objects": "*", "rejects": "collection, reason, detail", "links": "*",
}  # fmt: skip


def planted(**fields: Any) -> dict[str, Any]:
    """A document whose every value is one that nobody may read; ids and references are not."""
    secret = {
        "password": f"$2a$10${PLANT}", "totpSecret": PLANT, "backupCodes": [{"codeHash": PLANT}],
        "refreshToken": [{"refreshToken": PLANT}], "note": {PLANT[:3]: [PLANT, {"x": PLANT}]}, "name": PLANT,
        "createdAt": f"{PLANT} is no date", "tier": PLANT, "role": PLANT, "title": PLANT, "text": f"{PLANT}\0",
        "bytes": PLANT, "emailVerified": PLANT, "amount": PLANT,
    }  # fmt: skip
    return {"_id": ObjectId(), **secret, **fields}


def make_dump(folder: Path) -> Path:
    """Everything that gives findings and rejects: duplicates, wrong types, orphans, what cannot be decoded."""
    invalid = bson.encode({"_id": 7, "email": f"{PLANT}9"}).replace(
        PLANT.encode() + b"9", PLANT[:-1].encode() + b"\xff9"
    )
    talk = {"conversationId": "11111111-1111-4111-8111-111111111111", "endpoint": PLANT, "model": PLANT}
    message = {"conversationId": talk["conversationId"], "sender": PLANT, "user": str(OWNER), "content": [{"x": PLANT}]}
    documents = {
        "users": [
            planted(_id=OWNER, email=f"{PLANT}@example.org"), planted(email=f"{PLANT}@example.org"),
            planted(email=None), planted(email=f"{PLANT}2@example.org", username=7, provider={"x": PLANT}),
        ],
        "conversations": [planted(**talk, user=str(OWNER)), planted(**talk, user=str(ObjectId()))],
        "messages": [
            planted(**message, messageId=f"22222222-2222-4222-8222-22222222222{n}", parentMessageId=parent, text=text)
            for n, (parent, text) in enumerate([(None, PLANT), ("x", {"value": PLANT}), (f"y{PLANT}", PLANT * 9000)])
        ],
        "files": [planted(user=OWNER, file_id=f"f{n}", bytes=size) for n, size in enumerate((PLANT, 1 << 40, -1.5))],
        "transactions": [planted(user=OWNER, amount=95, status=PLANT, type=PLANT, stripeSessionId=PLANT)] * 2,
        "sessions": [planted(refreshTokenHash=PLANT)],
    }  # fmt: skip
    encoded = {name: [bson.encode(each) for each in some] for name, some in documents.items()}
    encoded["users"].append(invalid)
    return write_folder(folder, encoded)


@pytest.fixture
def logs(tmp_path: Path) -> Iterator[Path]:
    """Where crash logs go."""
    folder = tmp_path / "logs"
    folder.mkdir()
    with patch.object(tempfile, "tempdir", str(folder)):
        yield folder


@pytest.fixture
def target(database: str, server_url: str) -> Iterator[str]:
    """A URL with a password that needs escaping; the server may not ask for it, but we must not tell it."""
    name = f"planted_{os.getpid()}"
    administer(server_url, "CREATE ROLE {} SUPERUSER LOGIN", name)
    with psycopg.connect(server_url, autocommit=True) as connection:
        connection.execute(sql.SQL("ALTER ROLE {} PASSWORD {}").format(sql.Identifier(name), PASSWORD))
    head, _, rest = database.partition("://")
    yield f"{head}://{name}:{quote(PASSWORD, safe='')}@{rest.partition('@')[2]}"
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(sql.SQL("DROP OWNED BY {} CASCADE").format(sql.Identifier(name)))
    administer(server_url, "DROP ROLE {}", name)


@pytest.fixture
def config(target: str, tmp_path: Path) -> Path:
    settings = {
        "embedding": {"provider": "none", "api_key": API_KEY, "base_url": f"https://u:{quote(MONGO, safe='')}@h/v1"}
    }
    return write_config(tmp_path / "migrate.toml", f"dump:{make_dump(tmp_path / 'dump')}", target, settings)


def check(text: str, where: object) -> None:
    """Nothing planted is in a text."""
    for secret in (*SPELLINGS, PLANT):
        for form in (secret, json.dumps(secret)[1:-1], secret.encode().hex()):
            assert form not in text, (where, text[max(text.index(form) - 200, 0) :][:400])


def ask(*command: object, code: int | None = 0) -> Answer:
    answer = call(*command)
    if code is not None:
        assert answer.code == code, answer.told
    check(answer.told, command)
    return answer


def test_nothing_planted_gets_out(config: Path, database: str, server_url: str, tmp_path: Path, logs: Path) -> None:
    """Every command, in words and as JSON, quiet and verbose; its files; the journal."""
    html, junit, plan, proof = (tmp_path / name for name in ("r.html", "v.xml", "plan.json", "verify.json"))
    with hurried(server_url):
        ask("plan", "-c", config, "--out", plan, "-v")
        ask("plan", "-c", config, "--details", "users")
        ask("report", "--plan", plan, "--html", tmp_path / "p.html")
    ask("run", "-c", config, "-v")
    ask("run", "-c", config, "--json")
    ask("status", "-c", config)
    ask("status", "-c", config, "--json")
    proof.write_text(ask("verify", "-c", config, "--level", "roundtrip", "--json", "--junit", junit).out)
    ask("report", "-c", config, "--html", html, "--verify", proof)
    ask("report", "-c", config, "--json")
    ask("rejects", "list", "-c", config)
    ask("rejects", "list", "-c", config, "--json")
    ask("rejects", "retry", "-c", config)
    ask("schema", "-c", config, "--json")
    check_journal(database)
    spoil(database)
    proof.write_text(ask("verify", "-c", config, "--level", "roundtrip", "--json", "--junit", junit, code=4).out)
    ask("verify", "-c", config, "--level", "roundtrip", "-v", code=4)
    ask("report", "-c", config, "--html", html, "--verify", proof)
    ask("export", "-c", config, tmp_path / "out", code=None)
    ask("revert", "-c", config, "--yes", code=None)
    for path in (html, junit, plan, proof, tmp_path / "p.html", *logs.glob("*.log")):
        check(path.read_text(encoding="utf-8"), path)


def check_journal(database: str) -> None:
    with psycopg.connect(database) as connection:
        for relation, columns in JOURNAL.items():
            query = sql.SQL("SELECT {} FROM {}").format(sql.SQL(columns), sql.Identifier("migrator", relation))
            for row in connection.execute(query):
                check(repr(row), relation)


def spoil(database: str) -> None:
    """Differences of every kind that have values to quote."""
    with psycopg.connect(database) as connection:
        connection.execute(
            "UPDATE users SET name = name || 'x', preferences = '{\"a\": 1}' WHERE email LIKE 'planted0value@%'"
        )
        connection.execute("DELETE FROM messages WHERE id = (SELECT max(id::text)::uuid FROM messages)")
        connection.execute("UPDATE migrator.ledger SET residue = NULL WHERE collection = 'users'")


@pytest.mark.parametrize("error", [RuntimeError(f"at {PASSWORD}"), ValueError(PLANT), KeyError(PLANT)])
def test_a_defect_tells_nothing(config: Path, logs: Path, error: Exception) -> None:
    """A crash ends with a message and a log, and neither has what the error quotes."""
    with patch("migrator.commands.running.run_migration", side_effect=error):
        for more in ((), ("-v",), ("--json",)):
            ask("run", "-c", config, *more, code=1)
    assert len(list(logs.glob("*.log"))) == 3
    for path in logs.glob("*.log"):
        assert path.stat().st_mode & 0o077 == 0
        check(path.read_text(encoding="utf-8"), path)


def test_failures_outside_tell_nothing(config: Path, database: str, server_url: str, tmp_path: Path) -> None:
    """No server, a wrong password, a wrong URL: the cause, and no value."""
    head, secret, mongo = "postgresql://planted", quote(PASSWORD, safe=""), quote(MONGO, safe="")
    source, soon = f"dump:{tmp_path / 'dump'}", "serverSelectionTimeoutMS=300"
    for number, (url, target) in enumerate((
        (source, f"{head}:{secret}@127.0.0.1:1/x?connect_timeout=2"),
        (source, f"{head}@127.0.0.1:1/x?password={secret}&connect_timeout=2"),
        (source, f"{head}:{secret}@no.such.host.invalid/x"),
        (source, f"{head}:{PASSWORD}@127.0.0.1:port/x"),
        (source, f"{head}:{secret}@127.0.0.1/x?nonsense={secret}"),
        (f"mongodb://planted:{mongo}@127.0.0.1:1/?{soon}", database),
        (f"mongodb://planted:{mongo}@127.0.0.1:1/?tlsCertificateKeyFilePassword={mongo}&{soon}", database),
        (f"mongodb://planted:{MONGO}@127.0.0.1:1/?{soon}", database),
        (f"mongodb+srv://planted:{mongo}@no.such.host.invalid/?{soon}", database),
        (f"ftp://planted:{mongo}@h/", database),
    )):  # fmt: skip
        config = write_config(tmp_path / f"{number}.toml", url, target)
        with hurried(server_url):
            for command in ("plan", "run", "verify", "status"):
                with patch("migrator.persevere.MOST", 1):
                    answer = ask(command, "-c", config, "-v", code=None)
                assert answer.code != 1, answer.told


def test_rows_that_break_a_rule_of_others(config: Path, database: str) -> None:
    """A constraint that an application added ends a run; the message names it, not the row."""
    schema = ask("schema", "-c", config).out
    with psycopg.connect(database) as connection:
        connection.execute(schema.encode())
        connection.execute("ALTER TABLE users ADD CONSTRAINT nobody CHECK (name <> 'planted0value')")
    answer = ask("run", "-c", config, "-v", code=None)
    assert answer.code == 7
    assert "constraint nobody" in answer.err
