"""The compiled versions of `projection.Projector` and `tuple_layout.TuplePacker`; None if there was no C compiler."""

from __future__ import annotations

__all__ = ["Projector", "TuplePacker"]

try:
    from migrator.translation.native._projector import Projector
    from migrator.translation.native._tuple_packer import TuplePacker
except ImportError:  # not compiled: the Python versions do the same, but slower
    Projector = TuplePacker = None  # type: ignore[assignment,misc]
