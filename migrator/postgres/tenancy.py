"""How the schema of a target declares its tenants.

`MetaData(info={"tenancy": Tenancy()})` declares that rows belong to tenants. A schema without it has no tenants: all
rows of its tables belong to the migration's application.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import MetaData, Table


@dataclass(frozen=True, slots=True, kw_only=True)
class Tenancy:
    """The table of the tenants, and how rows and sessions name their tenant.

    The columns `id`, `name` and `subdomain` of `table` get the values of section [tenant]. Every table with the column
    `column` holds rows of tenants. With `target.rls = "all"` each of them gets the policy `policy`: a session sees the
    rows of the tenant whose ID is the value of the variable `setting`.
    """

    table: str = "tenants"
    column: str = "tenant_id"
    setting: str = "app.current_tenant_id"
    policy: str = "tenant_isolation"

    @property
    def visible_rows(self) -> str:
        """The SQL condition of the policy.

        Without a tenant, a session sees no rows and gets no error: an unset variable is NULL, a reset variable is ''.
        """
        return f"{self.column} = nullif(current_setting('{self.setting}', true), '')::uuid"


def tenancy_of(metadata: MetaData) -> Tenancy | None:
    """Return the tenancy that a schema declares."""
    found: Tenancy | None = metadata.info.get("tenancy")
    return found


def tenant_column(table: Table) -> str | None:
    """Return the column with the tenant of each row; None: the rows of the table do not belong to tenants."""
    tenancy = tenancy_of(table.metadata)
    return tenancy.column if tenancy is not None and tenancy.column in table.c else None
