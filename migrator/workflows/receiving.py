"""Receiving the changes of the source, from before the load until following ends. The process is in `following`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from migrator.errors import UsageError
from migrator.events import Notice
from migrator.mapping.shared_collections import find_shared
from migrator.sources.base import ChangingSource, SourceCollection
from migrator.sources.selection import BUCKETS
from migrator.state import sync
from migrator.state.records import Connection
from migrator.targets.base import Target
from migrator.workflows.migration import MigrationContext

if TYPE_CHECKING:
    from migrator.following.receiver_process import ReceiverProcess


def require_changing(context: MigrationContext) -> ChangingSource:
    """Return the access to documents that change.

    Raises: `UsageError` if the source is a dump.
    """
    changing = context.source.changing
    if changing is None:
        raise UsageError(
            f"{context.source.label} is a dump, which does not change",
            hint='To follow an application, set source.url to its server ("mongodb://…").',
        )
    return changing


def is_time_series(collection: SourceCollection) -> bool:
    """Return whether a collection is a time series, or holds the documents of one."""
    options = json.loads(collection.metadata).get("options", {}) if collection.metadata else {}
    return collection.name.startswith(BUCKETS) or "timeseries" in options


class Receiving:
    """The receiving process of one migration. It outlives the attempts of a run."""

    def __init__(self, context: MigrationContext, target: Target) -> None:
        self._context, self._target = context, target
        self._changing = require_changing(context)
        self._process: ReceiverProcess | None = None

    def begin(self, connection: Connection, *, is_loaded: bool = False) -> None:
        """Store the present position in the changes of the source, unless one is stored, and start the process.

        `is_loaded`: the documents were loaded before. Without a stored position, all of them are compared.
        """
        if self._process is not None:
            self._process.check()
            return
        self._warn_of_time_series()
        namespace = self._context.namespace
        if sync.read(connection, namespace) is None:
            position = self._changing.current_position()
            sync.begin(connection, namespace, position)
            if is_loaded:
                sync.begin_again(connection, namespace, 0, position, self._changing.list_collections())
        from migrator.following.receiver import ReceiverJob  # these import pymongo: not for dumps
        from migrator.following.receiver_process import ReceiverProcess

        context = self._context
        shared = {name: each.names for name, each in find_shared(context.definition.mappings.values()).items()}
        job = ReceiverJob(
            url=context.config.source.url,
            database=context.source.database,
            dsn=self._target.dsn,
            namespace=namespace,
            shared=shared,
        )
        self._process = ReceiverProcess(job)

    def _warn_of_time_series(self) -> None:
        collections = self._context.source.collections()
        names = [each.name.removeprefix(BUCKETS) for each in collections if is_time_series(each)]
        if names:
            text = (
                "MongoDB reports no changes of time series, so these are not followed:"
                f" {', '.join(names)}. What changes in them after the load is a difference in `migrate verify`."
            )
            self._context.emit(Notice(text=text, level="warning"))

    def check(self) -> None:
        """Start the process again if it was killed. Raises: the error that ended it."""
        if self._process is not None:
            self._process.check()

    def hurry(self) -> None:
        """Let the process store positions without events more often: somebody waits for them."""
        if self._process is not None:
            self._process.hurry()

    @property
    def waiting(self) -> str:
        """What the process waits for; '' while it works."""
        return "" if self._process is None else self._process.waiting

    def stop(self) -> None:
        """End the process."""
        if self._process is not None:
            self._process.stop()
            self._process = None
