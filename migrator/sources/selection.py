"""Selects the collections of a source to migrate: the rules that dump folders, archives and servers share.

Views have no documents of their own and are left out, as are `system.*` (view definitions, stored JavaScript, profiles)
and `$admin.system.*` (users and roles): they belong to the server, not to the application. The exception is
`system.buckets.*`: mongodump stores the documents of a time series there, so it is a collection with that name.
Not here: reading files.
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
OPLOG: Final = "oplog: writes during the dump. To include them, run mongorestore --oplogReplay and create a new dump"
# mongodump includes admin and config when it dumps all databases.
_SERVER_DATABASES: Final = frozenset({"admin", "config", "local"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Metadata:
    """A collection's `metadata.json`: the original bytes and the fields in use ("" if a field does not exist)."""

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
    """Parse mongodump's metadata. mongodump before 4.4 wrote no `type`; a view has the option `viewOn` in any version.

    Raises: `DamagedSourceError`.
    """
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
        raise DamagedSourceError("type or collectionName is not a string", file=file, offset=offset, hint=AGAIN)
    return Metadata(raw=raw, name=name, kind=kind)


def check_name(name: str, file: str) -> str:
    """Return a valid collection name. Raises: `SourceError`.

    MongoDB allows any UTF-8 text without NUL that is not empty and at most 255 bytes long, including the database name.
    mongodump writes no other names.
    """
    if not name or "\0" in name or not _encodes(name) or len(name.encode()) > _LONGEST_NAME:
        shown = repr(name if len(name) <= _LONGEST_NAME else f"{name[:_LONGEST_NAME]}…")
        raise SourceError(f"{file}: invalid collection name {shown}", AGAIN)
    return name


def check_database(name: str, label: str) -> str:
    """Return a database name that PostgreSQL and file systems can store. Raises: `SourceError`."""
    if not name or "\0" in name or not _encodes(name):
        raise SourceError(f"{label}: invalid database name {name!r}", "Set `database` under [source].")
    return name


def reason_to_leave_out(name: str) -> str:
    """Return why a collection is not migrated; "" if it is."""
    if name.startswith("$admin."):
        return "users and roles of the server"
    if name.startswith("system.") and not name.startswith(BUCKETS):
        return "belongs to the server"
    return ""


def choose_database(found: Iterable[str], wanted: str | None, label: str) -> str:
    """Return the database to migrate: `wanted`, or the only user database.

    The comparison ignores case, because MongoDB does not allow two databases whose names differ only in case.

    Raises: `UsageError` if there are several or `wanted` does not exist, `SourceError` if there is none.
    """
    names = sorted(found)
    listed = ", ".join(names) or "none"
    if wanted is None:
        names = [name for name in names if name not in _SERVER_DATABASES]
        if len(names) > 1:
            raise UsageError(f"{label} contains several databases: {listed}", "Set `database` under [source].")
        if not names:
            raise SourceError(f"{label} contains no user database (found: {listed})", "Check `url` under [source].")
        return check_database(names[0], label)
    if wanted in names:
        return check_database(wanted, label)
    alike = [name for name in names if name.casefold() == wanted.casefold()]
    if len(alike) == 1:
        return check_database(alike[0], label)
    raise UsageError(
        f"{label} does not contain the database {wanted!r} (found: {listed})", "Correct `database` under [source]."
    )


def _encodes(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True
