"""Planted secrets, wherever a user may put one, and whatever then goes wrong: no message has them, whole or in part."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any
from unittest.mock import Mock, patch
from urllib.parse import quote

import pytest

from migrator.sources import live_client
from tests.driving import Answer, call, spawn
from tests.embedding_server import serving
from tests.processes import finish
from tests.refusing import refusing_server
from tests.scenarios import read_scenario, write_config, write_dump
from tests.security.planting import API_KEY, MONGO, PASSWORD, ask, check

PIECES = ("12", "plum", "peach")  # of a password with separators between them; the first may be a port
SEPARATORS = "/?#@:'&=,; %[]"
ESCAPED, MONGO_ESCAPED = quote(PASSWORD, safe=""), quote(MONGO, safe="")
SOON = "serverSelectionTimeoutMS=100"
ON_TARGET = (
    ("plan",), ("run",), ("run", "--dry-run"), ("run", "--dry-run", "--rehearse-in", "target"), ("status",),
    ("status", "--watch"), ("verify",), ("revert", "--yes"), ("report",), ("export", "out"), ("embed",),
    ("rejects", "list"), ("rejects", "show", "1"), ("rejects", "retry"), ("rejects", "export", "out.jsonl"),
)  # fmt: skip


@pytest.fixture
def dump(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A source that has nothing wrong. What is tried again is given up at once."""
    monkeypatch.setattr("migrator.workflows.retry.MAX_ATTEMPTS", 1)
    monkeypatch.setattr("migrator.sources.live.RETRY_SECONDS", 0)
    monkeypatch.setitem(live_client._DEFAULTS, "serverSelectionTimeoutMS", 100)
    monkeypatch.chdir(tmp_path)
    return f"dump:{write_dump(read_scenario('orphans-rejected'), tmp_path / 'dump')}"


@pytest.fixture
def refusing() -> Iterator[str]:
    """Where a server asks for a password, and refuses it."""
    with refusing_server() as port:
        yield f"127.0.0.1:{port}/app?sslmode=disable&gssencmode=disable"


@pytest.mark.parametrize("command", ON_TARGET, ids=" ".join)
@pytest.mark.parametrize("reason", ["refused", "unreachable", "unknown"])
def test_a_target_that_lets_nobody_in(
    command: tuple[str, ...], reason: str, dump: str, refusing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every command that connects ends with exit code 7, and has told nothing."""
    if reason == "unknown":  # where there is no network, some resolvers take five seconds for this answer
        no_address = socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        monkeypatch.setattr(socket, "getaddrinfo", Mock(side_effect=no_address))
    where = {"refused": refusing, "unreachable": "127.0.0.1:1/app", "unknown": "no.such.host.invalid/app"}[reason]
    config = write_config(Path("migrate.toml"), dump, f"postgresql://app:{ESCAPED}@{where}")
    for how in ("-v", "--json"):
        ask(*command, "-c", config, how, code=7)


def test_secrets_that_libpq_finds_by_itself(dump: str, refusing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A password in the environment, in a file of passwords, in a file of services; a passphrase in the URL."""
    host, port = refusing.partition("/")[0].split(":")
    Path("pass").write_text(f"*:*:*:*:{API_KEY}\n")
    Path("pass").chmod(0o600)
    Path("service.conf").write_text(f"[planted]\nhost={host}\nport={port}\nuser=app\npassword={API_KEY}\n")
    monkeypatch.setenv("PGSERVICEFILE", "service.conf")
    urls = {
        f"postgresql://app@{refusing}": {"PGPASSWORD": PASSWORD},
        f"postgresql://app@{refusing}&passfile=pass": {},
        f"postgresql://app@{refusing}&sslpassword={ESCAPED}": {"PGPASSFILE": "pass"},
        "postgresql:///app?service=planted&sslmode=disable&gssencmode=disable": {},
        f"postgresql://app@{refusing}&password={ESCAPED}&sslrootcert={MONGO_ESCAPED}": {},
        f"postgresql://app@{refusing.replace('sslmode=disable', 'sslmode=require')}&sslpassword={ESCAPED}": {},
    }
    for number, (url, environment) in enumerate(urls.items()):
        config = write_config(Path(f"{number}.toml"), dump, url)
        with patch.dict("os.environ", environment):
            ask("status", "-c", config, "-v", code=7)


def test_psql_has_no_secret_on_its_command_line(dump: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Anybody may read that; the environment of a process is its owner's."""
    program = tmp_path / "bin" / "psql"
    program.parent.mkdir()
    program.write_text('#!/bin/sh\necho "$@"; echo "$PGPASSWORD" > password; exit 3\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent), prepend=":")
    url = f"postgresql://app:{ESCAPED}@h/app?sslkey=client.key&sslpassword={MONGO_ESCAPED}"
    answer = finish("psql", "-c", write_config(tmp_path / "migrate.toml", dump, url), "--", "-c", "SELECT 1")
    assert answer.code == 3
    assert "client.key" in answer.out
    check(answer.told, "psql")
    assert (tmp_path / "password").read_text() == f"{PASSWORD}\n"


@pytest.mark.parametrize("section", ["source", "recordings", "chunks"])
def test_what_is_read_beside_the_target(section: str, dump: str, refusing: str) -> None:
    """A source, recordings or chunks behind a password that is wrong, or where nobody answers."""
    urls = [f"postgresql://app:{ESCAPED}@{where}" for where in (refusing, "127.0.0.1:1/x", "no.such.host.invalid/x")]
    if section == "source":
        options = f"authMechanism=MONGODB-AWS&authMechanismProperties=AWS_SESSION_TOKEN:{API_KEY}"
        urls = [
            f"mongodb://app:{MONGO_ESCAPED}@127.0.0.1:1/?{SOON}",
            f"mongodb://app:{MONGO_ESCAPED}@127.0.0.1:1/?{SOON}&{options}",
            f"mongodb://127.0.0.1:1/?{SOON}&proxyHost=127.0.0.1&proxyUsername=u&proxyPassword={MONGO_ESCAPED}",
            f"mongodb+srv://app:{MONGO_ESCAPED}@no.such.host.invalid/?{SOON}",
        ]
    for number, url in enumerate(urls):
        config = write_config(Path(f"{number}.toml"), dump, "embedded:data", {section: {"url": url}})
        for command in ("plan", "run"):
            assert ask(command, "-c", config, "-v", code=None).code in (2, 7)


def test_a_service_of_embeddings(dump: str) -> None:
    """The key and an address that is a secret itself; refused, unreachable, and with all logs that its library has."""
    with serving() as service:
        service.behave(key="another")
        host = service.url.partition("://")[2]
        for base in (service.url, f"http://app:{MONGO_ESCAPED}@{host}", f"http://{MONGO_ESCAPED}@127.0.0.1:1/v1"):
            embedding = {"provider": "openai", "api_key": API_KEY, "base_url": f"{base}?code={ESCAPED}&key={API_KEY}"}
            config = write_config(Path("migrate.toml"), dump, "embedded:data", {"embedding": embedding})
            ask("embed", "--text", "plain", "-c", config, "-v", code=7)
        service.behave()
        embedding |= {"base_url": f"http://app:{MONGO_ESCAPED}@{host}", "api_key": f"{API_KEY}-and-more"}
        config = write_config(Path("migrate.toml"), dump, "embedded:data", {"embedding": embedding})
        answer = spawn("embed", "--text", PASSWORD, "-c", config, "-v", environment={"OPENAI_LOG": "debug"})
    assert answer.code == 0, answer.told
    check(answer.told, "embed")


def badly_written() -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Source, target and further settings in which a password is not escaped; a user may be taken for the host."""
    for first, second in product(SEPARATORS, "/@"):
        each = first.join(PIECES[:2]) + second + PIECES[2]
        yield "", f"postgresql://localhost:{each}@127.0.0.1:1/x", {}
        yield "", f"postgresql://127.0.0.1:1/x?user=app&password={each}", {}
        yield f"mongodb://localhost:{each}@127.0.0.1:1/?{SOON}", "embedded:data", {}
        yield "", "embedded:data", {"recordings": {"url": f"postgresql://localhost:{each}@127.0.0.1:1/x"}}


def test_passwords_that_are_not_escaped(dump: str) -> None:
    """A URL is cut in pieces by what should have been written as %XX; no piece of the password is named as a host."""
    for source, target, settings in badly_written():
        answer = call("plan", "-c", write_config(Path("migrate.toml"), source or dump, target, settings), "-v")
        refuse_pieces(answer, (source, target, settings))
        assert answer.code in (2, 7), answer.told


def refuse_pieces(answer: Answer, where: object) -> None:
    found = [piece for piece in PIECES[1:] if piece in answer.told]
    assert not found, (where, answer.told[:400])


@pytest.mark.parametrize(
    "text",
    [
        'target = "postgresql://app:plum peach@h"',
        '[target]\nurl = "mysql://app:plum peach@h"',
        '[target]\npassword = "plum"',
        '[target]\nurl = "postgresql://app:plum\\x"',
        '[engine]\nexecutor = "dask://app:plum peach@h"',
        'embedding = "${PLANTED}"',
        '[embedding]\ndimensions = "${PLANTED}"\nmodel = ["${PLANTED}"]\nbatch = "x ${PLANTED}"',
        '[embedding]\nbase_url = "http://app:plum[peach@h"',
        '[[storage]]\nprovider = "x"\nmatch = "(${PLANTED}"\nkey = "$1"\nurl = "https://app:${PLANTED}@h"',
    ],
)
def test_mistakes_in_the_file(text: str, tmp_path: Path) -> None:
    """A secret in the wrong place, or in a line with a mistake, is not repeated."""
    config = tmp_path / "migrate.toml"
    config.write_text(text)
    with patch.dict("os.environ", {"PLANTED": "plum-peach"}):
        answer = call("plan", "-c", config, "-v")
    assert answer.code == 2
    refuse_pieces(answer, text)


def test_mistakes_in_the_environment(dump: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What overrides a key is treated as the key."""
    config = write_config(Path("migrate.toml"), dump, "embedded:data")
    for name in ("TARGET__URL", "SOURCE__URL", "EMBEDDING__BASE_URL", "RECORDINGS__URL", "EMBEDDING__API_KEY"):
        with patch.dict("os.environ", {f"MIGRATE_{name}": "x://app:plum peach@h", "MIGRATE_ENGINE__WORKERS": "many"}):
            answer = call("plan", "-c", config, "-v")
        assert answer.code == 2
        refuse_pieces(answer, name)
