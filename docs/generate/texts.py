"""Reader of texts.toml: what the code does not state itself (remedies, meanings of checks, exit codes and tables)."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

FILE = Path(__file__).with_name("texts.toml")


def load_texts(section: str) -> dict[str, Any]:
    """Returns one section: code → text, or code → table of texts."""
    texts: dict[str, Any] = tomllib.loads(FILE.read_text(encoding="utf-8"))[section]
    return texts
