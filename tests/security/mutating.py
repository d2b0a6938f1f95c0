"""Dumps that somebody has damaged, or made up, on purpose: a pure function of a seed, from the demo's own documents."""

from __future__ import annotations

import gzip
import json
import random
import struct
from collections.abc import Callable
from functools import cache
from pathlib import Path

from migrator.documents import raw_bson
from tests.archive_writer import build_archive, describe

DEMO = Path(__file__).parents[2] / "fixtures" / "demo"
NUMBERS = (
    -(1 << 31), -65536, -5, -1, 0, 1, 4, 5, 6, 127, 255, 4096, 1 << 16, (16 << 20) + 1, 64 << 20, (64 << 20) + 1,
    (1 << 31) - 1,
)  # fmt: skip
NAMES = ("../x", "..", ".", "a/b", "a\0b", "", "a" * 300, "$cmd", "system.views", "\u202e\x1b[31m", "é" * 120, "\ud800")


@cache
def demo() -> dict[str, list[bytes]]:
    """A few documents of each collection."""
    return {path.stem: list(raw_bson.split_documents(path.read_bytes()))[:6] for path in sorted(DEMO.glob("*.bson"))}


def mutate(seed: int, folder: Path) -> Path:
    """Writes one damaged dump into `folder` and returns what to open."""
    dice = random.Random(seed)
    return dice.choice((write_damaged_folder, write_damaged_archive))(dice, folder)


def write_damaged_folder(dice: random.Random, folder: Path) -> Path:
    names = dice.sample(sorted(demo()), 3)
    for name in names:
        zipped = dice.random() < 0.4
        data = join(dice, demo()[name])
        described = describe(name)
        if dice.random() < 0.6:
            data = damage(dice, data)
        if dice.random() < 0.3:
            described = dice.choice((damage(dice, described), odd_metadata(dice)))
        for suffix, content in ((".bson", data), (".metadata.json", described)):
            if dice.random() < 0.05:
                continue
            packed = pack(dice, content) if zipped else content
            (folder / f"{name}{suffix}{'.gz' if zipped else ''}").write_bytes(packed)
    return folder


def write_damaged_archive(dice: random.Random, folder: Path) -> Path:
    names = dice.sample(sorted(demo()), 3)
    if dice.random() < 0.2:
        names = [*names[:2], dice.choice([name for name in NAMES if name.isprintable() or "\x1b" in name])]
    given = {name: [damage_one(dice, each) for each in demo().get(name, demo()["users"])] for name in names}
    content = build_archive({"demo": given}, block=dice.randint(1, 5))
    for _ in range(dice.choice((0, 1, 1, 2, 5))):
        content = damage(dice, content)
    path = folder / "dump.archive"
    path.write_bytes(pack(dice, content) if dice.random() < 0.4 else content)
    return path


def join(dice: random.Random, documents: list[bytes]) -> bytes:
    return b"".join(damage_one(dice, each) for each in documents)


def damage_one(dice: random.Random, document: bytes) -> bytes:
    """Mostly as it is; else changed inside, its own length still right, so that what reads it gets to see it."""
    if dice.random() < 0.7 or len(document) < 10:
        return document
    body = damage(dice, document[4:-1])
    return struct.pack("<i", len(body) + 5) + body + b"\0"


def damage(dice: random.Random, data: bytes) -> bytes:
    """One change."""
    return dice.choice(CHANGES)(dice, data) if data else dice.randbytes(dice.randint(0, 9))


def flip(dice: random.Random, data: bytes) -> bytes:
    changed = bytearray(data)
    for _ in range(dice.choice((1, 1, 3, 20))):
        changed[dice.randrange(len(data))] ^= 1 << dice.randrange(8)
    return bytes(changed)


def put_number(dice: random.Random, data: bytes) -> bytes:
    at = dice.randrange(len(data))
    return data[:at] + struct.pack("<i", dice.choice(NUMBERS)) + data[at + 4 :]


def put_first_number(dice: random.Random, data: bytes) -> bytes:
    return struct.pack("<i", dice.choice(NUMBERS)) + data[4:]


def cut(dice: random.Random, data: bytes) -> bytes:
    return data[: dice.randrange(len(data))]


def drop(dice: random.Random, data: bytes) -> bytes:
    at, length = dice.randrange(len(data)), dice.choice((1, 4, 17, 400))
    return data[:at] + data[at + length :]


def insert(dice: random.Random, data: bytes) -> bytes:
    at = dice.randrange(len(data) + 1)
    given = dice.choice((dice.randbytes(7), b"\0" * 9, b"\xff" * 4, b"\5\0\0\0\0", data[: dice.randint(1, 999)]))
    return data[:at] + given + data[at:]


def swap(dice: random.Random, data: bytes) -> bytes:
    one, other = sorted(dice.randrange(len(data)) for _ in range(2))
    return data[other:] + data[one:other] + data[:one]


def put_type(dice: random.Random, data: bytes) -> bytes:
    at = dice.randrange(len(data))
    return data[:at] + bytes([dice.choice((1, 2, 3, 4, 5, 11, 12, 13, 15, 18, 19, 127, 255, 0))]) + data[at + 1 :]


CHANGES: tuple[Callable[[random.Random, bytes], bytes], ...] = (
    flip, put_number, put_first_number, cut, drop, insert, swap, put_type,
)  # fmt: skip


def pack(dice: random.Random, data: bytes) -> bytes:
    """As gzip, sound or not."""
    packed = gzip.compress(data, mtime=0)
    kind = dice.randrange(6)
    if kind == 0:
        return damage(dice, packed)
    if kind == 1:
        return packed + dice.choice((b"\0" * 99, b"garbage", packed, gzip.compress(b"", mtime=0) * 3))
    return packed


def odd_metadata(dice: random.Random) -> bytes:
    """JSON that is metadata in form only."""
    name: object = dice.choice((*NAMES, 7, None, [], {}))
    options: object = dice.choice((None, [], {"viewOn": "x"}, {"viewOn": 1}, "x"))
    told = {"collectionName": name, "options": options, "type": dice.choice(("view", "timeseries", 3, None, "x"))}
    return json.dumps(told).encode("utf-8", "surrogatepass")
