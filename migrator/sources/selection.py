"""What of a dump is a collection to migrate: the rules that folder and archive share. No file is opened here.

Views have no documents of their own and are left out, as are `system.*` (definitions of views, stored JavaScript,
profiles) and `$admin.system.*` (users and roles): they belong to the server, not to the application. `system.buckets.*`
is the exception: mongodump puts the documents of a time series there, so it is a collection under that name.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from migrator.errors import DamagedSourceError, SourceError, UsageError
from migrator.sources.files import AGAIN

_LONGEST_NAME: Final = 255
BUCKETS: Final = "system.buckets."
OPLOG: Final = (
    "the oplog: writes made while the dump was taken; to have them, mongorestore --oplogReplay and dump again"
)
# The server's own: mongodump brings admin and config along whenever it dumps everything.
_SERVER_DATABASES: Final = frozenset({"admin", "config", "local"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Metadata:
    """A collection's `metadata.json`: the bytes as they are, and what is read of them ("" where it is silent)."""

    raw: bytes
    name: str = ""
    kind: str = ""

    @property
    def is_view(self) -> bool:
        return self.kind == "view"

    @property
    def is_timeseries(self) -> bool:
        return self.kind == "timeseries"


def parse_metadata(raw: bytes, file: str, offset: int = 0) -> Metadata:
    """Reads mongodump's metadata. Before 4.4 it did not write `type`; a view has the option `viewOn` anyway."""
    try:
        fields = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise DamagedSourceError(f"not JSON ({error})", file=file, offset=offset, hint=AGAIN) from error
    if not isinstance(fields, dict):
        raise DamagedSourceError("not a JSON object", file=file, offset=offset, hint=AGAIN)
    options: Any = fields.get("options")
    is_view = isinstance(options, dict) and "viewOn" in options
    kind = "view" if is_view else fields.get("type", "")
    name = fields.get("collectionName", "")
    if not isinstance(kind, str) or not isinstance(name, str):
        raise DamagedSourceError("its type or collectionName is no string", file=file, offset=offset, hint=AGAIN)
    return Metadata(raw=raw, name=name, kind=kind)


def check_name(name: str, file: str) -> str:
    """MongoDB allows any UTF-8 but NUL, nothing empty, nothing longer than 255 bytes with the database's name. A dump
    with another name was not written by mongodump."""
    if not name or "\0" in name or not _encodes(name) or len(name.encode()) > _LONGEST_NAME:
        shown = repr(name if len(name) <= _LONGEST_NAME else f"{name[:_LONGEST_NAME]}…")
        raise SourceError(f"{file}: {shown} cannot be the name of a collection.", AGAIN)
    return name


def check_database(name: str, label: str) -> str:
    """A database's name that PostgreSQL and files can hold, too: mongodump wrote no other."""
    if not name or "\0" in name or not _encodes(name):
        raise SourceError(
            f"{label}: {name!r} cannot be the name of a database.", "Name it as `database` under [source]."
        )
    return name


def reason_to_leave_out(name: str) -> str:
    """Why a collection is not one of the application's; "" where it is."""
    if name.startswith("$admin."):
        return "users and roles of the server"
    if name.startswith("system.") and not name.startswith(BUCKETS):
        return "belongs to the server"
    return ""


def choose_database(found: Iterable[str], wanted: str | None, label: str) -> str:
    """The database to migrate: the one named, or the only one there is besides the server's own.

    Upper and lower case may differ: MongoDB refuses two databases that differ in nothing else.
    """
    names = sorted(found)
    listed = ", ".join(names) or "none"
    if wanted is None:
        names = [name for name in names if name not in _SERVER_DATABASES]
        if len(names) > 1:
            raise UsageError(f"{label} holds several databases: {listed}.", "Name one as `database` under [source].")
        if not names:
            raise SourceError(f"{label} holds no application's database (found: {listed}).", "Check the path.")
        return check_database(names[0], label)
    if wanted in names:
        return check_database(wanted, label)
    alike = [name for name in names if name.casefold() == wanted.casefold()]
    if len(alike) == 1:
        return check_database(alike[0], label)
    raise UsageError(f"{label} holds no database {wanted!r} (found: {listed}).", "Correct `database` under [source].")


def _encodes(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True
