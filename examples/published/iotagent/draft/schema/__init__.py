"""The tables of the target: one module for each."""

from __future__ import annotations

from schema import commands, devices, groups
from schema.base import metadata

__all__ = ["commands", "devices", "groups", "metadata"]
