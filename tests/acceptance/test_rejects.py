"""`migrate rejects retry` after the cause is mended: the documents and all that waited for them are loaded."""

from __future__ import annotations

import itertools
import pkgutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import bson
import psycopg
import pytest
from bson import ObjectId
from bson.datetime_ms import DatetimeMS

from migrator.errors import StoppedError
from tests.archive_writer import write_folder
from tests.driving import call, digest_database
from tests.scenarios import write_config
from tests.templates import Templates

DATETIME = DatetimeMS(1_704_067_200_000)
DATES = {"createdAt": DATETIME, "updatedAt": DATETIME}
OWNER, GONE = ObjectId("65a000000000000000000001"), ObjectId("65a0000000000000000000ff")
TALKS = [f"11111111-1111-4111-8111-11111111111{number}" for number in range(2)]


def oid(number: int) -> ObjectId:
    return ObjectId(f"65a0000000000000000001{number:02x}")


def message(number: int, talk: int, user: ObjectId, message_id: int | None = None, **fields: Any) -> dict[str, Any]:
    named = number if message_id is None else message_id
    texts = {"text": f"message {number}", "sender": "User", "isCreatedByUser": True}
    ids = {"messageId": f"22222222-2222-4222-8222-2222222222{named:02x}", "conversationId": TALKS[talk]}
    return {"_id": oid(number), **ids, "user": str(user), **texts, **fields, **DATES}


def make_dump(folder: Path, *, mended: bool) -> Path:
    """A talk of a user, one of whose messages has another's id (until it is mended); and a talk of nobody's."""
    talks = [
        {"_id": oid(90), "conversationId": TALKS[0], "user": str(OWNER), "messages": [oid(1), oid(2)], **DATES},
        {"_id": oid(91), "conversationId": TALKS[1], "user": str(GONE), "messages": [oid(4)], **DATES},
    ]
    said = [
        message(1, 0, OWNER),
        message(2, 0, OWNER, parentMessageId="22222222-2222-4222-8222-222222222201"),
        message(3, 0, OWNER, None if mended else 2),
        message(4, 1, GONE),
    ]
    users = [{"_id": OWNER, "email": "owner@example.com", **DATES}]
    made = {"users": users, "conversations": talks, "messages": said}
    return write_folder(folder, {name: [bson.encode(each) for each in some] for name, some in made.items()})


def outcomes(database: str) -> dict[tuple[str, str], int]:
    with psycopg.connect(database) as connection:
        query = "SELECT collection, outcome, count(*) FROM migrator.ledger GROUP BY 1, 2"
        return {(row[0], row[1]): row[2] for row in connection.execute(query)}


def test_a_policy_is_mended(database: str, tmp_path: Path) -> None:
    """With somebody to take over what has no owner, the talk and its message are loaded; the accounts add up."""
    url = f"dump:{make_dump(tmp_path / 'dump', mended=False)}"
    config = write_config(tmp_path / "migrate.toml", url, database)
    assert call("run", "-c", config).code == 0
    assert outcomes(database)["messages", "rejected"] == 2
    write_config(tmp_path / "migrate.toml", url, database, {"policies": {"orphan_owner": "owner@example.com"}})
    answer = call("rejects", "retry", "-c", config, "--json")
    assert answer.code == 0, answer.told
    assert outcomes(database) == {
        ("users", "loaded"): 1,
        ("conversations", "loaded"): 2,
        ("messages", "loaded"): 3,
        ("messages", "rejected"): 1,
    }
    assert call("verify", "-c", config, "--level", "roundtrip").code == 0


def test_a_document_is_mended(database: str, tmp_path: Path) -> None:
    """A message that is loaded later joins its talk; what the talk lists stays as it was in its document."""
    folder = tmp_path / "dump"
    config = write_config(tmp_path / "migrate.toml", f"dump:{make_dump(folder, mended=False)}", database)
    assert call("run", "-c", config).code == 0
    with psycopg.connect(database) as connection:
        query = "SELECT residue FROM migrator.ledger WHERE collection = 'conversations' AND outcome = 'loaded'"
        ((before,),) = connection.execute(query).fetchall()
        assert before is None or b"\x04messages\0" not in before
    make_dump(folder, mended=True)
    answer = call("rejects", "retry", "-c", config, "--json")
    assert answer.code == 0, answer.told
    assert outcomes(database)["messages", "loaded"] == 3
    assert call("verify", "-c", config, "--level", "roundtrip").code == 0


def test_nothing_is_mended(database: str, tmp_path: Path) -> None:
    """Tried again without a reason to be loaded, everything is as it was, and goes away with a revert."""
    config = write_config(tmp_path / "migrate.toml", f"dump:{make_dump(tmp_path / 'dump', mended=False)}", database)
    assert call("run", "-c", config).code == 0
    before = digest_database(database)
    assert call("rejects", "retry", "-c", config).code == 0
    assert digest_database(database) == before
    assert call("revert", "--yes", "-c", config).code == 0


STOPS = ("update_documents", "membership.expand_all", "refresh_references", "Pipeline.merge", "count_rejects")


@pytest.mark.usefixtures("quick")
def test_interrupted_retry_resumes(new_database: Callable[[], str], templates: Templates, tmp_path: Path) -> None:
    """A retry that is stopped at any point is resumed by the same command, with the result of an undisturbed one."""
    folder, whole = tmp_path / "dump", new_database()
    make_dump(folder, mended=False)
    configs = {}
    for name, url in [("whole", whole), *((stop, new_database()) for stop in STOPS)]:
        configs[url] = write_config(tmp_path / f"{name}.toml", f"dump:{folder}", url)
        templates.copy("test_interrupted_retry_resumes", url, partial(run_into, folder, tmp_path))
    make_dump(folder, mended=True)
    assert call("rejects", "retry", "-c", configs[whole]).code == 0
    expected = digest_database(whole)
    for stop, (url, config) in zip(STOPS, list(configs.items())[1:], strict=True):
        calls = {"membership.expand_all": 2, "refresh_references": 2, "count_rejects": 4}.get(stop, 1)
        with stop_at(f"migrator.workflows.retry_rejects.{stop}", calls):
            assert call("rejects", "retry", "-c", config).code == 5, stop
        refused = call("export", tmp_path / "out", "-c", config)
        assert (refused.code, "`migrate rejects retry` completes it" in refused.err) == (2, True), refused.told
        answer = call("rejects", "retry", "-c", config)
        assert (answer.code, "Resuming an interrupted retry." in answer.told) == (0, True), (stop, answer.told)
        assert digest_database(url) == expected, stop
        assert "Resuming" not in call("rejects", "retry", "-c", config).told
    assert call("verify", "-c", config, "--level", "roundtrip").code == 0


def run_into(source: Path, folder: Path, url: str) -> None:
    assert call("run", "-c", write_config(folder / "template.toml", f"dump:{source}", url)).code == 0


@contextmanager
def stop_at(name: str, number: int) -> Iterator[None]:
    """Stop the process at the given call of a function, as a signal would."""
    function, calls = pkgutil.resolve_name(name), itertools.count(1)

    def act(*arguments: Any) -> Any:
        if next(calls) == number:
            raise StoppedError("interrupted")
        return function(*arguments)

    with patch(name, act):
        yield
