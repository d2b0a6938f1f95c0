"""The migration of the database devices: one module for each collection."""

from __future__ import annotations

from mappings import accounts, alerts, devices, groups, models, readings

# References lead from later to earlier ones.
MAPPINGS = (
    accounts.mapping,
    models.mapping,
    devices.mapping,
    alerts.mapping,
    readings.mapping,
    groups.mapping,
)
