"""The tables of the target: one module for each."""

from __future__ import annotations

from schema import accounts, alerts, devices, groups, models, readings
from schema.base import metadata

__all__ = ["accounts", "alerts", "devices", "groups", "metadata", "models", "readings"]
