"""Provenance: which rows of the target the migration wrote, and a backup of other rows before a forced revert."""
