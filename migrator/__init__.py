"""The engine of `migrate`: knows MongoDB, PostgreSQL and mappings, nothing of a concrete migration."""

__version__ = "0.1.0"
