"""Digests of Python files by their content, kept where Python keeps compiled code: describing a file needs its parse.

A command needs the fingerprints of the engine and of the mappings before it writes anything, and parsing their files
took 65 and 50 ms.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterable
from contextlib import suppress
from hashlib import sha256
from importlib.util import cache_from_source
from pathlib import Path


class DigestCache:
    """The file with the digests that one function gives.

    `module`: the path of the module with this function. `place`: the module in whose folder compiled code is kept,
    by default the same. `options`: what the digests depend on, too.
    """

    def __init__(self, module: str, place: str = "", options: Iterable[str] = ()) -> None:
        self._function = Path(module).read_bytes() + repr(list(options)).encode()  # others may give other digests
        try:
            self._file: Path | None = Path(cache_from_source(place or module)).with_suffix(".digests.json")
        except NotImplementedError:  # Python keeps no compiled code
            self._file = None

    def digests(self, paths: Iterable[Path], digest: Callable[[bytes], bytes]) -> list[bytes]:
        """Return the digest of each file. Raises: what `digest` raises, OSError."""
        known = self._read()
        keys, found = list[str](), dict[str, str]()
        for path in paths:
            source = path.read_bytes()
            key = sha256(self._function + source).hexdigest()
            keys.append(key)
            if key not in found:
                found[key] = known.get(key) or digest(source).hex()
        if not found.keys() <= known.keys():
            self._write(found)
        return [bytes.fromhex(found[key]) for key in keys]

    def _read(self) -> dict[str, str]:
        with suppress(OSError, ValueError, TypeError, AttributeError):  # it is missing, or damaged
            known = {} if self._file is None else json.loads(self._file.read_bytes())
            if all(len(bytes.fromhex(each)) == sha256().digest_size for each in known.values()):
                return dict(known)
        return {}

    def _write(self, found: dict[str, str]) -> None:
        """Replace the file as a whole. Where Python could not keep compiled code, nothing is kept."""
        if self._file is None or sys.dont_write_bytecode:
            return
        with suppress(OSError):
            written = self._file.with_suffix(f".{os.getpid()}")
            written.write_text(json.dumps(found), encoding="utf-8")
            written.replace(self._file)
