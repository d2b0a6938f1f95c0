"""Constraints of the owner that refuse a later change of a loaded row: a parent, a latest value, a merged recording.

`plan` predicts which documents are rejected, `run` rejects them and what depends on them, `verify` finds no difference.
The result does not depend on batches, workers or the order of the documents.
"""

from __future__ import annotations

import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import bson
import pytest
from bson.datetime_ms import DatetimeMS

from tests.acceptance.test_collisions import read_all
from tests.acceptance.test_interruptions import interrupt
from tests.acceptance.test_owner_objects import count_rejects, dump_without_sequences, oid, predicted_rejects
from tests.archive_writer import write_folder
from tests.driving import call, dump_database
from tests.lessons import Lessons, make_lessons
from tests.scenarios import write_config
from tests.target_server import Server

pytestmark = pytest.mark.usefixtures("quick")

START = 1_704_067_200_000  # ms since 1970
USERS = 3
CONVERSATIONS = 6
MESSAGES = 10  # of each conversation
NO_PARENT = "00000000-0000-0000-0000-000000000000"
RAISING = """
CREATE FUNCTION public.check_{0}(v {1}) RETURNS boolean IMMUTABLE LANGUAGE plpgsql
  AS $$ BEGIN IF {2} THEN RAISE EXCEPTION 'refused'; END IF; RETURN true; END $$;
"""
ROOT_BY_USER = (
    "ALTER TABLE messages ADD CONSTRAINT rooted CHECK (parent_id IS NOT NULL OR role = 'user' OR content = '');"
)
CASES: dict[str, str] = {
    # The newest message of conversation 1 is older than the conversation.
    "a latest value before the row's date": "ALTER TABLE conversations ADD CONSTRAINT in_order"
    " CHECK (last_message_at >= created_at);",
    "a unique latest value": "CREATE UNIQUE INDEX one_time ON conversations (last_message_at);",
    "a deferred unique latest value": "ALTER TABLE conversations ADD CONSTRAINT one_time UNIQUE (last_message_at)"
    " DEFERRABLE INITIALLY DEFERRED;",
    "an exclusion of latest values": "ALTER TABLE conversations ADD CONSTRAINT one_time"
    " EXCLUDE (last_message_at WITH =) WHERE (title <> 'C3');",
    "a function that raises for a latest value": RAISING.format("time", "timestamp", "v < '2024-01-01'")
    + "ALTER TABLE conversations ADD CHECK (public.check_time(last_message_at));",
    "an index on an expression of a latest value": "CREATE INDEX by_time ON conversations"
    " ((1 / (date_part('year', last_message_at) - 2023)::integer));",
    "a generated column from a latest value": "ALTER TABLE conversations ADD COLUMN ratio integer"
    " GENERATED ALWAYS AS (1 / (date_part('year', last_message_at) - 2023)::integer) STORED;",
    "latest values that are all refused": "ALTER TABLE conversations ADD CHECK (last_message_at IS NULL);",
    # A missing parent becomes NULL, and so does the parent of every message below a rejected one.
    "a root that must be of the user": ROOT_BY_USER,
    "one root for each conversation": "CREATE UNIQUE INDEX one_root ON messages (conversation_id)"
    " WHERE parent_id IS NULL;",
    "one child for each message": "ALTER TABLE messages ADD CONSTRAINT one_child UNIQUE (parent_id);",
    "one child for each message, deferred": "ALTER TABLE messages ADD CONSTRAINT one_child UNIQUE (parent_id)"
    " DEFERRABLE INITIALLY DEFERRED;",
    "a function that raises for roots": RAISING.format("root", "uuid", "v IS NULL")
    + "ALTER TABLE messages ADD CHECK (content IN ('', 'root') OR public.check_root(parent_id));",
    "all roots are refused": "ALTER TABLE messages ADD CHECK (parent_id IS NOT NULL);",
    # A recording fills columns of a module.
    "a duration": "ALTER TABLE modules ADD CONSTRAINT short CHECK (duration < 75);",
    "a unique URL": "CREATE UNIQUE INDEX one_url ON modules (video_url) WHERE video_url <> '';",
    "a length of a transcript": "ALTER TABLE modules ADD CONSTRAINT brief CHECK (length(transcript) < 4);",
    "a JSON value": "ALTER TABLE modules ADD CHECK (recording_metadata ->> 'recordingDate' < '2024-01-01T10:20');",
    "several": "ALTER TABLE conversations ADD CONSTRAINT in_order CHECK (last_message_at >= created_at);"
    + ROOT_BY_USER
    + "ALTER TABLE modules ADD CONSTRAINT short CHECK (duration < 75);"
    "CREATE UNIQUE INDEX one_time ON conversations (last_message_at);",
    "several, and a trigger": ROOT_BY_USER + "ALTER TABLE modules ADD CONSTRAINT short CHECK (duration < 75);"
    "CREATE FUNCTION public.touch() RETURNS trigger LANGUAGE plpgsql AS"
    " $$ BEGIN NEW.updated_at := now(); RETURN NEW; END $$;"
    "CREATE TRIGGER touch BEFORE INSERT OR UPDATE OR DELETE ON messages FOR EACH ROW EXECUTE FUNCTION touch();",
}  # fmt: skip
QUICK = frozenset({"several"})


def make_messages() -> dict[str, list[dict[str, Any]]]:
    """Conversations whose messages have valid, missing and circular parents, and IDs that several of them have."""
    users = [{"_id": oid(1, n), "email": f"u{n}@x.example", "createdAt": DatetimeMS(START)} for n in range(USERS)]
    conversations: list[dict[str, Any]] = []
    messages: list[dict[str, Any]] = []
    for n in range(CONVERSATIONS):
        conversations.append(
            {
                "_id": oid(2, n), "conversationId": str(UUID(int=n + 1)), "user": str(oid(1, n % USERS)),
                "title": f"C{n}", "endpoint": "openAI", "model": "gpt-4o", "createdAt": DatetimeMS(START),
            }
        )  # fmt: skip
        for m in range(MESSAGES):
            # 3 names a missing parent, 7 and 8 are parents of each other, all others continue the thread.
            parent = {0: NO_PARENT, 3: str(UUID(int=999)), 7: message_id(n, 8)}.get(m, message_id(n, max(m - 1, 0)))
            first = n == 1  # its messages are older than the conversation
            at = START + (m - 10**7 if first else m + n // 2) * 1000
            messages.append(
                {
                    "_id": oid(3, n * MESSAGES + m), "messageId": message_id(n, m),
                    "conversationId": str(UUID(int=n + 1)), "user": str(oid(1, n % USERS)), "parentMessageId": parent,
                    "text": "root" if m == 0 else f"Text {m}", "isCreatedByUser": m % 2 == 0, "endpoint": "openAI",
                    "sender": "User" if m % 2 == 0 else "AI", "createdAt": DatetimeMS(at),
                }
            )  # fmt: skip
    # A second message with the ID of the message whose parent is missing, and a longer `_id`.
    messages.append({**messages[3], "_id": oid(4, 1), "parentMessageId": message_id(0, 2)})
    return {"users": users, "conversations": conversations, "messages": messages}


def message_id(conversation: int, message: int) -> str:
    return str(UUID(int=0xA << 124 | conversation << 32 | message))


@dataclass(frozen=True)
class Material:
    """A dump, the same with the documents in another order, and the settings of the recordings."""

    dump: Path
    shuffled: Path
    sections: dict[str, Any]


@pytest.fixture(scope="module")
def material(tmp_path_factory: pytest.TempPathFactory) -> Material:
    folder = tmp_path_factory.mktemp("refused")
    made: Lessons = make_lessons(60, 0)
    lessons = made.bson()
    found = {name: [bson.encode(each) for each in documents] for name, documents in make_messages().items()}
    documents = {**lessons, **found, "users": lessons["users"] + found["users"]}
    backwards = {name: several[::-1] for name, several in documents.items()}
    sections = made.write(folder)
    sections.pop("chunks")
    return Material(write_folder(folder / "a", documents), write_folder(folder / "b", backwards), sections)


def set_up(server: Server, template: str, statements: str) -> str:
    name = server.create(f"TEMPLATE {template}")
    server.execute(statements, database=name)
    return server.url_of(name)


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name in QUICK else [pytest.mark.long]) for name in CASES]
)
def test_a_refused_change(name: str, server: Server, template: str, material: Material, tmp_path: Path) -> None:
    """`plan` predicts the rejects; two runs give the same rows; `verify` is clean; `revert` restores the target."""
    url = set_up(server, template, CASES[name])
    config = write_config(
        tmp_path / "a.toml", f"dump:{material.dump}", url, {**material.sections, "engine": {"batch_rows": 7}}
    )
    before = dump_database(url)
    planned = call("plan", "-c", config, "--json")
    assert planned.code == 0, planned.told
    first = migrate(config, url)
    assert any("target_constraint" in counts for counts in first[0].values()), "the case refuses nothing"
    assert predicted_rejects(planned.json) == first[0]
    assert dump_database(url) == before
    other = write_config(
        tmp_path / "b.toml", f"dump:{material.dump}", url,
        {**material.sections, "engine": {"batch_rows": 1000, "workers": 1}},
    )  # fmt: skip
    assert migrate(other, url) == first
    assert dump_database(url) == before


def migrate(config: Path, url: str) -> tuple[dict[str, dict[str, int]], dict[str, list[str]]]:
    """Run, verify and revert; return the rejects and all rows."""
    ran = call("run", "-c", config, "--yes")
    assert ran.code == 0, ran.told
    rejects, rows = count_rejects(url), dict(read_all(url))
    verified = call("verify", "-c", config, "--level", "roundtrip")
    assert verified.code == 0, verified.told
    reverted = call("revert", "-c", config, "--yes")
    assert reverted.code == 0, reverted.told
    return rejects, rows


def test_collections_one_by_one(server: Server, template: str, material: Material, tmp_path: Path) -> None:
    """`run --only` rejects the same documents as a run, although it has loaded what refers to them before."""
    url = set_up(server, template, CASES["several"])
    settings = {**material.sections, "engine": {"batch_rows": 7, "workers": 1}}
    config = write_config(tmp_path / "a.toml", f"dump:{material.dump}", url, settings)
    whole = migrate(config, url)
    for names in ("users,courses,modules", "conversations", "messages"):
        ran = call("run", "-c", config, "--yes", "--only", names)
        assert ran.code in (0, 5), ran.told
    assert migrate(config, url) == whole


def test_a_retry_whose_changes_are_refused(server: Server, template: str, material: Material, tmp_path: Path) -> None:
    """It is refused by name before anything is written, and works after the constraint is dropped."""
    documents = make_messages()
    late = {**documents["messages"][-2], "_id": oid(5, 1), "messageId": str(UUID(int=0xB << 124)), "text": "late"}
    late |= {"conversationId": "missing", "createdAt": DatetimeMS(START + 10**9)}
    documents["messages"].append(late)
    source = tmp_path / "dump"
    write_folder(source, {name: [bson.encode(each) for each in several] for name, several in documents.items()})
    url = set_up(server, template, "")
    config = write_config(tmp_path / "a.toml", f"dump:{source}", url, {"engine": {"batch_rows": 7, "workers": 1}})
    assert call("run", "-c", config, "--yes").code == 0
    late["conversationId"] = documents["messages"][-3]["conversationId"]
    write_folder(source, {name: [bson.encode(each) for each in several] for name, several in documents.items()})
    database = url.partition("///")[2].partition("?")[0]
    server.execute("ALTER TABLE conversations ADD CHECK (last_message_at < '2024-01-05')", database=database)
    before = dump_without_sequences(url)
    for _ in range(2):
        refused = call("rejects", "retry", "-c", config)
        assert refused.code == 7, refused.told
        assert "1 document of conversations (conversations_last_message_at_check)" in refused.told
        assert "nothing was written" in refused.told
        assert dump_without_sequences(url) == before
    server.execute("ALTER TABLE conversations DROP CONSTRAINT conversations_last_message_at_check", database=database)
    retried = call("rejects", "retry", "-c", config, "--json")
    assert (retried.code, retried.json["loaded"]) == (0, 1), retried.told
    verified = call("verify", "-c", config, "--level", "roundtrip")
    assert verified.code == 0, verified.told


@pytest.mark.long
def test_an_interrupted_repetition(server: Server, template: str, material: Material, tmp_path: Path) -> None:
    """Killed at any moment, the same command ends with the rows of an uninterrupted run."""
    url = set_up(server, template, CASES["several"])
    settings = {**material.sections, "engine": {"batch_rows": 7, "workers": 1}}
    config = write_config(tmp_path / "a.toml", f"dump:{material.dump}", url, settings)
    whole = migrate(config, url)
    for moment in range(5, 45, 5):
        interrupt(config, url, signal.SIGKILL, moment)
    assert migrate(config, url) == whole


def test_a_refused_document_is_retried_after_the_constraint_is_dropped(
    server: Server, template: str, material: Material, tmp_path: Path
) -> None:
    """`rejects retry` keeps it rejected while the constraint exists, then loads it with its messages."""
    url = set_up(server, template, CASES["several"])
    config = write_config(tmp_path / "a.toml", f"dump:{material.dump}", url, material.sections)
    assert call("run", "-c", config, "--yes").code == 0
    rejects = count_rejects(url)
    again = call("rejects", "retry", "-c", config, "--json")
    assert (again.code, again.json["loaded"]) == (0, 0), again.told
    assert count_rejects(url) == rejects
    server.execute(
        "ALTER TABLE conversations DROP CONSTRAINT in_order; DROP INDEX one_time;"
        "ALTER TABLE messages DROP CONSTRAINT rooted; ALTER TABLE modules DROP CONSTRAINT short",
        database=url.partition("///")[2].partition("?")[0],
    )
    retried = call("rejects", "retry", "-c", config, "--json")
    assert retried.code == 0, retried.told
    assert count_rejects(url) == {"modules": {"orphan": 2}, "messages": {"duplicate_id": 1}}
    verified = call("verify", "-c", config, "--level", "roundtrip")
    assert verified.code == 0, verified.told
