"""fixtures/demo is what fixtures/make_demo.py writes, and as clean as it says."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import bson
import pytest

FIXTURES = Path(__file__).parents[2] / "fixtures"
MAPPED = {
    "users": 8,
    "conversations": 20,
    "messages": 182,
    "agents": 3,
    "files": 8,
    "courses": 2,
    "modules": 6,
    "transactions": 6,
    "memoryentries": 5,
}
NO_PARENT = "00000000-0000-0000-0000-000000000000"


@pytest.fixture(scope="module")
def demo() -> dict[str, list[dict[str, Any]]]:
    """The documents of fixtures/demo, by collection."""
    return {path.stem: bson.decode_all(path.read_bytes()) for path in (FIXTURES / "demo").glob("*.bson")}


def test_generator_gives_the_same_bytes(tmp_path: Path) -> None:
    """Running the generator again, elsewhere and with another hash seed, gives the files that are checked in."""
    command = [sys.executable, str(FIXTURES / "make_demo.py"), str(tmp_path / "demo")]
    subprocess.run(command, check=True, cwd=tmp_path, env={"PYTHONHASHSEED": "7"})
    made = {path.name: path.read_bytes() for path in (tmp_path / "demo").iterdir()}
    kept = {path.name: path.read_bytes() for path in (FIXTURES / "demo").iterdir()}
    assert made == kept
    assert (tmp_path / "demo-recordings.csv").read_bytes() == (FIXTURES / "demo-recordings.csv").read_bytes()
    assert (tmp_path / "demo-chunks.jsonl").read_bytes() == (FIXTURES / "demo-chunks.jsonl").read_bytes()


def test_chunks_are_of_embedded_files(demo: dict[str, list[dict[str, Any]]]) -> None:
    """Every file that says so has chunks, and no other."""
    lines = (FIXTURES / "demo-chunks.jsonl").read_text(encoding="utf-8").splitlines()
    assert {json.loads(line)["file_id"] for line in lines} == {f["file_id"] for f in demo["files"] if f["embedded"]}


def test_every_mapped_collection_is_there(demo: dict[str, list[dict[str, Any]]]) -> None:
    """The demo has documents for every table, and some that have none."""
    assert {name: len(demo[name]) for name in MAPPED} == MAPPED
    assert set(demo) - set(MAPPED) == {"sessions", "presets", "roles", "balances"}


def test_metadata_is_mongodumps(demo: dict[str, list[dict[str, Any]]]) -> None:
    """Every collection has a metadata file with its name and the index on _id."""
    for name in demo:
        metadata = json.loads((FIXTURES / "demo" / f"{name}.metadata.json").read_text())
        assert metadata["collectionName"] == name
        assert metadata["indexes"][0]["name"] == "_id_"


def test_references_hold(demo: dict[str, list[dict[str, Any]]]) -> None:
    """Nothing dangles: users, conversations, parents, files, agents and modules are all there."""
    users = {user["_id"] for user in demo["users"]}
    files = {file["file_id"] for file in demo["files"]}
    agents = {agent["id"] for agent in demo["agents"]}
    talks = {(talk["conversationId"], talk["user"]) for talk in demo["conversations"]}
    parents = {(message["conversationId"], message["messageId"]) for message in demo["messages"]}
    for message in demo["messages"]:
        talk, parent = message["conversationId"], message["parentMessageId"]
        assert (talk, message["user"]) in talks
        assert parent == NO_PARENT or (talk, parent) in parents
        assert {file["file_id"] for file in message.get("files", ())} <= files
    assert {bson.ObjectId(talk["user"]) for talk in demo["conversations"]} <= users
    assert {talk["agent_id"] for talk in demo["conversations"] if "agent_id" in talk} == agents
    for name, key in (("files", "user"), ("agents", "author"), ("transactions", "user"), ("memoryentries", "userId")):
        assert {document[key] for document in demo[name]} <= users
    for agent in demo["agents"]:
        assert {file for tool in agent["tool_resources"].values() for file in tool["file_ids"]} <= files
    assert [m for course in demo["courses"] for m in course["modules"]] == [m["_id"] for m in demo["modules"]]


def test_children_agree_with_parents(demo: dict[str, list[dict[str, Any]]]) -> None:
    """Where an older document lists its children, they are those that name it as parent."""
    old = [message for message in demo["messages"] if "children" in message]
    assert len(old) > 10
    for message in old:
        below = [m["messageId"] for m in demo["messages"] if m["parentMessageId"] == message["messageId"]]
        assert message["children"] == below


def test_trees_have_branches_and_an_error(demo: dict[str, list[dict[str, Any]]]) -> None:
    """There is something to show: branches, an answer that failed, answers in parts, an attached file."""
    children = Counter((m["conversationId"], m["parentMessageId"]) for m in demo["messages"])
    assert sum(count > 1 for count in children.values()) >= 10
    assert sum(message["error"] for message in demo["messages"]) == 1
    assert any(message.get("content") for message in demo["messages"])
    assert any(message.get("files") for message in demo["messages"])


def test_ids_are_unique(demo: dict[str, list[dict[str, Any]]]) -> None:
    """No two documents claim one id."""
    for name, documents in demo.items():
        assert len({document["_id"] for document in documents}) == len(documents), name
    for name, key in (("messages", "messageId"), ("conversations", "conversationId"), ("users", "email")):
        assert len({document[key] for document in demo[name]}) == len(demo[name])


def test_payments_are_payments(demo: dict[str, list[dict[str, Any]]]) -> None:
    """Every transaction has what makes it a payment, in whole cents."""
    for payment in demo["transactions"]:
        assert isinstance(payment["amount"], int)
        assert {"status", "type", "currency", "stripeSessionId"} <= payment.keys()


def test_a_search_finds_something(demo: dict[str, list[dict[str, Any]]]) -> None:
    """The documentation's example query, 'business', has answers in several conversations."""
    hits = {message["conversationId"] for message in demo["messages"] if "business" in message["text"].lower()}
    assert len(hits) >= 3
