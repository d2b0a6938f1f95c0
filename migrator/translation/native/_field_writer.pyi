from collections.abc import Sequence

from migrator.translation.field_parts import FieldPart

class FieldWriter:
    def __init__(self, parts: Sequence[FieldPart], *, shift: int) -> None: ...
    def __call__(self, fields: list[bytes | None], computed: bytes, moved: bytes = b"") -> bytes: ...

FORMS: dict[str, int]
