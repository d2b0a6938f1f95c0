"""mongodump folders: what is found in them, and that all of it is read, in order, in batches of any size."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import bson
import pytest
from bson.codec_options import DatetimeConversion
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from migrator.errors import DamagedSourceError, SourceError, UsageError
from migrator.mapping.conditions import Where
from migrator.mapping.shared_collections import SharedCollection
from migrator.sources import open_source
from migrator.sources.base import Batch, Source
from migrator.sources.dump import DumpFolder
from migrator.sources.shared import SharedSource
from tests.archive_writer import describe, make_documents, write_file, write_folder

DATABASE = {"users": make_documents(7), "messages": make_documents(50, filler=40), "empty": []}
REAL = Path(__file__).parents[3] / "shared" / "data"


def read_all(source: Source, *, documents: int = 10, size: int = 1 << 20) -> dict[str, bytes]:
    """Every collection's bytes; each must have come whole."""
    found: dict[str, list[bytes]] = {}
    complete = set()
    for batch in source.read({each.name: "" for each in source.collections()}, documents=documents, size=size):
        found.setdefault(batch.collection, []).append(batch.data)
        complete |= {batch.collection} if batch.last else set()
    assert complete == {each.name for each in source.collections()}
    return {name: b"".join(parts) for name, parts in found.items()}


def join(database: dict[str, list[bytes]]) -> dict[str, bytes]:
    return {name: b"".join(documents) for name, documents in database.items()}


def check_batches(batches: list[Batch], *, documents: int, size: int, start: str = "") -> None:
    """Of one collection: without gaps, within the limits, marked at the end."""
    for batch in batches:
        assert batch.start == start
        assert int(batch.end or 0) - int(batch.start or 0) == len(batch.data)
        assert batch.count == len(bson.decode_all(batch.data))
        assert batch.count <= documents
        assert len(batch.data) <= size or batch.count == 1
        start = batch.end
    assert [batch.last for batch in batches] == [False] * (len(batches) - 1) + [True]


@pytest.mark.parametrize("gzipped", [False, True])
def test_reads_what_was_written(tmp_path: Path, gzipped: bool) -> None:
    """All collections come back byte for byte, empty ones too."""
    source = open_source(f"dump:{write_folder(tmp_path / 'chat', DATABASE, gzipped=gzipped)}")
    assert read_all(source) == join(DATABASE)


def test_describes_collections(tmp_path: Path) -> None:
    """Names are sorted, sizes are exact where they can be known, metadata is handed on as it is."""
    write_folder(tmp_path, {"b": DATABASE["users"]})
    write_folder(tmp_path, {"a": DATABASE["users"]}, gzipped=True, metadata=False)
    first, second = open_source(str(tmp_path)).collections()
    assert (first.name, first.documents, first.bytes, first.metadata) == ("a", None, None, None)
    assert (second.name, second.documents, second.bytes) == ("b", None, sum(map(len, DATABASE["users"])))
    assert second.metadata == describe("b")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=50)
@given(documents=st.integers(1, 60), size=st.integers(0, 3000))
def test_keeps_limits(tmp_path: Path, documents: int, size: int) -> None:
    """Whatever the limits, batches keep them and join without gaps."""
    source = open_source(str(write_folder(tmp_path / "chat", DATABASE)))
    batches = list(source.read({"messages": ""}, documents=documents, size=size))
    check_batches(batches, documents=documents, size=size)
    assert b"".join(batch.data for batch in batches) == b"".join(DATABASE["messages"])


@pytest.mark.parametrize("gzipped", [False, True])
def test_resumes_at_every_boundary(tmp_path: Path, gzipped: bool) -> None:
    """A read from any batch's end gives exactly the rest, the end of the last batch included."""
    source = open_source(str(write_folder(tmp_path / "chat", DATABASE, gzipped=gzipped)))
    batches = list(source.read({"messages": ""}, documents=3, size=500))
    whole = b"".join(DATABASE["messages"])
    for batch in batches:
        rest = list(source.read({"messages": batch.end}, documents=4, size=300))
        check_batches(rest, documents=4, size=300, start=batch.end)
        assert b"".join(each.data for each in rest) == whole[int(batch.end or 0) :]


@pytest.mark.parametrize("count", [0, 1, 2, 700])
def test_counts_without_reading(tmp_path: Path, count: int) -> None:
    """The documents of a file are counted by their lengths; those of a compressed or damaged file must be read.

    Two documents are larger than the part of the file that is in memory at once.
    """
    documents = [
        bson.encode({"_id": number, "text": "x" * (number % 2 * (5 << 20) if number < 4 else 9)})
        for number in range(count)
    ]
    write_folder(tmp_path / "app", {"plain": documents})
    write_folder(tmp_path / "app", {"packed": documents}, gzipped=True)
    source = DumpFolder(tmp_path)
    assert source.count("plain") == count
    assert source.count("packed") is None
    for rest in (b"\x05", b"\x05\0\0\0\1", b"\xff\xff\xff\x7f\0\0"):
        (tmp_path / "app" / "plain.bson").write_bytes(b"".join(documents) + rest)
        assert source.count("plain") is None


def test_largest_document(tmp_path: Path) -> None:
    """A document of 16 MB goes whole, in a batch of its own, between small ones."""
    large = bson.encode({"_id": 1, "text": "x" * ((16 << 20) - 50)})
    small = make_documents(3)
    source = open_source(str(write_folder(tmp_path / "chat", {"c": [*small, large, *small]})))
    batches = list(source.read({"c": ""}, documents=1000, size=1 << 20))
    assert [batch.count for batch in batches] == [3, 1, 3]
    assert batches[1].data == large


def test_chooses_database(tmp_path: Path) -> None:
    """The only database is taken, or the named one, in whatever case; the server's own only if named."""
    write_folder(tmp_path / "LibreChat", {"c": make_documents(1)})
    write_folder(tmp_path / "admin", {"system.version": make_documents(1), "x": make_documents(2)})
    write_folder(tmp_path / "notes", {})
    assert open_source(str(tmp_path)).collections()[0].name == "c"
    assert open_source(str(tmp_path), "librechat").label.endswith("(LibreChat)")
    assert [each.name for each in open_source(str(tmp_path), "admin").collections()] == ["x"]
    write_folder(tmp_path / "other", {"c": []})
    with pytest.raises(UsageError, match="LibreChat, admin, other"):
        open_source(str(tmp_path))


@pytest.mark.parametrize("name", ["nowhere", "../chat", "..", "/"])
def test_refuses_unknown_database(tmp_path: Path, name: str) -> None:
    """A database is one of those there are: a name is never followed as a path."""
    write_folder(tmp_path / "chat", {"c": []})
    write_folder(tmp_path / "dump" / "inner", {"c": []})
    with pytest.raises(UsageError, match="inner"):
        open_source(str(tmp_path / "dump"), name)


def test_own_folder_may_be_renamed(tmp_path: Path) -> None:
    """A database's own folder is read under any configured name: folders get renamed."""
    folder = write_folder(tmp_path / "copy-of-friday", DATABASE)
    assert read_all(open_source(str(folder), "LibreChat")) == join(DATABASE)


def test_refuses_folder_of_both_kinds(tmp_path: Path) -> None:
    """Collections beside folders of databases are ambiguous until one is named."""
    write_folder(tmp_path, {"a": []})
    write_folder(tmp_path / "inner", {"b": []})
    with pytest.raises(UsageError, match="both"):
        open_source(str(tmp_path))
    assert [each.name for each in open_source(str(tmp_path), "inner").collections()] == ["b"]


def test_refuses_two_files_for_one_collection(tmp_path: Path) -> None:
    """X.bson and X.bson.gz cannot both be right, nor can two names for the same collection."""
    write_folder(tmp_path / "one", {"c": []}, metadata=False)
    write_folder(tmp_path / "one", {"c": []}, gzipped=True)
    write_folder(tmp_path / "two", {"a b": []}, metadata=False)
    write_file(tmp_path / "two" / "a%20b.bson", b"")
    for name in ("one", "two"):
        with pytest.raises(UsageError, match="two files"):
            open_source(str(tmp_path / name))


@pytest.mark.parametrize("name", ["a b", "a/b", "a%2Fb", "ä$+é", "x" * 200])
@pytest.mark.parametrize("metadata", [False, True])
def test_unescapes_names(tmp_path: Path, name: str, metadata: bool) -> None:
    """Names come back from file names as mongodump escapes them."""
    source = open_source(str(write_folder(tmp_path / "chat", {name: make_documents(2)}, metadata=metadata)))
    assert list(read_all(source)) == [name]


def test_takes_long_names_from_metadata(tmp_path: Path) -> None:
    """A name that mongodump had to cut stands in the metadata; without that it is not guessed."""
    name, stem = "long" * 60, "long" * 52 + "%24" + "h" * 27
    write_file(tmp_path / f"{stem}.bson", b"")
    with pytest.raises(SourceError, match="truncated the collection name"):
        open_source(str(tmp_path))
    write_file(tmp_path / f"{stem}.metadata.json", describe(name))
    assert [each.name for each in open_source(str(tmp_path)).collections()] == [name]


@pytest.mark.parametrize("stem", ["%FF", "%00", "a%ED%A0%80"])
def test_refuses_impossible_names(tmp_path: Path, stem: str) -> None:
    """Bytes that are no UTF-8, and NUL, are no collection's name."""
    write_file(tmp_path / f"{stem}.bson", b"")
    with pytest.raises(SourceError):
        open_source(str(tmp_path))


def test_leaves_out_what_is_not_the_applications(tmp_path: Path) -> None:
    """Views, the server's collections and the oplog are left out, and said to be; other files are none of ours."""
    folder = write_folder(tmp_path / "chat", {"c": [], "system.js": make_documents(1)})
    write_file(folder / "old.metadata.json", describe("old", options={"viewOn": "c", "pipeline": []}))
    write_file(folder / "new.metadata.json", describe("new", type="view"), gzipped=True)
    for name in ("$admin.system.users.bson", "prelude.json", "._c.bson", "README.md"):
        write_file(folder / name, b"")
    write_file(tmp_path / "oplog.bson", b"")
    source = DumpFolder(tmp_path)
    assert [each.name for each in source.collections()] == ["c"]
    assert sorted(source.left_out) == ["$admin.system.users", "new", "old", "oplog", "system.js"]


def test_reads_time_series_as_buckets(tmp_path: Path) -> None:
    """A time series' documents are not lost: they come as mongodump has them, with the series' metadata."""
    write_folder(tmp_path, {"system.buckets.load": make_documents(3)}, metadata=False)
    write_file(tmp_path / "load.metadata.json", describe("load", type="timeseries"))
    (series,) = open_source(str(tmp_path)).collections()
    assert series.name == "system.buckets.load"
    assert series.metadata == describe("load", type="timeseries")


def test_missing_data_file_is_damage(tmp_path: Path) -> None:
    """mongodump writes a file for an empty collection too, so one without is missing."""
    write_file(write_folder(tmp_path, {"c": []}) / "gone.metadata.json", describe("gone"))
    with pytest.raises(DamagedSourceError, match="gone"):
        open_source(str(tmp_path))


def test_refuses_links_out_of_the_dump(tmp_path: Path) -> None:
    """A link in a dump cannot make us read other files."""
    folder = write_folder(tmp_path / "chat", {"c": []})
    (folder / "d.bson").symlink_to(write_file(tmp_path / "secret.bson", b""))
    with pytest.raises(SourceError, match="link"):
        open_source(str(folder))


def test_fingerprint_follows_content(tmp_path: Path) -> None:
    """A copy has the same fingerprint; a changed byte, a longer file, another collection a different one."""
    folder = write_folder(tmp_path / "dump" / "chat", DATABASE)
    copy = Path(shutil.copytree(tmp_path / "dump", tmp_path / "copy"))
    fingerprints = [open_source(str(each)).fingerprint() for each in (tmp_path / "dump", folder, copy)]
    assert len(set(fingerprints)) == 1
    file = copy / "chat" / "users.bson"
    file.write_bytes(file.read_bytes().replace(b"x", b"y", 1))
    fingerprints.append(open_source(str(copy)).fingerprint())
    file.write_bytes(file.read_bytes() + make_documents(1)[0])
    fingerprints.append(open_source(str(copy)).fingerprint())
    file.rename(file.with_name("people.bson"))
    (copy / "chat" / "users.metadata.json").unlink()
    fingerprints.append(open_source(str(copy)).fingerprint())
    assert len(set(fingerprints)) == 4


@pytest.mark.parametrize("position", ["99999", "-1", "x", "1e3", "9" * 5000])
def test_refuses_positions_it_never_gave(tmp_path: Path, position: str) -> None:
    """A position beyond the end, or none at all, does not pass for the end of the collection."""
    for gzipped in (False, True):
        source = open_source(str(write_folder(tmp_path / str(gzipped), DATABASE, gzipped=gzipped)))
        with pytest.raises(SourceError):
            list(source.read({"users": position}, documents=5, size=500))


def test_refuses_unknown_collection(tmp_path: Path) -> None:
    """A collection that an earlier run knew and the dump does not hold is an error, not an empty one."""
    with pytest.raises(SourceError, match="gone"):
        open_source(str(write_folder(tmp_path, DATABASE))).read({"gone": ""}, documents=5, size=500)


@pytest.mark.parametrize("url", ["mysql://u:secret@host", "mongodb://u:secret@host:port"])
def test_refuses_other_sources(url: str) -> None:
    """What is no source is refused, and its password is not repeated."""
    with pytest.raises(UsageError) as raised:
        open_source(url)
    assert "secret" not in raised.value.message + raised.value.hint


def test_names_missing_path(tmp_path: Path) -> None:
    """A path that is not there, and a folder without a dump, are errors with a hint."""
    for path in (tmp_path / "nowhere", tmp_path, "~nobody-by-this-name/dump", "x" * 5000):
        with pytest.raises(SourceError) as raised:
            open_source(f"dump:{path}")
        assert str(path) in raised.value.message
        assert raised.value.hint


@pytest.mark.skipif(not REAL.exists(), reason="the real data is not here")
def test_folder_and_archive_of_real_data_agree() -> None:
    """A real database reads the same from its folder and its archive, and all of it decodes."""
    folder = open_source(f"dump:{REAL / 'librechat'}")
    archive = open_source(f"dump:{REAL / 'librechat.archive.gz'}", "LibreChat")
    found = read_all(folder, documents=5000, size=4 << 20)
    assert found == read_all(archive, documents=100, size=100_000)
    assert len(found) == 50
    assert [each.name for each in folder.collections()] == [each.name for each in archive.collections()]
    options: bson.CodecOptions[dict[str, object]] = bson.CodecOptions(
        datetime_conversion=DatetimeConversion.DATETIME_MS
    )
    assert sum(len(bson.decode_all(data, options)) for data in found.values()) > 5000


def test_partitions_are_found_in_advance(tmp_path: Path) -> None:
    """They are those that `split` finds by itself, and the file is not read again for them; small files need none."""
    folder = write_folder(tmp_path / "chat", DATABASE)
    expected = DumpFolder(folder).split("messages", 500)
    assert expected is not None
    assert len(expected) > 3
    source = DumpFolder(folder)
    source.prefetch_partitions({"users": 1 << 20, "messages": 500})
    assert source.split("users", 1 << 20) == DumpFolder(folder).split("users", 1 << 20)
    found = source.split("messages", 500)
    assert found == expected
    assert source.split("messages", 900) == DumpFolder(folder).split("messages", 900)  # another size
    source.prefetch_partitions({"messages": 500})
    source._splits["messages", 500].result()
    (folder / "messages.bson").unlink()
    assert source.split("messages", 500) == expected


def test_an_error_of_the_search_in_advance_is_raised_by_split(tmp_path: Path) -> None:
    """Where the partitions are needed, with the name of the file."""
    folder = write_folder(tmp_path / "chat", DATABASE)
    source = DumpFolder(folder)
    (folder / "messages.bson").unlink()
    (folder / "messages.bson").mkdir()  # its size is that of a folder: larger than the partitions
    source.prefetch_partitions({"messages": 500})
    with pytest.raises(SourceError, match=r"messages\.bson"):
        source.split("messages", 500)


def test_nothing_is_searched_in_compressed_files(tmp_path: Path) -> None:
    """They can be read only from their beginning."""
    source = DumpFolder(write_folder(tmp_path / "chat", DATABASE, gzipped=True))
    source.prefetch_partitions({"messages": 10})
    assert source._splits == {}
    assert source.split("messages", 10) is None


def test_partitions_of_a_shared_collection_are_found_once_in_advance(tmp_path: Path) -> None:
    """The mappings that share it ask for it by their own names."""
    main = DumpFolder(write_folder(tmp_path / "chat", DATABASE))
    shared = SharedCollection("messages", (("cars", Where("a", ("car",))), ("rest", None)))
    source = SharedSource(main, {"messages": shared})
    source.prefetch_partitions({"cars": 500, "rest": 500})
    assert list(main._splits) == [("messages", 500)]
    parts = source.split("cars", 500)
    assert parts is not None
    assert {part.collection for part in parts} == {"cars"}
    assert source.split("rest", 500) == [replace(part, collection="rest") for part in parts]
