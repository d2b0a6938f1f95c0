"""A mongodump folder: one `.bson` or `.bson.gz` a collection. Which of them are collections says `catalog`.

Read are `<name>.bson[.gz]` and `<name>.metadata.json[.gz]`; anything else (prelude.json, hidden files, what a user has
put there) is none of mongodump's documents. Not read, and listed in `left_out`: views, what belongs to the server, and
the root's `oplog.bson`. A view with a data file was dumped with --viewsAsCollections, and is a collection.

Other metadata alone is damage: mongodump writes all metadata first, then a data file for each collection, even an empty
one. So where one is missing, mongodump was interrupted or the copy is partial.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final
from urllib.parse import unquote_plus

from migrator.errors import DamagedSourceError, SourceError, UsageError
from migrator.sources.base import Batch, Partition, SourceCollection
from migrator.sources.bson_stream import Stream, parse_position, read_batches, split_file
from migrator.sources.files import AGAIN, Meter, fingerprint_files, read_chunks, read_small, unreadable
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
# mongodump cuts escaped names longer than this and puts a hash behind; the metadata has the whole one.
_CUT_NAME: Final = 238


@dataclass(slots=True)
class _Files:
    """What one stem of file names stands for."""

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


class DumpFolder:
    """A `Source` on one database of a mongodump folder.

    Holds no open file between calls: every `read` opens its own, so reads may run side by side, in processes too.
    """

    def __init__(self, path: Path, database: str | None = None) -> None:
        """`path` is a dump's root, whose folders are databases, or one database's own folder.

        An own folder may be named anything, so there `database` is taken as given.
        """
        self._path = path
        self.left_out: dict[str, str] = {}
        self._meter: Meter | None = None
        stems = _list_stems(path, path)
        if _is_own_folder(path, stems, database):
            self.database = database or check_database(path.resolve().name, f"The dump {path}")
        else:
            self.database = choose_database(_list_databases(path), database, f"The dump {path}")
            self.left_out.update({"oplog": OPLOG} if "oplog" in stems else {})
            stems = _list_stems(path / self.database, path)
        self._entries = self._pick_entries(stems)

    @property
    def label(self) -> str:
        return f"dump:{self._path} ({self.database})"

    def collections(self) -> list[SourceCollection]:
        """`bytes` is None for gzip: the length at a gzip file's end is modulo 4 GiB, and the last member's alone."""
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
        """One collection after the other, in the order of `positions`."""
        starts = {name: parse_position(position, name) for name, position in positions.items()}
        for name in starts.keys() - self._entries.keys():
            raise SourceError(f"{self.label} holds no collection {name!r}.", "Has the dump been exchanged?")
        return self._read(starts, documents, size)

    def split(self, collection: str, size: int) -> list[Partition] | None:
        """Parts of a plain file end between documents; gzip can only be read from its beginning."""
        entry = self._entries[collection]
        return None if entry.gzipped else split_file(entry.data, collection, size)

    def reads_parts(self, collection: str) -> bool:
        return not self._entries[collection].gzipped

    def read_part(self, part: Partition, position: str, *, documents: int, size: int) -> Iterator[Batch]:
        entry, start = self._entries[part.collection], parse_position(position, part.collection)
        stop = parse_position(part.stop, part.collection) if part.stop else None
        chunks = read_chunks(entry.data, gzipped=entry.gzipped, start=start, stop=stop)
        for batch in read_batches(Stream(chunks, str(entry.data), start), part.collection, documents, size):
            yield replace(batch, part=part.number)

    @property
    def smallest_part(self) -> int:
        return 4 << 20

    def share_read(self) -> float | None:
        return None if self._meter is None else self._meter.share

    def close(self) -> None:
        """Nothing to do: each read closes its own file."""

    def _read(self, starts: dict[str, int], documents: int, size: int) -> Iterator[Batch]:
        self._meter = Meter([self._entries[name].data for name in starts])
        for name, start in starts.items():
            entry = self._entries[name]
            chunks = read_chunks(entry.data, gzipped=entry.gzipped, start=start, meter=self._meter)
            yield from read_batches(Stream(chunks, str(entry.data), start), name, documents, size)

    def _pick_entries(self, stems: dict[str, _Files]) -> dict[str, _Entry]:
        entries: dict[str, _Entry] = {}
        alone: dict[str, tuple[Path, Metadata]] = {}
        for stem, files in sorted(stems.items()):
            data, metadata_path = _only(files.data), _only(files.metadata)
            metadata = _read_metadata(metadata_path) if metadata_path else None
            name = _name_collection(stem, metadata, data or metadata_path)
            if reason := reason_to_leave_out(name):
                self.left_out[name] = reason
            elif data:
                paths = [data, metadata_path] if metadata_path else [data]
                if name in entries:
                    raise _two_files(entries[name].data, data)
                entries[name] = _Entry(name=name, data=data, metadata=metadata, paths=paths)
            elif metadata and metadata_path:
                alone[name] = (metadata_path, metadata)
        for name, (path, metadata) in alone.items():
            self._place_alone(name, path, metadata, entries)
        return entries

    def _place_alone(self, name: str, path: Path, metadata: Metadata, entries: dict[str, _Entry]) -> None:
        """Metadata without a data file: a view, a time series, or damage."""
        buckets = entries.get(BUCKETS + name)
        if metadata.is_view:
            self.left_out[name] = "a view"
        elif metadata.is_timeseries and buckets:
            entries[buckets.name] = replace(buckets, metadata=metadata, paths=[*buckets.paths, path])
        else:
            raise DamagedSourceError(
                f"describes the collection {name}, but its .bson file is missing",
                file=str(path),
                offset=0,
                hint=f"{AGAIN} To go without the collection, remove this file.",
            )


def _list_stems(folder: Path, root: Path) -> dict[str, _Files]:
    """mongodump's files in a folder, by what their names begin with. Links that lead out of the dump are refused."""
    stems: dict[str, _Files] = {}
    try:
        # A collection's name never begins with a dot; what does is left by an editor or an archiver.
        paths = sorted(path for path in folder.iterdir() if not path.name.startswith(".") and path.is_file())
    except OSError as error:
        raise unreadable(folder, error) from error
    for path in paths:
        for suffix in _METADATA + _DATA:
            if path.name.endswith(suffix):
                _check_inside(path, root)
                files = stems.setdefault(path.name.removesuffix(suffix), _Files())
                (files.data if suffix in _DATA else files.metadata).append(path)
    return stems


def _is_own_folder(path: Path, stems: dict[str, _Files], database: str | None) -> bool:
    """Whether `path` is a database's folder. A root has folders, and of mongodump's files only the oplog."""
    if all(stem == "oplog" and not files.metadata for stem, files in stems.items()):
        return False
    folders = _list_databases(path)
    if folders and database is None:
        raise UsageError(
            f"{path} holds both collections and folders of databases: {', '.join(sorted(folders))}.",
            "Name one as `database` under [source], or move away what does not belong there.",
        )
    return database not in folders


def _list_databases(root: Path) -> list[str]:
    try:
        folders = [path for path in root.iterdir() if not path.name.startswith(".") and path.is_dir()]
    except OSError as error:
        raise unreadable(root, error) from error
    return [folder.name for folder in folders if _list_stems(folder, root)]


def _check_inside(path: Path, root: Path) -> None:
    if not path.resolve().is_relative_to(root.resolve()):
        raise SourceError(f"{path} is a link that leads out of the dump.", "Put the file itself there.")


def _only(paths: list[Path]) -> Path | None:
    if len(paths) > 1:
        raise _two_files(*paths)
    return paths[0] if paths else None


def _two_files(one: Path, other: Path) -> UsageError:
    return UsageError(
        f"{one} and {other.name} are two files for the same collection.", "Two dumps got mixed: remove the wrong one."
    )


def _read_metadata(path: Path) -> Metadata:
    return parse_metadata(read_small(path, gzipped=path.suffix == ".gz"), str(path))


def _name_collection(stem: str, metadata: Metadata | None, path: Path | None) -> str:
    """The metadata's name, or the file's: as mongorestore, undoing Go's query escape, in which a plus is a space."""
    if metadata and metadata.name:
        return check_name(metadata.name, str(path))
    if len(stem) == _CUT_NAME and "%24" in stem:
        raise SourceError(
            f"{path}: mongodump cut the collection's name, and no metadata.json has it whole.",
            "Copy the .metadata.json that belongs to it from where the dump was made.",
        )
    try:
        return check_name(unquote_plus(stem, errors="strict"), str(path))
    except UnicodeDecodeError as error:
        raise SourceError(f"{path}: its name is not UTF-8 when unescaped.", AGAIN) from error


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError as error:
        raise unreadable(path, error) from error
