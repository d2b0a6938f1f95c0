from collections.abc import Callable, Sequence
from typing import Any

from migrator.translation.field_parts import FieldPart, KeptFields

class FieldWriter:
    def __init__(
        self,
        parts: Sequence[FieldPart],
        kept: Sequence[KeptFields] = (),
        *,
        shift: int,
        encode: Callable[[dict[str, Any]], bytes],
    ) -> None: ...
    def __call__(self, fields: list[bytes | None], computed: dict[str, Any], last: list[str] = []) -> bytes: ...

FORMS: dict[str, int]
