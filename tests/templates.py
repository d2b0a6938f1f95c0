"""Finished migrations to copy: one run makes a database, and every test that needs it gets a copy of its own.

A copy has the files of its template, so that rows keep their places and transactions. It takes a tenth of a run.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar
from urllib.parse import urlsplit

from tests.conftest import CREATE_DATABASE, administer, with_database

T = TypeVar("T")


@dataclass
class Templates:
    """The templates of one server. A template is made when it is asked for first."""

    server_url: str
    _names: dict[str, str] = field(default_factory=dict)
    _results: dict[str, Any] = field(default_factory=dict)

    def copy(self, key: str, database: str, build: Callable[[str], T]) -> T:
        """Replaces an empty database with a copy of the template `key`, which `build` fills, given its URL.

        Returns what `build` returned when it filled the template.
        """
        if key not in self._names:
            name = f"template_{uuid.uuid4().hex}"
            administer(self.server_url, CREATE_DATABASE, name)
            self._results[key] = build(with_database(self.server_url, name))
            self._names[key] = name
        name = urlsplit(database).path[1:]
        administer(self.server_url, "DROP DATABASE {} WITH (FORCE)", name)
        administer(self.server_url, "CREATE DATABASE {} TEMPLATE {} STRATEGY file_copy", name, self._names[key])
        result: T = self._results[key]
        return result

    def close(self) -> None:
        for name in self._names.values():
            administer(self.server_url, "DROP DATABASE {} WITH (FORCE)", name)
