"""A live source changes at random, also during the load: the target becomes what a run on the final source makes."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import bson
import pytest
from bson import Decimal128, Int64, ObjectId
from bson.datetime_ms import DatetimeMS

from migrator.documents import raw_bson
from migrator.documents.codec import CODEC_OPTIONS
from tests import mongo
from tests.changing import Changing, LiveChanges
from tests.collisions import ODD_IDS
from tests.following_rig import Rig
from tests.hostile_changes import HostileChanging
from tests.lessons import make_lessons, oid
from tests.shuffling import Shuffling, sample
from tests.talks import make_talks

pytestmark = pytest.mark.usefixtures("quick")
Made = tuple[Changing, dict[str, Any]]  # a source, and settings


def make_hostile(seed: int, folder: Path) -> Made:
    """Documents that share IDs."""
    source = HostileChanging(seed, is_live=True)
    return source, source.settings


def make_lists(seed: int, folder: Path) -> Made:
    """Conversations that list their messages."""
    return Shuffling(sample(make_talks(seed, messages=300), random.Random(seed), 200), seed, lists=True), {}


def make_others(seed: int, folder: Path) -> Made:
    """Modules with recordings and files with chunks; recordings and chunks are from other databases."""
    lessons = make_lessons(40, 30)
    settings: dict[str, Any] = lessons.write(folder)
    if seed % 2:
        settings["recordings"]["prefer"] = "recording"
    fixed = [raw_bson.source_id(bson.encode({"_id": oid(1, 1)})), raw_bson.source_id(bson.encode({"_id": oid(3, 1)}))]
    return Shuffling(lessons.bson(), seed, fixed), settings


KINDS: dict[str, Callable[[int, Path], Made]] = {"hostile": make_hostile, "lists": make_lists, "others": make_others}


def check(kind: str, seed: int, rig_of: Callable[[dict[str, Any]], Rig], folder: Path) -> None:
    """Changes a source while it is loaded, and then between steps of following."""
    source, settings = KINDS[kind](seed, folder)
    chance, rig = random.Random(seed), rig_of(settings)
    mongo.fill(rig.url, rig.name, source.documents())
    rig.begin()
    with closing(LiveChanges(rig.url, source, rig.name)) as live:
        writer = threading.Thread(target=live.write, args=(30,))
        writer.start()
        rig.run()
        writer.join()
        for _ in range(3):
            live.write(20)
            rig.receive()
            for _ in range(chance.randrange(4)):
                rig.apply(chance.choice([1, 5, 30, 1000]))
            if chance.random() < 0.5:
                rig.replay()
            if chance.random() < 0.3:
                rig.restart()
    rig.drain()
    rig.assert_equals_run((kind, seed))


@pytest.fixture
def rig_of(
    live_server: mongo.Server, new_database: Callable[[], str], tmp_path: Path
) -> Iterator[Callable[[dict[str, Any]], Rig]]:
    made: list[Rig] = []

    def make(settings: dict[str, Any]) -> Rig:
        made.append(Rig(live_server.url, new_database(), new_database(), tmp_path, settings))
        return made[-1]

    yield make
    for rig in made:
        rig.close()


@pytest.mark.parametrize("kind", ["lists", "others"])
def test_live_changes(kind: str, rig_of: Callable[[dict[str, Any]], Rig], tmp_path: Path) -> None:
    """Lists of messages; modules and files that rows from other databases refer to."""
    check(kind, 1, rig_of, tmp_path)


@pytest.mark.long
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", range(100, 167))
def test_more_live_changes(kind: str, seed: int, rig_of: Callable[[dict[str, Any]], Rig], tmp_path: Path) -> None:
    """The same with 201 other cases."""
    check(kind, seed, rig_of, tmp_path)


OWNER, TALK = ObjectId(b"owner".rjust(12)), "c0000000-0000-4000-8000-000000000001"
VALUES = {
    "NUL": "a\0b",
    "only NUL": "\0",
    "not a number": Decimal128("NaN"),
    "many digits": Decimal128("1E+6144"),
    "infinite": float("-inf"),
    "long": Int64(2**63 - 1),
    "the year 1": DatetimeMS(-62_135_596_800_000),
    "above 64 KiB": "x" * 70_000,
    "a list": [{"type": "text", "text": "\U0001d518"}, 1, None],
    "binary": b"\x00\xff" * 50_000,
}


def test_hostile_values(rig_of: Callable[[dict[str, Any]], Rig]) -> None:
    """All types of `_id`, and values that PostgreSQL or the receiver treats in a way of its own, up to 16 MB."""
    rig = rig_of({})
    rig.put("users", encode({"_id": OWNER, "email": "owner@x.example"}))
    rig.put("conversations", encode({"_id": ObjectId(), "conversationId": TALK, "user": str(OWNER)}))
    rig.begin()
    rig.run()
    for name in ("messages", "logs"):
        for number, source_id in enumerate(ODD_IDS):
            rig.put(name, encode({**message(number), "_id": source_id}))
        for number, value in enumerate(VALUES.values(), start=100):
            rig.put(name, encode({**message(number), "text": value, "other": value, "_id": number}))
    rig.put("logs", encode({"_id": "largest", "bytes": b"x" * ((16 << 20) - 100)}))
    rig.put("messages", encode({**message(200), "_id": "large", "other": b"x" * (15 << 20)}))
    rig.receive()
    rig.apply(10)
    rig.update("logs", id_of("largest"), {"$set": {"n": 1}})
    for name in ("messages", "logs"):
        for number, source_id in enumerate(ODD_IDS):
            if number % 3 == 0:
                rig.delete(name, id_of(source_id))
            elif number % 3 == 1:
                rig.update(name, id_of(source_id), {"$set": {"text": "changed", "other": Decimal128("-0")}})
        for number in range(100, 100 + len(VALUES)):
            rig.update(name, id_of(number), {"$set": {"text": "changed"}, "$unset": {"other": ""}})
    rig.drain()
    rig.assert_equals_run()


def message(number: int) -> dict[str, Any]:
    return {
        "messageId": f"a0000000-0000-4000-8000-{number:012x}", "conversationId": TALK, "user": str(OWNER),
        "isCreatedByUser": True, "text": "one", "createdAt": DatetimeMS(1_704_067_200_000 + number),
    }  # fmt: skip


def encode(document: dict[str, Any]) -> bytes:
    return bson.encode(document, codec_options=CODEC_OPTIONS)


def id_of(value: Any) -> bytes:
    return encode({"_id": value})
