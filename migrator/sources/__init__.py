"""Where documents come from. `open_source` opens the source that a URL names; `base` defines the interface.

All URL schemes of sources are in this module.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Final

from migrator.errors import SourceError, UsageError
from migrator.sources.archive import Archive
from migrator.sources.base import Source
from migrator.sources.dump import DumpFolder
from migrator.sources.files import explain_unreadable

Notify = Callable[[str], None]
_SCHEME: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")


def open_source(url: str, database: str | None = None, notify: Notify | None = None) -> Source:
    """Open the source at `dump:PATH` (a mongodump folder or archive), a plain path, `mongodb://` or `mongodb+srv://`.

    `database` is optional if the source has one database. `notify` receives a message for every retry of a live source.

    Raises: `UsageError` for an error in the configuration, `SourceError` if there is no usable source,
    `DamagedSourceError` if its list of collections is damaged.
    """
    found = _SCHEME.match(url)
    opener = _OPENERS.get(found[1] if found else "dump")
    if opener is None:
        raise UsageError(
            f"unknown source type: {url.partition('://')[0]}://",
            'Set `url = "dump:PATH"` or "mongodb://…" under [source].',
        )
    return opener(url, database, notify)


def _open_dump(url: str, database: str | None, notify: Notify | None) -> Source:
    # os.path leaves an unknown ~user unchanged, while pathlib raises.
    path = Path(os.path.expanduser(url.removeprefix("dump:")))
    try:
        is_folder, is_file = path.is_dir(), path.is_file()
    except OSError as error:
        raise explain_unreadable(path, error) from error
    if is_folder:
        return DumpFolder(path, database)
    if is_file:
        return Archive(path, database)
    raise SourceError(
        f"no dump found at {path}",
        "Correct `url` under [source]; relative paths start at the folder of migrate.toml.",
    )


def _open_live(url: str, database: str | None, notify: Notify | None) -> Source:
    from migrator.sources.live import LiveSource  # importing pymongo's client takes 150 ms, which a dump need not pay

    return LiveSource(url, database, notify)


_OPENERS: Final[dict[str, Callable[[str, str | None, Notify | None], Source]]] = {
    "dump": _open_dump,
    "mongodb": _open_live,
    "mongodb+srv": _open_live,
}
