"""The compiled parts of the translation; None if there was no C compiler.

`Projector` and `TuplePacker` do what their versions in Python do. `ElementCutter` does what the rules of elements do.
"""

from __future__ import annotations

__all__ = ["ElementCutter", "Projector", "TuplePacker"]

try:
    from migrator.translation.native._projector import Projector
    from migrator.translation.native._tuple_packer import TuplePacker
except ImportError:  # not compiled: Python does the same, but slower
    Projector = TuplePacker = None  # type: ignore[assignment,misc]
try:
    from migrator.translation.native._cutter import ElementCutter
except ImportError:
    ElementCutter = None  # type: ignore[assignment,misc]
