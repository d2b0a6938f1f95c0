"""`twins`: the compiled twins of `cutting.Cutter` and `packing.Packer`; None where there was no C compiler."""

from __future__ import annotations

__all__ = ["twins"]

try:
    from migrator.translation import _native as twins
except ImportError:  # all is the same, but slower
    twins = None  # type: ignore[assignment]
