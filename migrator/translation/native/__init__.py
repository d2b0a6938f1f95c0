"""The compiled parts of the translation; without a C compiler, None or the version in Python.

`Projector`, `TuplePacker` and `RowWriter` do what their versions in Python do, `ElementCutter` what the rules of
elements do, `FieldWriter` what rules restore from columns of usual kinds.
"""

from __future__ import annotations

from migrator import ids

__all__ = ["ElementCutter", "FieldWriter", "Projector", "RowWriter", "TuplePacker", "objectid_to_uuid"]

try:
    from migrator.translation.native._projector import Projector, objectid_to_uuid
    from migrator.translation.native._row_writer import RowWriter
    from migrator.translation.native._tuple_packer import TuplePacker
except ImportError:  # not compiled: Python does the same, but slower
    Projector = RowWriter = TuplePacker = None  # type: ignore[assignment,misc]
    objectid_to_uuid = ids.objectid_to_uuid
try:
    from migrator.translation.native._cutter import ElementCutter
except ImportError:
    ElementCutter = None  # type: ignore[assignment,misc]
try:
    from migrator.translation.native._field_writer import FieldWriter
except ImportError:
    FieldWriter = None  # type: ignore[assignment,misc]
