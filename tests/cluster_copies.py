"""New clusters of the bundled PostgreSQL as copies of one, made once: `initdb` takes a third of a CPU-second.

What initdb itself says and refuses is tested by commands in new processes, and wherever a copy fails: initdb runs then.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from contextlib import AbstractContextManager
from hashlib import sha256
from pathlib import Path
from unittest.mock import patch

from migrator.targets import bundled
from migrator.targets.bundled import Account

_initialise: Callable[..., None] = bundled._initialise
_PLACE = Path(tempfile.gettempdir())  # now: tests may set another one


def copy_clusters() -> AbstractContextManager[object]:
    """In the block, new clusters are copies."""
    return patch.object(bundled, "_initialise", _copy)


def _copy(folder: Path, account: Account, *, settings: dict[str, str], durable: bool) -> None:
    """Fills an empty folder as initdb does. Does not sync files: the tests' data need not survive a power cut."""
    model = _PLACE / f"cluster-{sha256(repr((account, sorted(settings.items()))).encode()).hexdigest()[:12]}"
    if not model.exists():
        _make_model(model, account, settings)
    copy = ["cp", "-a", "-T", str(model), str(folder)]
    if not model.exists() or subprocess.run(copy, check=False, stderr=subprocess.DEVNULL).returncode:
        for each in folder.iterdir():
            shutil.rmtree(each) if each.is_dir() else each.unlink()
        _initialise(folder, account, settings=settings, durable=durable)


def _make_model(model: Path, account: Account, settings: dict[str, str]) -> None:
    building = model.with_name(f"{model.name}.{os.getpid()}")
    building.mkdir(mode=0o700)
    if account.uid is not None and account.gid is not None:
        os.chown(building, account.uid, account.gid)
    try:
        _initialise(building, account, settings=settings, durable=False)
        building.rename(model)
    except Exception:  # noqa: BLE001 - the folder that the caller has chosen says what is wrong
        shutil.rmtree(building, ignore_errors=True)
