"""The migration of the database iotagent: one module for each collection."""

from __future__ import annotations

from mappings import commands, devices, groups

# References lead from later to earlier ones.
MAPPINGS = (
    commands.mapping,
    groups.mapping,
    devices.mapping,
)
