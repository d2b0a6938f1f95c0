"""Fingerprints: SHA-256 digests (hex) that tell whether settings, files or code are still the same.

All fingerprints are computed here. What goes into the fingerprint of a source, of the settings or of the mappings is
decided where these are defined.
"""

from __future__ import annotations

import ast
import json
from collections.abc import Callable, Iterable
from functools import partial
from hashlib import file_digest, sha256
from pathlib import Path
from typing import IO, Any

from migrator.documents.digest_cache import DigestCache


def hash_parts(parts: Iterable[bytes]) -> str:
    """Return the fingerprint of bytes that come in parts. The borders of the parts do not count."""
    digest = sha256()
    for part in parts:
        digest.update(part)
    return digest.hexdigest()


def hash_text(text: str) -> str:
    """Return the fingerprint of a text."""
    return sha256(text.encode()).hexdigest()


def hash_json(value: Any, default: Callable[[Any], Any] | None = None) -> str:
    """Return the fingerprint of a value that JSON can represent. `default` as for `json.dumps`."""
    return hash_text(json.dumps(value, default=default, sort_keys=True))


def hash_file(file: IO[bytes]) -> str:
    """Return the fingerprint of the content of an open file."""
    return file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]


def hash_code(paths: Iterable[Path], packages: frozenset[str], engine: Iterable[Path] = ()) -> str:
    """Return the fingerprint of the meaning of Python files. Names of files, comments and docstrings do not count.

    It stays the same when files are moved or renamed: their digests are sorted, and of imports from `packages` (names
    of top-level packages that the files belong to) only the imported names count. It does not depend on the version of
    Python. `engine`: files of this package. The digests of both are kept in files.

    Raises: SyntaxError, OSError.
    """
    found = DigestCache(__file__).digests(engine, partial(_digest_of, packages=frozenset({__name__.split(".")[0]})))
    files = list(paths)
    if files:
        cache = DigestCache(__file__, place=str(files[0]), options=sorted(packages))
        found += cache.digests(files, partial(_digest_of, packages=packages))
    return hash_parts(sorted(found))


def _digest_of(source: bytes, packages: frozenset[str]) -> bytes:
    return sha256(_describe_module(source, packages).encode()).digest()


def _describe_module(source: bytes, packages: frozenset[str]) -> str:
    imported: set[tuple[str, str]] = set()
    parts: list[str] = []
    _describe(ast.parse(source), packages, imported, parts.append)
    return "".join([*parts, *(f"import {name} as {alias};" for name, alias in sorted(imported))])


def _describe(
    node: ast.AST, packages: frozenset[str], imported: set[tuple[str, str]], add: Callable[[str], None]
) -> None:
    """Add the parts of a text that is equal for code with the same meaning. Collects internal imports apart.

    `ast.dump` is not used: its text depends on the version of Python (new fields, empty fields left out).
    """
    add(f"({type(node).__name__}")
    for name in node._fields:
        value = getattr(node, name, None)
        if value is None or name == "type_comment":
            continue
        if isinstance(value, ast.AST):
            add(f" {name}=")
            _describe(value, packages, imported, add)
        elif not isinstance(value, list):
            add(f" {name}={value!r}")
        elif value:
            add(f" {name}=[")
            for item in value[1:] if name == "body" and _has_docstring(node, value[0]) else value:
                if not isinstance(item, ast.AST):
                    add(f" {item!r}")
                elif not _is_internal_import(item, packages, imported):
                    _describe(item, packages, imported, add)
            add("]")
    add(")")


def _has_docstring(node: ast.AST, first: Any) -> bool:
    if not isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
        return False
    return isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str)


def _is_internal_import(node: ast.AST, packages: frozenset[str], imported: set[tuple[str, str]]) -> bool:
    if isinstance(node, ast.ImportFrom) and (node.level or (node.module or "").split(".")[0] in packages):
        imported.update((alias.name, alias.asname or "") for alias in node.names)
        return True
    return False
