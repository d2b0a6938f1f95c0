"""mongodump archives: interleaved collections in one pass, their ends and their checksums."""

from __future__ import annotations

import random
from pathlib import Path

import bson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from migrator.errors import DamagedSourceError, SourceError, UsageError
from migrator.sources import open_source
from migrator.sources.archive import Archive
from tests.archive_writer import (
    TERMINATOR,
    build_block,
    build_end,
    build_prelude,
    make_documents,
    sum_up,
    write_archive,
)
from tests.unit.test_sources_dump import check_batches, join, read_all

DATABASE = {"users": make_documents(7), "messages": make_documents(50, filler=40), "empty": []}


@pytest.mark.parametrize("gzipped", [False, True])
@pytest.mark.parametrize("block", [1, 3, 100])
def test_reads_what_was_written(tmp_path: Path, gzipped: bool, block: int) -> None:
    """All collections come back byte for byte, however they are interleaved."""
    path = write_archive(tmp_path / "dump", {"chat": DATABASE}, gzipped=gzipped, block=block)
    assert read_all(open_source(f"dump:{path}")) == join(DATABASE)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=50)
@given(documents=st.integers(1, 60), size=st.integers(0, 3000), block=st.integers(1, 60))
def test_keeps_limits(tmp_path: Path, documents: int, size: int, block: int) -> None:
    """Whatever the limits and the blocks, each collection's batches keep them and join without gaps."""
    source = open_source(str(write_archive(tmp_path / "dump", {"chat": DATABASE}, block=block)))
    batches = list(source.read(dict.fromkeys(DATABASE, ""), documents=documents, size=size))
    for name in DATABASE:
        check_batches([batch for batch in batches if batch.collection == name], documents=documents, size=size)


def test_small_blocks_do_not_make_small_batches(tmp_path: Path) -> None:
    """A batch is filled across the blocks of its collection."""
    source = open_source(str(write_archive(tmp_path / "dump", {"chat": DATABASE}, block=1)))
    batches = list(source.read(dict.fromkeys(DATABASE, ""), documents=20, size=1 << 20))
    assert [batch.count for batch in batches if batch.collection == "messages"] == [20, 20, 10]


@pytest.mark.parametrize("gzipped", [False, True])
def test_resumes_at_every_boundary(tmp_path: Path, gzipped: bool) -> None:
    """A read from any batch's end gives exactly the rest, with the checksum of the whole still checked."""
    source = open_source(str(write_archive(tmp_path / "dump", {"chat": DATABASE}, gzipped=gzipped)))
    whole = b"".join(DATABASE["messages"])
    for batch in list(source.read({"messages": ""}, documents=3, size=500)):
        rest = list(source.read({"messages": batch.end, "users": ""}, documents=4, size=300))
        messages = [each for each in rest if each.collection == "messages"]
        check_batches(messages, documents=4, size=300, start=batch.end)
        assert b"".join(each.data for each in messages) == whole[int(batch.end or 0) :]
        assert b"".join(each.data for each in rest if each.collection == "users") == b"".join(DATABASE["users"])


def test_positions_are_those_of_a_folder(tmp_path: Path) -> None:
    """A position counts the collection's own bytes, so it means the same in either form of dump."""
    source = open_source(str(write_archive(tmp_path / "dump", {"chat": DATABASE})))
    *_, last = source.read({"users": ""}, documents=2, size=500)
    assert last.end == str(len(b"".join(DATABASE["users"])))


def test_reads_only_what_is_asked_for(tmp_path: Path) -> None:
    """Other collections are skipped, and the pass ends with the last one asked for, whatever comes after."""
    path = write_archive(tmp_path / "dump", {"chat": {"a": make_documents(3), "b": make_documents(50)}})
    path.write_bytes(path.read_bytes()[:-400])
    batches = list(open_source(str(path)).read({"a": ""}, documents=5, size=500))
    assert [(batch.collection, batch.count, batch.last) for batch in batches] == [("a", 3, True)]
    assert list(open_source(str(path)).read({}, documents=5, size=500)) == []


def test_largest_document(tmp_path: Path) -> None:
    """Documents of 16 MB go whole, between blocks of another collection."""
    large = [bson.encode({"_id": n, "data": random.Random(n).randbytes((16 << 20) - 50)}) for n in range(2)]
    source = open_source(str(write_archive(tmp_path / "dump", {"chat": {"a": large, **DATABASE}}, block=1)))
    batches = list(source.read({"a": "", "messages": ""}, documents=100, size=1 << 20))
    assert [batch.data for batch in batches if batch.collection == "a" and batch.count] == large


def test_chooses_database(tmp_path: Path) -> None:
    """The only application's database is taken, or the named one in whatever case; others' documents do not mix in."""
    other = {"users": make_documents(4, seed=9)}
    alone = write_archive(tmp_path / "alone", {"chat": DATABASE, "admin": {"system.users": make_documents(2)}})
    assert read_all(open_source(str(alone))) == join(DATABASE)
    both = write_archive(tmp_path / "both", {"chat": DATABASE, "other": other})
    assert read_all(open_source(str(both), "CHAT")) == join(DATABASE)
    assert read_all(open_source(str(both), "other")) == join(other)
    with pytest.raises(UsageError, match="chat, other"):
        open_source(str(both))
    with pytest.raises(UsageError, match="chat, other"):
        open_source(str(both), "../chat")


def test_leaves_out_what_is_not_the_applications(tmp_path: Path) -> None:
    """Views, the server's collections and the oplog are left out, and said to be."""
    chat = {"c": make_documents(2), "v": [], "system.js": make_documents(1), "$admin.system.users": make_documents(1)}
    path = write_archive(tmp_path / "dump", {"chat": chat, "": {"oplog": make_documents(3)}}, types={"v": "view"})
    source = Archive(path)
    assert list(read_all(source)) == ["c"]
    assert sorted(source.left_out) == ["$admin.system.users", "oplog", "system.js", "v"]


def test_documents_of_a_view_are_not_lost(tmp_path: Path) -> None:
    """A view that has documents after all is an error rather than left out."""
    path = write_archive(tmp_path / "dump", {"chat": {"v": make_documents(1), **DATABASE}}, types={"v": "view"})
    with pytest.raises(DamagedSourceError, match="view v"):
        read_all(open_source(str(path)))


@pytest.mark.parametrize(("server", "name"), [("8.2.11", "system.buckets.load"), ("8.3.0", "load"), ("10.0", "load")])
def test_reads_time_series(tmp_path: Path, server: str, name: str) -> None:
    """A time series' documents come under the name at which mongodump put them."""
    documents = make_documents(3)
    blocks = build_block("chat", name, documents) + build_end("chat", name, sum_up(documents))
    prelude = build_prelude([("chat", "load")], {"load": "timeseries"}, server=server)
    (tmp_path / "dump").write_bytes(prelude + blocks)
    assert read_all(open_source(str(tmp_path / "dump"))) == {name: b"".join(documents)}


def test_fingerprint_follows_content(tmp_path: Path) -> None:
    """A copy has the same fingerprint, other documents a different one."""
    one = write_archive(tmp_path / "one", {"chat": DATABASE})
    two = write_archive(tmp_path / "two", {"chat": DATABASE})
    three = write_archive(tmp_path / "three", {"chat": {**DATABASE, "users": make_documents(7, seed=1)}})
    first, second, third = (open_source(str(path)).fingerprint() for path in (one, two, three))
    assert first == second != third


def test_refuses_wrong_checksum(tmp_path: Path) -> None:
    """A changed byte in a document is found at the collection's end, which is then never marked."""
    path = write_archive(tmp_path / "dump", {"chat": DATABASE})
    path.write_bytes(path.read_bytes().replace(b"x" * 20, b"x" * 19 + b"y", 1))
    size = len(b"".join(DATABASE["messages"]))
    for start in ("", str(size)):
        with pytest.raises(DamagedSourceError, match="checksum of messages"):
            list(open_source(str(path)).read({"messages": start}, documents=5, size=500))


def test_refuses_missing_end(tmp_path: Path) -> None:
    """An archive that ends in good order, but before a collection does, is truncated; what came is delivered."""
    (tmp_path / "dump").write_bytes(build_prelude([("chat", "c")]) + build_block("chat", "c", make_documents(3)))
    batches = open_source(str(tmp_path / "dump")).read({"c": ""}, documents=5, size=500)
    first = next(batches)
    assert (first.count, first.last) == (3, False)
    with pytest.raises(DamagedSourceError, match="these collections are incomplete: c"):
        next(batches)


@pytest.mark.parametrize(
    ("blocks", "reason"),
    [
        (build_end("chat", "c", 0) + build_block("chat", "c", []) + build_end("chat", "c", 0), "after its end"),
        (
            build_end("chat", "c", 0).removesuffix(TERMINATOR) + make_documents(1)[0] + TERMINATOR,
            "is not expected here",
        ),
        (build_block("chat", "d", []) + build_end("chat", "c", 0), "not in the archive.s list"),
        (TERMINATOR + build_end("chat", "c", 0), "invalid document length of -1"),
        (make_documents(1)[0] + TERMINATOR, "no EOF"),
        (bson.encode({"db": 1, "collection": "c", "EOF": True, "CRC": 0}) + TERMINATOR, "not a string"),
    ],
)
def test_refuses_blocks_out_of_order(tmp_path: Path, blocks: bytes, reason: str) -> None:
    """What mongodump cannot have written is damage, not skipped."""
    prelude = build_prelude([("chat", "c"), ("chat", "later")])
    (tmp_path / "dump").write_bytes(prelude + blocks)
    with pytest.raises(DamagedSourceError, match=reason):
        read_all(open_source(str(tmp_path / "dump")))


@pytest.mark.parametrize("position", ["1", "99999", "x"])
def test_refuses_positions_it_never_gave(tmp_path: Path, position: str) -> None:
    """A position within a document, beyond the end, or none at all is an error."""
    source = open_source(str(write_archive(tmp_path / "dump", {"chat": DATABASE})))
    with pytest.raises(SourceError):
        list(source.read({"users": position}, documents=5, size=500))


def test_refuses_what_is_left_out_or_unknown(tmp_path: Path) -> None:
    """Only collections it lists can be read."""
    source = open_source(str(write_archive(tmp_path / "dump", {"chat": {**DATABASE, "v": []}}, types={"v": "view"})))
    for name in ("gone", "v"):
        with pytest.raises(SourceError, match=name):
            source.read({name: ""}, documents=5, size=500)


@pytest.mark.parametrize("content", [b"PK\x03\x04", make_documents(1)[0], b"\x1f\x8b\x08\x00 no gzip"])
def test_refuses_other_files(tmp_path: Path, content: bytes) -> None:
    """A file that is no archive is refused with a hint."""
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(SourceError) as raised:
        open_source(str(tmp_path / "file"))
    assert raised.value.hint
