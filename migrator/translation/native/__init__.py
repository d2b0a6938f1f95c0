"""The compiled twins of `cutting.Cutter` and `packing.Packer`; both None where there was no C compiler."""

from __future__ import annotations

__all__ = ["Cutter", "Packer"]

try:
    from migrator.translation.native._cutter import Cutter
    from migrator.translation.native._packer import Packer
except ImportError:  # all is the same, but slower
    Cutter = Packer = None  # type: ignore[assignment,misc]
