from collections.abc import Sequence
from typing import Any

from migrator.translation.tuple_layout import Slot

class Packer:
    def __init__(self, pieces: Sequence[tuple[Slot, bytes]], *, shift: int) -> None: ...
    def __call__(self, *values: Any) -> bytes: ...
