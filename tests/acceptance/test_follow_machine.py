"""Hypothesis changes a source and follows it step by step: in the end the target is what a new run makes."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from pathlib import Path
from random import Random

import bson
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from migrator.documents import raw_bson
from migrator.documents.codec import CODEC_OPTIONS
from tests import mongo
from tests.collisions import ABSENT, Document, Generator, make_database
from tests.conftest import administer, with_database
from tests.following_rig import Rig
from tests.hostile_changes import HEIR, make_makers

pytestmark = pytest.mark.usefixtures("quick")
COLLECTIONS = ("users", "conversations", "messages", "files", "agents", "transactions", "courses", "modules", "logs")
NAMES = st.sampled_from([*COLLECTIONS, "conversations", "messages", "messages"])
HEIR_DOCUMENT = {"_id": HEIR, "email": "heir@x.example"}  # owns the orphans of some databases, so it stays
HEIR_ID = bson.encode({"_id": HEIR})
RANDOM = st.randoms(use_true_random=False)


@dataclass(frozen=True)
class Servers:
    """Where each example makes its databases."""

    source: str
    target: str
    folder: Path


@pytest.fixture
def servers(live_server: mongo.Server, server_url: str, tmp_path: Path) -> Servers:
    return Servers(live_server.url, server_url, tmp_path)


class Following(RuleBasedStateMachine):
    """A source, and its target that follows it. `servers` is set by the test."""

    servers: Servers

    def __init__(self) -> None:
        super().__init__()
        self._targets = [f"machine_{secrets.token_hex(6)}" for _ in range(2)]
        for name in self._targets:
            administer(self.servers.target, "CREATE DATABASE {}", name)

    # --- the start ---------------------------------------------------------------------------------------------------

    @initialize(seed=st.integers(0, 1000), chance=RANDOM, changes=st.integers(0, 3))
    def load(self, seed: int, chance: Random, changes: int) -> None:
        """Loads a tiny database while it changes."""
        made = make_database(seed)
        followed, fresh = (with_database(self.servers.target, name) for name in self._targets)
        self._rig = Rig(self.servers.source, followed, fresh, self.servers.folder, made.settings)
        self._generator = Generator(seed + 1)
        self._makers = make_makers(self._generator)
        for name, documents in made.documents.items():
            for raw in documents[:6]:
                self._rig.put(name, raw)
        self._rig.begin()
        for _ in range(changes):
            self.insert("messages", chance)
        self._rig.run()

    # --- the application ---------------------------------------------------------------------------------------------

    @rule(name=NAMES, chance=RANDOM)
    def insert(self, name: str, chance: Random) -> None:
        """A new document, or another one in the place of one with the same `_id`."""
        self._rig.put(name, self._encode(self._make(name, chance)))

    @rule(name=NAMES, chance=RANDOM)
    def update(self, name: str, chance: Random) -> None:
        """A document gets other values of one field, or loses it."""
        if (found := self._choose(name, chance)) is not None:
            new = self._make(name, chance)
            field = chance.choice(sorted({*new, *found} - {"_id"}))
            change = {"$set": {field: new[field]}} if field in new else {"$unset": {field: ""}}
            self._rig.update(name, self._id(found), change)

    @rule(name=NAMES, chance=RANDOM)
    def replace(self, name: str, chance: Random) -> None:
        """A document gets other values of all fields."""
        if (found := self._choose(name, chance)) is not None:
            self._rig.put(name, self._encode({**self._make(name, chance), "_id": found["_id"]}))

    @rule(name=NAMES, chance=RANDOM)
    def delete(self, name: str, chance: Random) -> None:
        if (found := self._choose(name, chance)) is not None:
            self._rig.delete(name, self._id(found))

    @rule(name=NAMES, chance=RANDOM)
    def change_id(self, name: str, chance: Random) -> None:
        """A document goes, and comes again with another `_id`, in one transaction."""
        if (found := self._choose(name, chance)) is not None:
            new = {**found, "_id": self._make(name, chance)["_id"]}
            with self._rig.transaction():
                self._rig.delete(name, self._id(found))
                self._rig.put(name, self._encode(new))

    @rule(chance=RANDOM)
    def change_owner(self, chance: Random) -> None:
        name = chance.choice(["conversations", "messages", "files", "agents"])
        if (found := self._choose(name, chance)) is not None:
            self._generator.dice = chance
            field = "author" if name == "agents" else "user"
            if (owner := self._generator.owner()) is not ABSENT:
                self._rig.update(name, self._id(found), {"$set": {field: owner}})

    @rule(chance=RANDOM)
    def move(self, chance: Random) -> None:
        """A message gets another parent, or goes to another conversation, or both."""
        if (found := self._choose("messages", chance)) is not None:
            new = self._make("messages", chance)
            fields = chance.choice([["parentMessageId"], ["conversationId"], ["parentMessageId", "conversationId"]])
            change = {field: new[field] for field in fields if field in new}
            if change:
                self._rig.update("messages", self._id(found), {"$set": change})

    @rule(name=NAMES, kind=st.sampled_from(["drop", "rename", "return"]), chance=RANDOM)
    def reorganize(self, name: str, kind: str, chance: Random) -> None:
        """A collection goes, gets a name without a mapping, or its documents come back by it."""
        if kind == "drop":
            self._rig.drop(name)
        else:
            self._rig.rename(*((f"old_{name}", name) if kind == "return" else (name, f"old_{name}")))
        self._rig.put("users", self._encode(HEIR_DOCUMENT))
        for _ in range(3):
            self.insert(name, chance)

    @rule(chance=RANDOM, size=st.integers(2, 5))
    def transact(self, chance: Random, size: int) -> None:
        """Several changes in one transaction."""
        with self._rig.transaction():
            for _ in range(size):
                change = chance.choice([self.insert, self.update, self.replace, self.delete])
                change(chance.choice([*COLLECTIONS, "messages"]), chance)

    # --- following ---------------------------------------------------------------------------------------------------

    @rule(limits=st.lists(st.sampled_from([1, 3, 1000]), max_size=3))
    def receive(self, limits: list[int]) -> None:
        """Receives, and applies some batches."""
        self._rig.receive()
        for limit in limits:
            self._rig.apply(limit)

    @rule()
    def receive_all_again(self) -> None:
        self._rig.replay()
        self._rig.receive()

    @rule()
    def restart(self) -> None:
        self._rig.restart()

    @rule(name=NAMES, chance=RANDOM)
    def deliver_again(self, name: str, chance: Random) -> None:
        if (found := self._choose(name, chance)) is not None:
            self._rig.deliver_again(name, self._id(found))

    @rule(seed=st.integers(0, 999))
    def reorder(self, seed: int) -> None:
        self._rig.reorder(seed)

    # --- the end -----------------------------------------------------------------------------------------------------

    def teardown(self) -> None:
        try:
            if hasattr(self, "_rig"):
                self._rig.drain()
                self._rig.assert_equals_run()
        finally:
            if hasattr(self, "_rig"):
                self._rig.close()
            for name in self._targets:
                administer(self.servers.target, "DROP DATABASE IF EXISTS {} WITH (FORCE)", name)

    # --- documents ---------------------------------------------------------------------------------------------------

    def _make(self, name: str, chance: Random) -> Document:
        if name == "logs":
            return {"_id": chance.randrange(8), "line": chance.randrange(100)}
        self._generator.dice = chance
        return self._makers[name]()

    def _choose(self, name: str, chance: Random) -> Document | None:
        found = sorted(raw for raw in self._rig.read(name) if raw_bson.source_id(raw) != HEIR_ID)
        return bson.decode(chance.choice(found), CODEC_OPTIONS) if found else None

    @staticmethod
    def _encode(document: Document) -> bytes:
        return bson.encode(document, codec_options=CODEC_OPTIONS)

    def _id(self, document: Document) -> bytes:
        return raw_bson.source_id(self._encode(document))


def run_machine(servers: Servers, examples: int, steps: int) -> None:
    Following.servers = servers
    how = settings(
        max_examples=examples,
        stateful_step_count=steps,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate],  # to shrink an example takes minutes
    )
    run_state_machine_as_test(Following, settings=how)


def test_machine(servers: Servers) -> None:
    """Few examples, always the same."""
    run_machine(servers, examples=2, steps=25)


@pytest.mark.long
def test_machine_at_length(servers: Servers) -> None:
    """Many examples, others each time."""
    run_machine(servers, examples=400, steps=50)
