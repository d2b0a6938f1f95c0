"""Who may read a live MongoDB, and how: users and rights, TLS, what is said before a run where something is missing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
import pytest
import trustme
from pymongo import MongoClient
from pymongo.monitoring import CommandListener, CommandStartedEvent

from migrator.errors import SourceError
from migrator.sources import live, live_client
from migrator.sources.live import LiveSource
from migrator.sources.live_writer import LiveWriter
from migrator.workflows import retry
from tests.driving import Answer, call
from tests.mongo import Server, fill, server_in
from tests.scenarios import write_config
from tests.talks import make_talks

PASSWORD = "hidden-secret@1"
WRITTEN = "hidden-secret%401"
RIGHTS = ("insert", "update", "remove")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """With users: a reader, and one who may do nothing."""
    with server_in(tmp_path_factory.mktemp("guarded")) as server:
        fill(server.url, "talks", make_talks(messages=300))
        with MongoClient[dict[str, Any]](server.url) as client:
            talks, admin = client["talks"], client["admin"]
            talks.command("createUser", "reader", pwd=PASSWORD, roles=["read"])
            talks.command("createUser", "nobody", pwd=PASSWORD, roles=[])
            for missing in RIGHTS:
                actions = sorted({"find", *RIGHTS} - {missing})
                granted = [{"resource": {"db": "talks", "collection": ""}, "actions": actions}]
                talks.command("createRole", f"no_{missing}", privileges=granted, roles=[])
                talks.command("createUser", f"no_{missing}", pwd=PASSWORD, roles=[f"no_{missing}"])
            talks.command("createUser", "writer", pwd=PASSWORD, roles=["readWrite"])
            admin.command("createUser", "root", pwd=PASSWORD, roles=["root"])
        server.kill(15)
        server.options = ("--auth", "--enable-test-commands")
        server.way = f"mongodb://root:{WRITTEN}@127.0.0.1:{server.port}/?authSource=admin"
        server.start()
        yield server


@pytest.fixture
def endless_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    """An error that is taken for a passing one is retried until the time limit of the test."""
    monkeypatch.setattr(live, "RETRY_SECONDS", 3600)
    monkeypatch.setattr(retry, "MAX_ATTEMPTS", 1000)


def run_as(user: str, server: Server, database: str, folder: Path) -> Answer:
    url = f"mongodb://{user}127.0.0.1:{server.port}/talks"
    return call("run", "-c", write_config(folder / "m.toml", url, database))


def test_a_reader_is_enough(server: Server, database: str, tmp_path: Path) -> None:
    """The role `read` on the one database is all that a run and a verification need."""
    answer = run_as(f"reader:{WRITTEN}@", server, database, tmp_path)
    assert answer.code == 0, answer.told
    assert call("verify", "-c", tmp_path / "m.toml", "--level", "roundtrip").code == 0


@pytest.mark.parametrize("right", RIGHTS)
def test_rights_to_write_are_proven(right: str, server: Server) -> None:
    """Before a switch, each right is proven with a command that changes nothing."""
    url = f"mongodb://no_{right}:{WRITTEN}@127.0.0.1:{server.port}/talks"
    expected = pytest.raises(SourceError, match="no privilege to write to users")
    with closing(LiveWriter(url, "talks")) as refused, expected:
        refused.prove(["users"])
    with closing(LiveWriter(f"mongodb://writer:{WRITTEN}@127.0.0.1:{server.port}/talks", "talks")) as writer:
        writer.prove(["users"])
    with MongoClient[dict[str, Any]](server.way) as client:
        assert client["talks"]["users"].count_documents({}) == len(make_talks(messages=300)["users"])


@pytest.mark.usefixtures("endless_retries")
@pytest.mark.parametrize(
    ("user", "cause", "remedy"),
    [
        ("reader:wrong-secret@", "authentication failed", "Check user, password and authSource in source.url"),
        ("stranger:wrong-secret@", "authentication failed", "Check user, password and authSource in source.url"),
        ("", "insufficient privileges", "name the database in source.url"),
        (f"nobody:{WRITTEN}@", "insufficient privileges", "Grant the role `read`"),
    ],
)
def test_missing_rights_are_said_at_once(
    user: str, cause: str, remedy: str, server: Server, database: str, tmp_path: Path
) -> None:
    """Exit code 7, what is missing and what to do, before anything is written, and never the password."""
    answer = run_as(user, server, database, tmp_path)
    assert answer.code == 7, answer.told
    assert cause in answer.told
    assert remedy in answer.told
    assert "secret" not in answer.told
    with psycopg.connect(database) as connection:
        assert connection.execute("SELECT to_regnamespace('migrator')").fetchone() == (None,)


def test_a_collection_that_may_not_be_read_is_named(server: Server, database: str, tmp_path: Path) -> None:
    """Rights may be missing on single collections. SecantusDB has no such rights, but it can refuse a question."""
    with MongoClient[dict[str, Any]](server.way) as client:
        refuse = {"failCommands": ["find"], "errorCode": 13}
        client.admin.command("configureFailPoint", "failCommand", mode={"times": 1}, data=refuse)
    answer = run_as(f"reader:{WRITTEN}@", server, database, tmp_path)
    assert answer.code == 7, answer.told
    assert "no privilege to read users\n" in answer.told  # the smallest is asked for first
    assert "Grant the role `read` on the database talks" in answer.told


@pytest.mark.parametrize(
    ("url", "code", "cause"),
    [
        ("mongodb+srv://u:hidden-secret@no.such.host.example/x", 7, "unknown host"),
        ("mongodb://u:hidden-secret@no.such.host.example/x?serverSelectionTimeoutMS=500", 7, "unknown host"),
        ("mongodb://u:hidden-secret@127.0.0.1:1/x?serverSelectionTimeoutMS=500", 7, "no response from the server"),
        ("mongodb://u:hidden-secret@127.0.0.1:1/x?readPreference=odd", 2, "read preference"),
        ("mongodb://u:hidden-secret@127.0.0.1:1/x?tlsCaFil=x", 2, "Unknown option"),
    ],
)
def test_wrong_addresses(url: str, code: int, cause: str, database: str, tmp_path: Path) -> None:
    """What cannot be reached is exit code 7, what cannot be meant 2; options that a driver would pass over, too."""
    answer = call("run", "-c", write_config(tmp_path / "m.toml", url, database))
    assert answer.code == code, answer.told
    assert cause in answer.told
    assert "secret" not in answer.told


class Listener(CommandListener):
    """Remembers what a client asked for."""

    def __init__(self) -> None:
        self.commands: list[dict[str, Any]] = []

    def started(self, event: CommandStartedEvent) -> None:
        self.commands.append(dict(event.command))

    def succeeded(self, event: object) -> None: ...
    def failed(self, event: object) -> None: ...


def test_what_is_asked_of_the_server(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reads are of what a majority has, retried by the driver, from where the URL says."""
    listener = Listener()
    monkeypatch.setattr(live_client, "LISTENERS", [listener])
    url = f"mongodb://reader:{WRITTEN}@127.0.0.1:{server.port}/talks?readPreference=secondaryPreferred"
    source = LiveSource(url)
    assert [each.name for each in source.collections()] == ["conversations", "logs", "messages", "users"]
    assert all(each.documents and each.bytes for each in source.collections())
    assert sum(batch.count for batch in source.read({"users": ""}, documents=10, size=1 << 20)) == 40
    finds = [each for each in listener.commands if each.get("find") == "users" and "hint" in each]
    assert {each["readConcern"]["level"] for each in finds} == {"majority"}
    assert {each["$readPreference"]["mode"] for each in finds} == {"secondaryPreferred"}
    client: Any = source._client
    assert client.options.retry_reads
    source.close()


def test_a_server_that_has_to_count_is_asked_once(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a size would be counted, a collection is read by the very question that finds out whether it may be."""
    listener = Listener()
    monkeypatch.setattr(live_client, "LISTENERS", [listener])
    with MongoClient[dict[str, Any]](server.way) as client:
        slow = {"failCommands": ["collStats"], "errorCode": 50}
        client.admin.command("configureFailPoint", "failCommand", mode="alwaysOn", data=slow)
        source = LiveSource(f"mongodb://reader:{WRITTEN}@127.0.0.1:{server.port}/talks")
        try:
            assert {each.documents for each in source.collections()} == {None}
        finally:
            client.admin.command("configureFailPoint", "failCommand", mode="off")
    assert source.split("messages", 1000) is None
    assert sum(batch.count for batch in source.read({"messages": ""}, documents=70, size=1 << 20)) == 300
    assert sum(each.get("find") == "messages" for each in listener.commands) == 1
    source.close()


@pytest.mark.long
@pytest.mark.usefixtures("endless_retries")
def test_tls(tmp_path: Path, database: str) -> None:
    """With the right authority a run succeeds; with another, for another host, without TLS, it says what to check."""
    authority, other = trustme.CA(), trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    other.cert_pem.write_to_path(tmp_path / "other.pem")
    mine = authority.issue_cert("localhost")
    mine.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
    mine.private_key_pem.write_to_path(tmp_path / "key.pem")
    with server_in(tmp_path / "mongo") as server:
        fill(server.url, "talks", make_talks(messages=100))
        server.kill(15)
        server.options = ("--tls-cert-file", str(tmp_path / "cert.pem"), "--tls-key-file", str(tmp_path / "key.pem"))
        trusted = f"tls=true&tlsCAFile={tmp_path}/ca.pem"
        server.way = f"mongodb://localhost:{server.port}/?directConnection=true&{trusted}"
        server.start()
        for host, options, cause in (
            ("localhost", f"tls=true&tlsCAFile={tmp_path}/other.pem", "TLS connection failed"),
            ("127.0.0.1", trusted, "TLS connection failed"),
            ("localhost", f"tls=true&tlsCAFile={tmp_path}/missing.pem", "a file that source.url names"),
            ("localhost", "tls=false", "no response from the server"),
        ):
            url = f"mongodb://{host}:{server.port}/talks?directConnection=true&serverSelectionTimeoutMS=1000&{options}"
            answer = call("run", "-c", write_config(tmp_path / "m.toml", url, database))
            assert answer.code == (2 if "missing" in options else 7), answer.told
            assert cause in answer.told, (host, options, answer.told)
        good = f"mongodb://localhost:{server.port}/talks?directConnection=true&{trusted}"
        answer = call("run", "-c", write_config(tmp_path / "m.toml", good, database))
        assert answer.code == 0, answer.told
