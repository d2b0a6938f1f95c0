"""The database to migrate into: `open_target` returns the `Target` behind a URL.

A server reached by URL is in `server.py`, the bundled PostgreSQL in `embedded.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from migrator.errors import UsageError
from migrator.masking import mask
from migrator.targets.base import Connection, Target

__all__ = ["Connection", "Target", "open_target"]


def open_target(url: str, *, create: bool = True, notify: Callable[[str], None] = lambda text: None) -> Target:
    """Return the target behind `url`: `embedded:FOLDER` or `postgresql://…`.

    An embedded server is started; `notify` is called with the reason for a wait. With `create` false, a folder without
    a database is an error instead of a new database. A server is not contacted before `connect()`.
    """
    # Imported on demand: the bundled PostgreSQL takes 70 ms to import, which a command against a server need not pay.
    if url.startswith("embedded:"):
        from migrator.targets.embedded import EmbeddedTarget

        return EmbeddedTarget(Path(url.removeprefix("embedded:")), create=create, notify=notify)
    if url.startswith(("postgresql://", "postgres://")):
        from migrator.targets.server import ServerTarget

        return ServerTarget(url)
    raise UsageError(f"unknown target: {mask(url)!r}", 'Use "embedded:FOLDER" or "postgresql://USER@HOST/DATABASE".')
