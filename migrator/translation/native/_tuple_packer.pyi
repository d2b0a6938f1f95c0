from collections.abc import Sequence
from typing import Any

from migrator.translation.tuple_layout import PartType

class TuplePacker:
    def __init__(self, parts: Sequence[tuple[PartType, bytes]], *, shift: int) -> None: ...
    def __call__(self, *values: Any) -> bytes: ...

PART_TYPES: dict[str, int]
