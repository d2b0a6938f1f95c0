"""TTL indexes of a live database: MongoDB must not delete documents whose truth is in PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass
from typing import Any, Final

from pymongo.database import Database
from pymongo.errors import OperationFailure

from migrator.errors import SourceError
from migrator.sources.live_client import CANNOT_READ, connect, explain, label_of
from migrator.sources.selection import reason_to_leave_out

LONGEST_SECONDS: Final = 2**31 - 1  # which MongoDB accepts: 68 years
_MISSING: Final = frozenset({26, 27})  # NamespaceNotFound, IndexNotFound


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpiringIndex:
    """A TTL index: after `seconds` its documents are deleted."""

    collection: str
    index: str
    seconds: int

    def as_json(self) -> dict[str, Any]:
        return {"collection": self.collection, "index": self.index, "seconds": self.seconds}

    def __str__(self) -> str:
        return f"{self.collection}.{self.index} ({self.seconds:,} s)"


def read_expiring(url: str, database: str) -> list[ExpiringIndex]:
    """Return the TTL indexes of a database that delete documents. Raises: `SourceError`."""
    with closing(connect(url)) as client, explain(url):
        found = client[database]
        names = [each["name"] for each in found.list_collections() if each.get("type", "collection") == "collection"]
        return [
            ExpiringIndex(collection=name, index=each["name"], seconds=int(each["expireAfterSeconds"]))
            for name in sorted(names)
            if not reason_to_leave_out(name)
            for each in found[name].list_indexes()
            if each.get("expireAfterSeconds", LONGEST_SECONDS) < LONGEST_SECONDS
        ]


def suspend(url: str, database: str, found: Iterable[ExpiringIndex]) -> None:
    """Set the time of TTL indexes to its maximum. Raises: `SourceError`."""
    _set_seconds(url, database, [(each, LONGEST_SECONDS) for each in found])


def restore(url: str, database: str, found: Iterable[ExpiringIndex]) -> None:
    """Set the time of TTL indexes as it was. Those that no longer exist are left out. Raises: `SourceError`."""
    _set_seconds(url, database, [(each, each.seconds) for each in found])


def _set_seconds(url: str, database: str, wanted: list[tuple[ExpiringIndex, int]]) -> None:
    if not wanted:
        return
    with closing(connect(url)) as client, explain(url):
        for each, seconds in wanted:
            _modify(client[database], each, seconds, label_of(url))


def _modify(database: Database[dict[str, Any]], each: ExpiringIndex, seconds: int, label: str) -> None:
    try:
        database.command("collMod", each.collection, index={"name": each.index, "expireAfterSeconds": seconds})
    except OperationFailure as error:
        if error.code in CANNOT_READ:
            raise SourceError(
                f"{label}: no privilege to change the TTL index {each}",
                f"Grant the user the role dbAdmin on the database {database.name}:"
                f' db.grantRolesToUser("USER", [{{role: "dbAdmin", db: "{database.name}"}}])',
            ) from None
        if error.code not in _MISSING:
            raise
