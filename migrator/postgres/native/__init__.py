"""Compiled versions of functions for binary COPY. Without a C compiler, the version in Python."""

from __future__ import annotations

__all__ = ["split_row", "write_row"]

try:
    from migrator.postgres.native._copy_rows import split_row, write_row
except ImportError:
    from migrator.postgres.copy_format import split_row, write_row
