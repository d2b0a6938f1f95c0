"""A throw-away server to rehearse on: in memory's speed, in a temporary folder, gone afterwards."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from migrator.targets.base import Target
from migrator.targets.embedded import SETTINGS, EmbeddedTarget

# Nothing here has to outlive a crash.
_CARELESS = {**SETTINGS, "fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}


@contextmanager
def scratch_target() -> Iterator[Target]:
    """An empty embedded database that lives as long as the `with` block, whatever ends it."""
    with ExitStack() as undo:
        folder = Path(tempfile.mkdtemp(prefix="migrate-scratch-"))
        undo.callback(shutil.rmtree, folder, ignore_errors=True)
        target = EmbeddedTarget(folder / "postgres", settings=_CARELESS, durable=False)
        undo.callback(target.close)
        yield target
