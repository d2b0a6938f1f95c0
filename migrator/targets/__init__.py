"""Where a migration goes: `open_target` turns a URL into a `Target`. The kinds are in server.py and embedded.py."""

from __future__ import annotations

from pathlib import Path

from migrator.errors import UsageError
from migrator.masking import mask
from migrator.targets.base import Connection, Target

__all__ = ["Connection", "Target", "open_target"]


def open_target(url: str, *, create: bool = True) -> Target:
    """The target behind `url`: `embedded:FOLDER` or `postgresql://…`.

    An embedded server is started; with `create` false, one that does not exist yet is an error instead of a new folder.
    A server is not contacted before `connect()`.
    """
    # Imported on demand: the bundled PostgreSQL is 70 ms that a command against a server need not pay.
    if url.startswith("embedded:"):
        from migrator.targets.embedded import EmbeddedTarget

        return EmbeddedTarget(Path(url.removeprefix("embedded:")), create=create)
    if url.startswith(("postgresql://", "postgres://")):
        from migrator.targets.server import ServerTarget

        return ServerTarget(url)
    raise UsageError(f"{mask(url)!r} is no target", 'use "embedded:FOLDER" or "postgresql://USER@HOST/DATABASE"')
