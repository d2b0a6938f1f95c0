"""The one tenant that everything goes to, and the settings that rules may ask for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from uuid import UUID

import psycopg
from psycopg import sql

from migrator.config.models import Config, TenantConfig
from migrator.errors import PlanError
from migrator.state import journal
from migrator.state.own_transactions import record_transaction
from migrator.state.records import Namespace

Connection = psycopg.Connection[Any]
STEP = "tenant"


@dataclass(frozen=True, slots=True)
class Options:
    """`Context.options`: the configuration, the tenant, and who adopts what has no owner (a plain id, or None)."""

    config: Config
    tenant: UUID
    adopter: bytes | None = None


def ensure_tenant(connection: Connection, namespace: Namespace, tenant: TenantConfig, run: int) -> None:
    """Makes the tenant's row where it is missing, and remembers whether it did. Raises `PlanError`."""
    if STEP in journal.finished_steps(connection, namespace):
        return
    table = namespace.table("tenants")
    with connection.transaction():
        taken = sql.SQL("SELECT id, name FROM {} WHERE subdomain = %s AND id <> %s").format(table)
        other = connection.execute(taken, (tenant.subdomain, tenant.id)).fetchone()
        if other is not None:
            raise PlanError(
                f"the target's tenant {other[1]!r} ({other[0]}) already has the subdomain {tenant.subdomain!r}",
                hint="Give [tenant] another subdomain, or the id of that tenant.",
            )
        insert = sql.SQL(
            "INSERT INTO {} (id, name, subdomain) VALUES (%s, %s, %s) ON CONFLICT (id) DO NOTHING RETURNING id"
        ).format(table)
        record_transaction(connection, namespace)
        created = connection.execute(insert, (tenant.id, tenant.name, tenant.subdomain)).fetchone()
        detail = {"id": str(tenant.id), "created": created is not None}
        journal.finish_step(connection, namespace, run, STEP, detail)
