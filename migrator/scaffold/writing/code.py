"""Python code in the layout of `ruff format`: calls that fit on a line, or one argument per line; sorted imports."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Final

WIDTH: Final = 88  # the usual line length; wider settings keep the layout, because of the trailing commas
INDENT: Final = "    "
_OWN: Final = ("mappings", "schema")


def quote(text: str) -> str:
    """Return a text as a literal with double quotes, for Python and TOML."""
    return f'"{"".join(map(_escape, text))}"'


def _escape(character: str) -> str:
    if character in '"\\':
        return f"\\{character}"
    if character.isprintable():
        return character
    return f"\\u{ord(character):04x}" if ord(character) < 1 << 16 else f"\\U{ord(character):08x}"


def as_comment(text: str) -> str:
    """Return a text for a comment, a docstring or a page: names come from the source and must not become code."""
    plain = "".join(character if character.isprintable() else "?" for character in text)
    return plain.replace("\\", "/").replace('"', "'")


def call(name: str, arguments: Sequence[str], depth: int = 0) -> str:
    """Return a call as an argument or statement at a depth. An argument of several lines is already indented."""
    line = f"{name}({', '.join(arguments)})"
    is_short = "\n" not in line and len(INDENT) * depth + len(line) + 1 <= WIDTH  # 1: the comma after it
    return line if is_short else explode(name, arguments, depth)


def explode(name: str, arguments: Iterable[str], depth: int = 0) -> str:
    """Return a call, or with an empty name a tuple, with one argument per line."""
    inner = INDENT * (depth + 1)
    lines = "".join(f"{inner}{each},\n" for each in arguments)
    return f"{name}(\n{lines}{INDENT * depth})"


def as_tuple(name: str, items: Sequence[str], depth: int) -> str:
    """Return a tuple after `name`, as an argument at a depth: one item on the same line if it fits."""
    if not items:
        return f"{name}()"
    line = f"{name}({items[0]},)"  # this comma does not keep the layout: without it there is no tuple
    is_short = "\n" not in line and len(INDENT) * depth + len(line) + 1 <= WIDTH
    return line if len(items) == 1 and is_short else explode(name, items, depth)


def assign(name: str, function: str, items: Sequence[str]) -> str:
    """Return `name = function((items))`: a call with one tuple."""
    line = f"{name} = {function}(({', '.join(items)}{',' if len(items) == 1 else ''}))"
    if len(line) <= WIDTH:
        return line
    inner = f"({', '.join(items)})"
    if len(INDENT) + len(inner) > WIDTH or len(items) == 1:
        inner = explode("", items, 1)
    return f"{name} = {function}(\n{INDENT}{inner}\n)"


class Imports:
    """The imports of a module: third-party packages first, then those of the project, each sorted."""

    def __init__(self) -> None:
        self._names: defaultdict[str, set[str]] = defaultdict(set)

    def add(self, module: str, *names: str) -> None:
        """Add `from module import names`."""
        self._names[module].update(names)

    def render(self) -> str:
        """Return the block of imports, with that of annotations."""
        blocks = ["from __future__ import annotations"]
        for own in (None, False, True):
            lines = [_import(module, names) for module, names in sorted(self._names.items()) if _section(module) is own]
            blocks += ["\n".join(lines)] if lines else []
        return "\n\n".join(blocks)


def _section(module: str) -> bool | None:
    """Return None for the standard library, and whether a module is one of the project."""
    top = module.split(".")[0]
    return None if top in ("collections", "dataclasses", "typing") else top in _OWN


def _import(module: str, names: Iterable[str]) -> str:
    ordered = sorted(names, key=_import_order)
    line = f"from {module} import {', '.join(ordered)}"
    if len(line) <= WIDTH:
        return line
    return explode(f"from {module} import ", ordered)


def _import_order(name: str) -> tuple[int, str]:
    """Return the order of ruff: constants, classes, everything else."""
    return (0 if name.isupper() and len(name) > 1 else 1 if name[0].isupper() else 2), name
