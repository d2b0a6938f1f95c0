"""The tenant of all migrated rows, the SQL condition for its rows, and the settings that mapping rules can read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from uuid import UUID

import psycopg
from psycopg import sql
from sqlalchemy import Table

from migrator.config.models import Config, TenantConfig
from migrator.errors import PlanError
from migrator.postgres.session import owner_search_path
from migrator.postgres.tenancy import Tenancy, tenant_column
from migrator.state import journal
from migrator.state.own_transactions import record_transaction
from migrator.state.records import Namespace

Connection = psycopg.Connection[Any]
STEP = "tenant"


@dataclass(frozen=True, slots=True)
class Options:
    """`Context.options`: the configuration, the tenant, and the ID of the owner for orphaned documents (or None)."""

    config: Config
    tenant: UUID
    adopter: bytes | None = None


def ensure_tenant(
    connection: Connection, namespace: Namespace, tenancy: Tenancy | None, tenant: TenantConfig, run: int
) -> None:
    """Insert the row of the tenant if it is missing, and record whether it was inserted here.

    The step is also recorded if the target has no tenants: its transaction is the first one that writes rows.

    Raises:
        PlanError: another tenant has the subdomain.
    """
    if STEP in journal.finished_steps(connection, namespace):
        return
    with connection.transaction():
        record_transaction(connection, namespace)
        created = tenancy is not None and _insert(connection, namespace.table(tenancy.table), tenant)
        journal.finish_step(connection, namespace, run, STEP, {"id": str(tenant.id), "created": created})


def _insert(connection: Connection, table: sql.Identifier, tenant: TenantConfig) -> bool:
    """Insert the row of the tenant. Returns False if it is already there."""
    conflict = sql.SQL("SELECT id, name FROM {} WHERE subdomain = %s AND id <> %s").format(table)
    other = connection.execute(conflict, (tenant.subdomain, tenant.id)).fetchone()
    if other is not None:
        raise PlanError(
            f"another tenant of the target, {other[1]!r} ({other[0]}), has the subdomain {tenant.subdomain!r}",
            hint="In [tenant], set another subdomain, or the id of that tenant.",
        )
    insert = sql.SQL(
        "INSERT INTO {} (id, name, subdomain) VALUES (%s, %s, %s) ON CONFLICT (id) DO NOTHING RETURNING id"
    ).format(table)
    with owner_search_path(connection):
        created = connection.execute(insert, (tenant.id, tenant.name, tenant.subdomain)).fetchone()
    return created is not None


def own_rows(table: Table, tenant: UUID, alias: str = "t") -> sql.Composable:
    """Compose the condition that a row of a table belongs to the tenant: TRUE for a table without tenants."""
    column = tenant_column(table)
    if column is None:
        return sql.SQL("true")
    return sql.SQL("{} OPERATOR(pg_catalog.=) {}").format(sql.Identifier(alias, column), sql.Literal(tenant))
