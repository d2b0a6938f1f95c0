"""What a cutover asks a live server for: that it refuses writes, its present time, open transactions, and counts.

Not here: what changed until a time (following/source_watch.py), TTL indexes (ttl.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Final

from pymongo.errors import OperationFailure, PyMongoError

from migrator.errors import SourceError, UsageError
from migrator.sources.change_events import to_integer
from migrator.sources.live_client import CANNOT_READ, connect, explain, label_of

_UNKNOWN_COMMAND: Final = frozenset({59, 115})  # CommandNotFound, CommandNotSupported
_LIMIT_MS: Final = 2000  # for requests whose answer is only evidence
BLOCK: Final = "setUserWriteBlockMode"
BYPASS: Final = "bypassWriteBlockingMode"
_NEEDS: Final = 'This requires MongoDB 6.0. Set cutover.stop_writes to "hook" or "manual".'
_GRANT: Final = (
    "Grant the user a role with the actions setUserWriteBlockMode and bypassWriteBlockingMode on the cluster, or stop"
    " the writes with a hook (cutover.stop_writes)."
)
# Transactions are shown to users with the action `inprog`, which the role clusterMonitor has.
_TRANSACTIONS: Final = (
    {"$currentOp": {"allUsers": True, "idleSessions": True}},
    {"$match": {"transaction.timeOpenMicros": {"$exists": True}}},
    {"$count": "open"},
)


class ServerWrites:
    """Writes to one database of a live server. Raises: `SourceError`, `UsageError` where the server cannot do it."""

    def __init__(self, url: str, database: str) -> None:
        self._url = url
        self._client = connect(url)
        self._database = self._client[database]

    def close(self) -> None:
        self._client.close()

    def operation_time(self) -> int:
        """Return the time of the newest write that the server has applied: seconds << 32 | increment."""
        with explain(self._url):
            answer = self._client.admin.command("ping")
        if "operationTime" not in answer:
            raise SourceError(
                f"{label_of(self._url)}: the server tells no operation time",
                "The source must be a replica set or a sharded cluster.",
            )
        return to_integer(answer["operationTime"])

    def block(self) -> None:
        """Let the server refuse all writes of users, to all databases. It stays so after a restart."""
        self._set_block(True)

    def unblock(self) -> None:
        """Let the server accept writes again."""
        self._set_block(False)

    def _set_block(self, wanted: bool) -> None:
        with explain(self._url), self._explain_refusal():
            self._client.admin.command({BLOCK: 1, "global": wanted})

    def check_block(self) -> None:
        """Check that `block` can be called, without calling it. Raises: as `block`.

        And that the user may write nevertheless: changes of PostgreSQL are returned while the server refuses others.
        """
        label = label_of(self._url)
        with explain(self._url):
            commands = self._client.admin.command("listCommands").get("commands", {})
            if BLOCK not in commands:
                raise UsageError(f"{label} cannot refuse writes: it does not know {BLOCK}", _NEEDS)
            status = self._client.admin.command("connectionStatus", showPrivileges=True)
        found = status.get("authInfo", {}).get("authenticatedUserPrivileges", [])
        actions = {action for each in found for action in each.get("actions", [])}
        missing = [name for name in (BLOCK, BYPASS) if name not in actions and "anyAction" not in actions]
        if found and missing:  # without users, everything is permitted
            raise SourceError(f"{label}: no privilege for {' and '.join(missing)}", _GRANT)

    @contextmanager
    def _explain_refusal(self) -> Iterator[None]:
        label = label_of(self._url)
        try:
            yield
        except OperationFailure as error:
            if error.code in _UNKNOWN_COMMAND:
                raise UsageError(f"{label} cannot refuse writes: it does not know {BLOCK}", _NEEDS) from None
            if error.code in CANNOT_READ:
                raise SourceError(f"{label}: no privilege for {BLOCK}", _GRANT) from None
            raise

    def count_open_transactions(self) -> int | None:
        """Return the number of open transactions of all users; None if the server does not tell."""
        with suppress(PyMongoError):
            found = list(self._client.admin.aggregate(list(_TRANSACTIONS), maxTimeMS=_LIMIT_MS))
            return int(found[0]["open"]) if found else 0
        return None

    def estimate_count(self, names: Iterable[str]) -> dict[str, int]:
        """Return the number of documents of collections, as the server has it stored: fast, and nearly always exact."""
        with explain(self._url):
            return {name: int(self._database[name].estimated_document_count()) for name in names}

    def count(self, name: str) -> int:
        """Return the number of documents of a collection by reading it."""
        with explain(self._url):
            return int(self._database[name].count_documents({}))
