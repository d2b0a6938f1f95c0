"""The tenant of all migrated rows, and the settings that mapping rules can read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from uuid import UUID

import psycopg
from psycopg import sql

from migrator.config.models import Config, TenantConfig
from migrator.errors import PlanError
from migrator.postgres.session import owner_search_path
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


def ensure_tenant(connection: Connection, namespace: Namespace, tenant: TenantConfig, run: int) -> None:
    """Insert the row of the tenant if it is missing, and record whether it was inserted here.

    Raises:
        PlanError: another tenant has the subdomain.
    """
    if STEP in journal.finished_steps(connection, namespace):
        return
    table = namespace.table("tenants")
    with connection.transaction():
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
        record_transaction(connection, namespace)
        with owner_search_path(connection):
            created = connection.execute(insert, (tenant.id, tenant.name, tenant.subdomain)).fetchone()
        detail = {"id": str(tenant.id), "created": created is not None}
        journal.finish_step(connection, namespace, run, STEP, detail)
