"""Damaged dumps: whatever a file holds, what is delivered is a prefix of the truth, and the rest is a clear error."""

from __future__ import annotations

import gzip
import struct
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import bson
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from migrator.errors import DamagedSourceError, MigrateError, SourceError
from migrator.sources import open_source
from migrator.sources.bson_stream import MAX_DOCUMENT_BYTES
from tests.archive_writer import MAGIC, build_archive, describe, make_documents, write_archive

DOCUMENTS = make_documents(12, filler=12)
TRUTH = b"".join(DOCUMENTS)
ARCHIVE = build_archive({"chat": {"c": DOCUMENTS, "other": make_documents(3)}}, block=5)
FORMS: dict[str, tuple[str, bytes]] = {
    "plain": ("c.bson", TRUTH),
    "gzip": ("c.bson.gz", gzip.compress(TRUTH, mtime=0)),
    "members": ("c.bson.gz", gzip.compress(TRUTH[:300], mtime=0) + gzip.compress(TRUTH[300:], mtime=0)),
    "archive": ("dump.archive", ARCHIVE),
    "archive gzip": ("dump.archive.gz", gzip.compress(ARCHIVE, mtime=0)),
}

every_form = pytest.mark.parametrize("form", FORMS)


def read_until_damage(
    path: Path, *, documents: int = 5, size: int = 1 << 20
) -> tuple[bytes, bool, MigrateError | None]:
    """What collection c delivered, whether it was marked complete, and the error that ended it."""
    delivered, complete = b"", False
    try:
        source = open_source(str(path if "archive" in path.name else path.parent))
        if not any(each.name == "c" for each in source.collections()):
            return b"", False, None
        for batch in source.read({"c": ""}, documents=documents, size=size):
            assert int(batch.start or 0) == len(delivered)
            delivered += batch.data
            complete = batch.last
    except MigrateError as error:
        return delivered, complete, error
    return delivered, complete, None


@contextmanager
def memory_below(limit: int) -> Iterator[None]:
    tracemalloc.start()
    try:
        yield
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < limit


@every_form
def test_forms_are_whole(tmp_path: Path, form: str) -> None:
    """The undamaged forms, which the other tests damage, read completely."""
    name, content = FORMS[form]
    (tmp_path / name).write_bytes(content)
    assert read_until_damage(tmp_path / name) == (TRUTH, True, None)


@every_form
def test_truncation_anywhere(tmp_path: Path, form: str) -> None:
    """Cut at any byte, all whole documents before are delivered, and then it is damage, or nothing was missing."""
    name, content = FORMS[form]
    path = tmp_path / name
    for cut in range(len(content)):
        path.write_bytes(content[:cut])
        delivered, complete, error = read_until_damage(path)
        assert TRUTH.startswith(delivered)
        if form == "plain":
            assert len(TRUTH[:cut]) - len(delivered) < max(map(len, DOCUMENTS))
        if complete:
            # A plain file cut between documents, a gzip file between members, or an archive behind the collection.
            assert error is None
            assert delivered == TRUTH or form == "plain"
        else:
            assert isinstance(error, DamagedSourceError), cut
            assert error.file == str(path)
            assert str(path) in error.message
            assert f"byte {error.offset}" in error.message
            assert error.hint


@every_form
def test_bit_flips_anywhere(tmp_path: Path, form: str) -> None:
    """A flipped bit leads to no error but our own; under a checksum, what is marked complete is the truth."""
    name, content = FORMS[form]
    path = tmp_path / name
    with memory_below(MAX_DOCUMENT_BYTES):
        for offset in range(len(content)):
            for bit in (offset % 8, (offset * 3 + 5) % 8):
                flipped = bytearray(content)
                flipped[offset] ^= 1 << bit
                path.write_bytes(flipped)
                delivered, complete, error = read_until_damage(path)
                assert not (complete and error)
                if complete and form != "plain":
                    assert delivered == TRUTH


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=75)
@given(content=st.binary(max_size=300), name=st.sampled_from([name for name, _ in FORMS.values()]))
@example(content=MAGIC, name="dump.archive")
@example(content=MAGIC + bson.encode({}) + b"\xff" * 8, name="dump.archive")
def test_any_bytes(tmp_path: Path, content: bytes, name: str) -> None:
    """A file of anything at all leads to no error but our own."""
    for prefix in (b"", MAGIC, b"\x1f\x8b\x08\0", MAGIC + bson.encode({"server_version": "8.0.0"})):
        (tmp_path / name).write_bytes(prefix + content)
        read_until_damage(tmp_path / name)


@pytest.mark.parametrize("length", [-(1 << 31), -1, 0, 4, MAX_DOCUMENT_BYTES + 1, (1 << 31) - 1])
@pytest.mark.parametrize("gzipped", [False, True])
def test_impossible_length(tmp_path: Path, length: int, gzipped: bool) -> None:
    """A length that no document has is damage at its offset, with the documents before it delivered."""
    content = TRUTH + struct.pack("<i", length) + b"\0" * 100
    path = tmp_path / ("c.bson.gz" if gzipped else "c.bson")
    path.write_bytes(gzip.compress(content) if gzipped else content)
    delivered, complete, error = read_until_damage(path)
    assert (delivered, complete) == (TRUTH, False)
    assert isinstance(error, DamagedSourceError)
    assert error.offset == len(TRUTH)
    assert "read before it: 12 complete documents" in error.message


def test_wrong_last_byte(tmp_path: Path) -> None:
    """A document that does not end in zero is damage at its beginning."""
    (tmp_path / "c.bson").write_bytes(DOCUMENTS[0] + DOCUMENTS[1][:-1] + b"!" + DOCUMENTS[2])
    delivered, _, error = read_until_damage(tmp_path / "c.bson")
    assert delivered == DOCUMENTS[0]
    assert isinstance(error, DamagedSourceError)
    assert error.offset == len(DOCUMENTS[0])
    assert "read before it: 1 complete document" in error.message


def test_counts_from_the_position(tmp_path: Path) -> None:
    """After a resume the offset is still the file's, and the message says from where documents were counted."""
    (tmp_path / "c.bson").write_bytes(TRUTH + b"\x10")
    start = len(DOCUMENTS[0])
    with pytest.raises(DamagedSourceError, match=f"read before it: 11 complete documents from byte {start}") as raised:
        list(open_source(str(tmp_path)).read({"c": str(start)}, documents=5, size=500))
    assert raised.value.offset == len(TRUTH)


def test_announced_length_costs_nothing(tmp_path: Path) -> None:
    """A document that claims 60 MB and has 100 bytes takes no memory for what it claims."""
    (tmp_path / "c.bson").write_bytes(struct.pack("<i", 60_000_000) + b"x" * 100)
    with memory_below(4 << 20):
        _, complete, error = read_until_damage(tmp_path / "c.bson")
    assert not complete
    assert isinstance(error, DamagedSourceError)
    assert "60,000,000" in error.message


@pytest.mark.parametrize("fill", [b"\0", struct.pack("<i", 1024) + b"\0" * 1020])
def test_gzip_bomb(tmp_path: Path, fill: bytes) -> None:
    """100 MB from 100 KB are read, or found to be no documents, without holding more than a batch."""
    total = 100 << 20
    (tmp_path / "c.bson.gz").write_bytes(gzip.compress(fill * (total // len(fill)), 1))
    source = open_source(str(tmp_path))
    with memory_below(12 << 20):
        if len(fill) == 1:
            with pytest.raises(DamagedSourceError, match="0 complete documents"):
                list(source.read({"c": ""}, documents=1000, size=1 << 20))
        else:
            assert sum(batch.count for batch in source.read({"c": ""}, documents=1000, size=1 << 20)) == total // 1024
            (rest,) = source.read({"c": str(total - 1024)}, documents=1000, size=1 << 20)
            assert rest.count == 1


def test_archive_bomb(tmp_path: Path) -> None:
    """What an archive holds of other collections is skipped without being kept."""
    blob = [bson.encode({"data": b"\0" * (1 << 20)})] * 50
    path = write_archive(tmp_path / "dump", {"chat": {"c": DOCUMENTS, "blob": blob}}, gzipped=True)
    source = open_source(str(path))
    with memory_below(12 << 20):
        assert sum(batch.count for batch in source.read({"c": ""}, documents=9, size=1 << 20)) == len(DOCUMENTS)


@pytest.mark.parametrize("tail", [b"garbage after the end", b"\0" * 600, b"\x1f", gzip.compress(b"x", mtime=0)[:-3]])
def test_gzip_with_a_tail(tmp_path: Path, tail: bytes) -> None:
    """What follows a gzip file and is none is damage, after all documents and before the mark of completeness."""
    (tmp_path / "c.bson.gz").write_bytes(gzip.compress(TRUTH) + tail)
    delivered, complete, error = read_until_damage(tmp_path / "c.bson.gz", documents=1000)
    assert (delivered, complete) == (TRUTH, False)
    assert isinstance(error, DamagedSourceError)
    assert len(TRUTH) <= error.offset <= len(TRUTH) + 1


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"\xff", b"[" * 100_000, b'{"type": 1}', b'{"n": ' + b"9" * 5000]
)
def test_damaged_metadata(tmp_path: Path, content: bytes) -> None:
    """Metadata that is no JSON object is damage in that file."""
    (tmp_path / "c.bson").write_bytes(TRUTH)
    (tmp_path / "c.metadata.json").write_bytes(content)
    with pytest.raises(DamagedSourceError, match=r"c\.metadata\.json"):
        open_source(str(tmp_path))


def test_endless_metadata(tmp_path: Path) -> None:
    """Metadata that inflates to more than any has is not read to its end."""
    (tmp_path / "c.bson").write_bytes(TRUTH)
    (tmp_path / "c.metadata.json.gz").write_bytes(gzip.compress(describe("c") + b" " * (60 << 20), 1))
    with memory_below(40 << 20), pytest.raises(DamagedSourceError, match="metadata file is longer than"):
        open_source(str(tmp_path))


@pytest.mark.parametrize("gone", [Path.unlink, lambda path: (path.unlink(), path.mkdir())])
def test_file_that_cannot_be_read(tmp_path: Path, gone: Callable[[Path], None]) -> None:
    """A file that the system refuses by now is an error with a hint, not a traceback."""
    path = tmp_path / "c.bson"
    path.write_bytes(TRUTH)
    source = open_source(str(tmp_path))
    gone(path)
    with pytest.raises(SourceError, match="cannot read") as raised:
        list(source.read({"c": ""}, documents=5, size=500))
    assert raised.value.hint
