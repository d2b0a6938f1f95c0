"""The triggers that stop the writes of an application during a switch back."""

from __future__ import annotations

from typing import LiteralString
from uuid import UUID

import psycopg
import pytest

from mappings import MAPPINGS
from migrator.reversing import write_stop
from migrator.state.records import Namespace
from tests.integration.schemas import connected, set_up

OURS, OTHERS = UUID(int=1), UUID(int=2)
NEW_USER = "INSERT INTO users (tenant_id, email, name) VALUES (%s, %s, 'x')"
REFUSED = "writes to users are stopped"


def test_rows_of_other_tenants_can_still_be_written(database: str) -> None:
    """Writes to rows of the tenant and TRUNCATE fail until the triggers are removed; other tenants go on."""
    namespace = Namespace()
    with connected(database) as connection:
        set_up(connection, "whole")
        connection.execute("CREATE SCHEMA IF NOT EXISTS migrator")
        for number, tenant in enumerate((OURS, OTHERS)):
            query = "INSERT INTO tenants (id, name, subdomain) VALUES (%s, 'x', %s)"
            connection.execute(query, (tenant, f"t{number}"))
            connection.execute(NEW_USER, (tenant, f"{number}@example.org"))
        write_stop.install(connection, namespace, MAPPINGS, OURS)
        write_stop.install(connection, namespace, MAPPINGS, OURS)
        connection.execute("UPDATE users SET name = 'y' WHERE tenant_id = %s", (OTHERS,))
        connection.execute(NEW_USER, (OTHERS, "2@example.org"))
        connection.execute("DELETE FROM users WHERE email = '2@example.org'")
        refused: tuple[tuple[LiteralString, tuple[object, ...]], ...] = (
            ("UPDATE users SET name = 'z'", ()),
            ("UPDATE users SET tenant_id = %s WHERE tenant_id = %s", (OURS, OTHERS)),
            (NEW_USER, (OURS, "3@example.org")),
            ("DELETE FROM users WHERE tenant_id = %s", (OURS,)),
            ("TRUNCATE users CASCADE", ()),
        )
        for statement, values in refused:
            with pytest.raises(psycopg.errors.ReadOnlySqlTransaction, match=REFUSED):
                connection.execute(statement, values)
        write_stop.remove(connection, namespace, MAPPINGS)
        connection.execute(NEW_USER, (OURS, "3@example.org"))
        found = connection.execute("SELECT name FROM users ORDER BY email").fetchall()
        assert [name for (name,) in found] == ["x", "y", "x"]
