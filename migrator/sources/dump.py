"""A mongodump folder: one `.bson` or `.bson.gz` file per collection. `selection` decides which of them are migrated.

The source reads `<name>.bson[.gz]` and `<name>.metadata.json[.gz]` and ignores other files (prelude.json, hidden files,
files of the user). Not read, and listed in `left_out`: views, collections of the server, and `oplog.bson` in the root.
A view with a data file was dumped with --viewsAsCollections and is read as a collection.

Other metadata without a data file are damage: mongodump writes all metadata first and then a data file for each
collection, even for an empty one. If one is missing, mongodump was interrupted or the copy is incomplete.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Final
from urllib.parse import unquote_plus

from migrator.errors import DamagedSourceError, SourceError, UsageError
from migrator.sources.background import run_in_order
from migrator.sources.base import Batch, Partition, Source, SourceCollection
from migrator.sources.bson_stream import BatchLimits, BsonStream, count_file, parse_position, read_batches, split_file
from migrator.sources.files import AGAIN, ReadProgress, explain_unreadable, fingerprint_files, read_chunks, read_small
from migrator.sources.selection import (
    BUCKETS,
    OPLOG,
    Metadata,
    check_database,
    check_name,
    choose_database,
    parse_metadata,
    reason_to_leave_out,
)

_METADATA: Final = (".metadata.json", ".metadata.json.gz")
_DATA: Final = (".bson", ".bson.gz")
# mongodump truncates longer escaped names and appends a hash; the metadata contain the full name.
_TRUNCATED_NAME: Final = 238


@dataclass(slots=True)
class _Files:
    """The files whose names have the same stem."""

    data: list[Path] = field(default_factory=list)
    metadata: list[Path] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Entry:
    """One collection to read."""

    name: str
    data: Path
    metadata: Metadata | None
    paths: list[Path]

    @property
    def gzipped(self) -> bool:
        return self.data.suffix == ".gz"


class DumpFolder(Source):
    """One database of a mongodump folder.

    It keeps no file open between calls: every `read` opens its own, so concurrent reads are possible, also in several
    processes.
    """

    def __init__(self, path: Path, database: str | None = None) -> None:
        """Open the dump at `path`: its root, whose folders are databases, or the folder of one database.

        The folder of one database can have any name, so `database` is used as given there.
        """
        self._path = path
        self._left_out: dict[str, str] = {}
        self._progress: ReadProgress | None = None
        stems = _list_stems(path, path)
        if _is_database_folder(path, stems, database):
            self._name = database or check_database(path.resolve().name, f"The dump {path}")
        else:
            self._name = choose_database(_list_databases(path), database, f"The dump {path}")
            self._left_out.update({"oplog": OPLOG} if "oplog" in stems else {})
            stems = _list_stems(path / self._name, path)
        self._entries = self._pick_entries(stems)
        self._splits: dict[tuple[str, int], Future[list[Partition]]] = {}  # by collection and size

    @property
    def label(self) -> str:
        return f"dump:{self._path} ({self._name})"

    @property
    def database(self) -> str:
        return self._name

    @property
    def left_out(self) -> Mapping[str, str]:
        return self._left_out

    def collections(self) -> list[SourceCollection]:
        """Return all collections. `bytes` is None for gzip files: they store their length modulo 4 GiB, and only that
        of the final member."""
        return [
            SourceCollection(
                name=name,
                documents=None,
                bytes=None if entry.gzipped else _size(entry.data),
                metadata=entry.metadata.raw if entry.metadata else None,
            )
            for name, entry in sorted(self._entries.items())
        ]

    def fingerprint(self) -> str:
        names = sorted(self._entries)
        return fingerprint_files(
            [self.database, *names], [path for name in names for path in self._entries[name].paths]
        )

    def read(self, positions: Mapping[str, str], *, documents: int, size: int) -> Iterator[Batch]:
        """Yield the batches of one collection after the other, in the order of `positions`."""
        starts = {name: parse_position(position, name) for name, position in positions.items()}
        for name in starts.keys() - self._entries.keys():
            raise SourceError(
                f"{self.label} does not contain the collection {name!r}", "Check whether the dump was replaced."
            )
        return self._read(starts, BatchLimits(documents, size))

    def count(self, collection: str) -> int | None:
        """Return the number of documents of an uncompressed file; None for gzip, and for a file that is damaged."""
        entry = self._entries[collection]
        return None if entry.gzipped else count_file(entry.data)

    def split(self, collection: str, size: int) -> list[Partition] | None:
        """Return partitions of an uncompressed file; None for gzip, which can only be read from its beginning."""
        if (found := self._splits.pop((collection, size), None)) is not None:
            return found.result()
        entry = self._entries[collection]
        return None if entry.gzipped else split_file(entry.data, collection, size)

    def prefetch_partitions(self, sizes: Mapping[str, int]) -> None:
        """Find the boundaries of large files in the background. This also reads a cold file before workers need it."""
        large = [
            (name, size)
            for name, size in sizes.items()
            if not self._entries[name].gzipped and _size(self._entries[name].data) > size
        ]
        acts = [partial(split_file, self._entries[name].data, name, size) for name, size in large]
        self._splits.update(zip(large, run_in_order(acts), strict=True))

    def reads_partitions(self, collection: str) -> bool:
        return not self._entries[collection].gzipped

    def read_partition(self, part: Partition, position: str, *, documents: int, size: int) -> Iterator[Batch]:
        entry, start = self._entries[part.collection], parse_position(position, part.collection)
        stop = parse_position(part.stop, part.collection) if part.stop else None
        chunks = read_chunks(entry.data, gzipped=entry.gzipped, start=start, stop=stop)
        stream = BsonStream(chunks, str(entry.data), start)
        for batch in read_batches(stream, part.collection, BatchLimits(documents, size)):
            yield replace(batch, part=part.number)

    @property
    def min_partition_bytes(self) -> int:
        return 4 << 20

    def share_read(self) -> float | None:
        return None if self._progress is None else self._progress.share

    def close(self) -> None:
        """Do nothing: each read closes its own file."""

    def _read(self, starts: dict[str, int], limits: BatchLimits) -> Iterator[Batch]:
        self._progress = ReadProgress([self._entries[name].data for name in starts])
        for name, start in starts.items():
            entry = self._entries[name]
            chunks = read_chunks(entry.data, gzipped=entry.gzipped, start=start, progress=self._progress)
            yield from read_batches(BsonStream(chunks, str(entry.data), start), name, limits)

    def _pick_entries(self, stems: dict[str, _Files]) -> dict[str, _Entry]:
        entries: dict[str, _Entry] = {}
        without_data: dict[str, tuple[Path, Metadata]] = {}
        for stem, files in sorted(stems.items()):
            data, metadata_path = _only(files.data), _only(files.metadata)
            metadata = _read_metadata(metadata_path) if metadata_path else None
            name = _name_collection(stem, metadata, data or metadata_path)
            if reason := reason_to_leave_out(name):
                self._left_out[name] = reason
            elif data:
                paths = [data, metadata_path] if metadata_path else [data]
                if name in entries:
                    raise _duplicate_files(entries[name].data, data)
                entries[name] = _Entry(name=name, data=data, metadata=metadata, paths=paths)
            elif metadata and metadata_path:
                without_data[name] = (metadata_path, metadata)
        for name, (path, metadata) in without_data.items():
            self._assign_metadata(name, path, metadata, entries)
        return entries

    def _assign_metadata(self, name: str, path: Path, metadata: Metadata, entries: dict[str, _Entry]) -> None:
        """Handle metadata without a data file: of a view, of a time series, or of a damaged dump."""
        buckets = entries.get(BUCKETS + name)
        if metadata.is_view:
            self._left_out[name] = "a view"
        elif metadata.is_timeseries and buckets:
            entries[buckets.name] = replace(buckets, metadata=metadata, paths=[*buckets.paths, path])
        else:
            raise DamagedSourceError(
                f"describes the collection {name}, but its .bson file is missing",
                file=str(path),
                offset=0,
                hint=f"{AGAIN} To migrate without this collection, remove this file.",
            )


def _list_stems(folder: Path, root: Path) -> dict[str, _Files]:
    """Return mongodump's files in a folder by the stem of their names. Links to a path outside the dump are an
    error."""
    stems: dict[str, _Files] = {}
    try:
        # Collection names never begin with a dot; such files are left by editors and archivers.
        paths = sorted(path for path in folder.iterdir() if not path.name.startswith(".") and path.is_file())
    except OSError as error:
        raise explain_unreadable(folder, error) from error
    for path in paths:
        for suffix in _METADATA + _DATA:
            if path.name.endswith(suffix):
                _check_inside(path, root)
                files = stems.setdefault(path.name.removesuffix(suffix), _Files())
                (files.data if suffix in _DATA else files.metadata).append(path)
    return stems


def _is_database_folder(path: Path, stems: dict[str, _Files], database: str | None) -> bool:
    """Return whether `path` is the folder of one database. The root of a dump has folders and no file but the oplog."""
    if all(stem == "oplog" and not files.metadata for stem, files in stems.items()):
        return False
    folders = _list_databases(path)
    if folders and database is None:
        raise UsageError(
            f"{path} contains collections and also folders of databases: {', '.join(sorted(folders))}",
            "Set `database` under [source], or remove the files that are not part of this dump.",
        )
    return database not in folders


def _list_databases(root: Path) -> list[str]:
    try:
        folders = [path for path in root.iterdir() if not path.name.startswith(".") and path.is_dir()]
    except OSError as error:
        raise explain_unreadable(root, error) from error
    return [folder.name for folder in folders if _list_stems(folder, root)]


def _check_inside(path: Path, root: Path) -> None:
    if not path.resolve().is_relative_to(root.resolve()):
        raise SourceError(f"{path} is a link to a path outside the dump", "Replace the link with the file.")


def _only(paths: list[Path]) -> Path | None:
    if len(paths) > 1:
        raise _duplicate_files(*paths)
    return paths[0] if paths else None


def _duplicate_files(one: Path, other: Path) -> UsageError:
    return UsageError(
        f"{one} and {other.name} are two files for the same collection",
        "The folder contains files of two dumps: remove the wrong file.",
    )


def _read_metadata(path: Path) -> Metadata:
    return parse_metadata(read_small(path, gzipped=path.suffix == ".gz"), str(path))


def _name_collection(stem: str, metadata: Metadata | None, path: Path | None) -> str:
    """Return the collection name of the metadata, else of the file name.

    File names are decoded as by mongorestore: Go's query escape, in which a plus is a space.
    """
    if metadata and metadata.name:
        return check_name(metadata.name, str(path))
    if len(stem) == _TRUNCATED_NAME and "%24" in stem:
        raise SourceError(
            f"{path}: mongodump truncated the collection name, and no metadata.json contains the full name",
            "Copy the .metadata.json file of this collection from the origin of the dump.",
        )
    try:
        return check_name(unquote_plus(stem, errors="strict"), str(path))
    except UnicodeDecodeError as error:
        raise SourceError(f"{path}: the decoded file name is not valid UTF-8", AGAIN) from error


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError as error:
        raise explain_unreadable(path, error) from error
