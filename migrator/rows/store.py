"""Where the rows of a migration are stored: the connection, the schemas and the mappings that every access needs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import sql

from migrator.mapping.collection import Collection
from migrator.postgres.table_names import name_of
from migrator.state.records import Namespace

Connection = psycopg.Connection[Any]


@dataclass(frozen=True, slots=True)
class RowStore:
    """The rows and records of one migration, reached through one connection. `mappings`: by collection name."""

    connection: Connection
    namespace: Namespace
    mappings: Mapping[str, Collection]

    def table(self, collection: Collection) -> sql.Identifier:
        """Return the table of a collection, with its schema."""
        return self.namespace.table(name_of(collection.table))
