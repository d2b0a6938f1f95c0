"""The compiled version of `field_counts.FieldCounter`; None if there was no C compiler."""

from __future__ import annotations

__all__ = ["FieldCounter"]

try:
    from migrator.documents.native._field_counter import FieldCounter
except ImportError:  # not compiled: the Python version does the same, but slower
    FieldCounter = None  # type: ignore[assignment,misc]
