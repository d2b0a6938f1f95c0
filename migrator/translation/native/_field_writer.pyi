from collections.abc import Callable, Sequence
from typing import Any

from migrator.translation.field_parts import FieldPart

class FieldWriter:
    def __init__(
        self, parts: Sequence[FieldPart], *, shift: int, encode: Callable[[dict[str, Any]], bytes]
    ) -> None: ...
    def __call__(self, fields: list[bytes | None], computed: dict[str, Any], last: tuple[str, ...] = ()) -> bytes: ...

FORMS: dict[str, int]
