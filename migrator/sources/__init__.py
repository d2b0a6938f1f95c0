"""Where documents come from. `open_source` finds the source that a URL names; what one is says `base`."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

from migrator.errors import SourceError, UsageError
from migrator.sources.archive import Archive
from migrator.sources.base import Source
from migrator.sources.dump import DumpFolder
from migrator.sources.files import unreadable

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")


def open_source(url: str, database: str | None = None, notify: Callable[[str], None] | None = None) -> Source:
    """The source at `dump:PATH` (a mongodump folder or an archive file), a bare path, or a live `mongodb://`.

    `database` may be left out where there is only one. `notify` is told what of a live source is tried again. Errors:
    `UsageError` for what the configuration has wrong, `SourceError` where nothing usable is found there,
    `DamagedSourceError` where its list of collections is damaged.
    """
    found = _SCHEME.match(url)
    if found and found[1] in ("mongodb", "mongodb+srv"):
        from migrator.sources.live import LiveSource  # pymongo's client is 150 ms that a dump need not pay

        return LiveSource(url, database, notify)
    if found and found[1] != "dump":
        raise UsageError(
            f"No source is known by {found[1]}://.", 'Set `url = "dump:PATH"` or "mongodb://…" under [source].'
        )
    # os.path leaves a ~user that does not exist as it is, where pathlib raises.
    path = Path(os.path.expanduser(url.removeprefix("dump:")))
    try:
        is_folder, is_file = path.is_dir(), path.is_file()
    except OSError as error:
        raise unreadable(path, error) from error
    if is_folder:
        return DumpFolder(path, database)
    if is_file:
        return Archive(path, database)
    raise SourceError(f"There is no dump at {path}.", "Correct `url` under [source]; relative paths count from here.")
