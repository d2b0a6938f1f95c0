"""Definitions that all tables share: the metadata and the names of constraints."""

from __future__ import annotations

from sqlalchemy import MetaData

# Every constraint needs a name: `revert` and `verify` refer to it.
metadata = MetaData(
    naming_convention={
        "pk": "%(table_name)s_pkey",
        "uq": "%(table_name)s_%(column_0_N_name)s_key",
        "fk": "%(table_name)s_%(column_0_N_name)s_fkey",
    }
)
