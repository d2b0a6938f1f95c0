"""Where documents come from. `open_source` finds the source that a URL names; what one is says `base`."""

from __future__ import annotations

import os
import re
from pathlib import Path

from migrator.errors import SourceError, UsageError
from migrator.sources.archive import Archive
from migrator.sources.base import Source
from migrator.sources.dump import DumpFolder
from migrator.sources.files import unreadable

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")


def open_source(url: str, database: str | None = None) -> Source:
    """The source at `dump:PATH` (a mongodump folder or an archive file), or at a bare path.

    `database` may be left out where there is only one. Errors: `UsageError` for what the configuration has wrong,
    `SourceError` where nothing usable is found there, `DamagedSourceError` where its list of collections is damaged.
    """
    found = _SCHEME.match(url)
    if found and found[1] in ("mongodb", "mongodb+srv"):
        raise UsageError(
            f"This version does not read from a live server yet ({found[1]}://).",
            'Dump the database with mongodump, and set `url = "dump:PATH"` under [source].',
        )
    if found and found[1] != "dump":
        raise UsageError(f"No source is known by {found[1]}://.", 'Set `url = "dump:PATH"` under [source].')
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
