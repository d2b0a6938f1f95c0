"""Small files that would become large: each ends in a clear error, or is read, with little memory and soon."""

from __future__ import annotations

import gzip
import io
import json
import struct
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import bson
import pytest

from tests.archive_writer import MAGIC, TERMINATOR, build_block, build_prelude, describe
from tests.unit.test_raw_bson import nest

BESIDE = 300  # megabytes beside what Python and its modules take; decoding the worst document takes more, see below
DECODED = 900


def inflated(parts: Iterable[bytes]) -> bytes:
    """As gzip, without ever being whole in memory here."""
    packed = io.BytesIO()
    with gzip.GzipFile(fileobj=packed, mode="wb", compresslevel=1, mtime=0) as file:
        for part in parts:
            file.write(part)
    return packed.getvalue()


def repeat(part: bytes, size: int) -> Iterable[bytes]:
    """`part` again and again, up to some `size` bytes, a megabyte at a time."""
    block = part * max((1 << 20) // len(part), 1)
    return (block for _ in range(size // len(block) + 1))


def enclose(body: bytes) -> bytes:
    return struct.pack("<i", len(body) + 5) + body + b"\0"


def listing(name: str) -> bytes:
    return bson.encode({"db": "demo", "collection": name, "metadata": describe(name).decode(), "size": 0, "type": ""})


def many_fields(size: int, value: bytes = b"") -> bytes:
    """A sound document of the smallest fields there are, names alike: MongoDB does not mind."""
    return enclose(b"\x0aa\0" * (size // 3))


HEADER = MAGIC + bson.encode({"server_version": "8.0.0", "version": "0.1"})
WHOLE = build_prelude([("demo", "c")])

BOMBS: dict[str, tuple[str, Callable[[], bytes], str]] = {
    "zeros": ("c.bson.gz", lambda: inflated(repeat(b"\0", 400 << 20)), "invalid document length of 0 bytes"),
    "empty members": ("c.bson.gz", lambda: gzip.compress(b"", mtime=0) * 20_000, "read 0 documents"),
    "many documents": (
        "c.bson.gz", lambda: inflated(repeat(bson.encode({"_id": 1, "t": "x" * 99_000}), 200 << 20)), "read ",
    ),
    "one claims 2 GB": ("c.bson", lambda: struct.pack("<i", (1 << 31) - 1) + b"\0" * 99, "length of 2,147,483,647"),
    "one claims 64 MB": ("c.bson", lambda: struct.pack("<i", 64 << 20) + b"\0" * 99, "truncated"),
    "3 MB of fields": ("c.bson", lambda: many_fields(3 << 20), "read 1 documents"),
    "60 MB of text": ("c.bson.gz", lambda: inflated([bson.encode({"x": "y" * (60 << 20)})]), "read 1 documents"),
    "metadata of spaces": ("c.metadata.json.gz", lambda: inflated(repeat(b" ", 300 << 20)), "file is longer than"),
    "metadata of lists": ("c.metadata.json.gz", lambda: inflated(repeat(b"[],", 3 << 20)), "not JSON"),
    "metadata in depth": ("c.metadata.json", lambda: b'{"a":' * 200_000, "not JSON"),
    "prelude without end": (
        "dump.archive", lambda: inflated([HEADER, *repeat(listing("c"), 90 << 20)]), "has no end",
    ),
    "prelude of long names": (
        "dump.archive", lambda: inflated([HEADER, *repeat(listing("c" * 900_000), 90 << 20)]), "collection name",
    ),
    "prelude of many": (
        "dump.archive", lambda: inflated([HEADER, *repeat(bson.encode({"collection": "c"}), 90 << 20)]), "has no end",
    ),
    "header of fields": ("dump.archive", lambda: inflated([MAGIC, many_fields(3 << 20)]), "more than 100 fields"),
    "header in depth": ("dump.archive", lambda: MAGIC + nest(100_000, b"\x03"), "truncated"),
    "header of text": (
        "dump.archive", lambda: inflated([MAGIC, bson.encode({"x": "y" * (60 << 20)})]), "invalid length of 62,914,",
    ),
    "blocks without end": (
        "dump.archive", lambda: inflated([WHOLE, *repeat(build_block("other", "x", []), 4 << 20)]), "are incomplete",
    ),
    "block without end": (
        "dump.archive",
        lambda: inflated([WHOLE, build_block("demo", "c", [])[:-4], b"\5\0\0\0\0" * 40_000, TERMINATOR]),
        "are incomplete",
    ),
}  # fmt: skip


@contextmanager
def reading(megabytes: int) -> Iterator[Callable[[Path], str]]:
    """A process that reads dumps, each in a fork with so much memory; the function returns what came of one."""
    command = [sys.executable, "-m", "tests.security.reading", str(megabytes), "--paths"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        asked, answers = process.stdin, process.stdout

        def read(path: Path) -> str:
            print(path, file=asked, flush=True)
            answer = json.loads(answers.readline())
            assert answer["code"] == 0, answer["output"][-2000:]
            return str(answer["output"])

        yield read
        asked.close()


@pytest.fixture(scope="module")
def read() -> Iterator[Callable[[Path], str]]:
    with reading(BESIDE) as read:
        yield read


RARE = frozenset(
    {"many documents", "prelude of many", "zeros", "header in depth", "prelude without end"}
)  # like others


@pytest.mark.parametrize("name", [pytest.param(name, marks=[pytest.mark.long] * (name in RARE)) for name in BOMBS])
def test_bombs_do_not_go_off(name: str, read: Callable[[Path], str], tmp_path: Path) -> None:
    """With 300 MB more than Python's own: an error that says what is wrong, or the documents."""
    file, make, said = BOMBS[name]
    path = tmp_path / file
    path.write_bytes(make())
    if "metadata" in file:
        (tmp_path / f"c.bson{'.gz' if file.endswith('.gz') else ''}").write_bytes(b"")
    assert said in read(path if "archive" in file else tmp_path)


@pytest.mark.long
def test_the_worst_document_that_mongodb_stores(tmp_path: Path) -> None:
    """16 MiB of fields that take most memory when decoded: read, within 900 MB; what is larger is not decoded."""
    code = b"\x0d%b\0" + struct.pack("<i", 1) + b"\0"
    (tmp_path / "c.bson").write_bytes(enclose(b"".join(code % b"%d" % n for n in range(1_200_000))))
    with reading(DECODED) as read:
        assert read(tmp_path) == "read 1 documents\n"


def test_damaged_dumps() -> None:
    """Whatever is in the files of a dump: documents, or an error with a remedy, with 200 MB, within seconds."""
    command = [sys.executable, "-m", "tests.security.reading", "200", "--seeds", "0", "500"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "'read'" in done.stdout
    assert "'DamagedSourceError:'" in done.stdout


@pytest.mark.long
@pytest.mark.parametrize("first", range(10_000, 200_000, 10_000))
def test_many_damaged_dumps(first: int) -> None:
    """The same at length."""
    command = [sys.executable, "-m", "tests.security.reading", "200", "--seeds", str(first), str(first + 10_000)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=1200, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
