from typing import Any

class BsonArray:
    raw: bytes

def restore_parts(remainder: bytes, text: bytes | None, text_field: bytes, gap: int) -> Any: ...
def split_changes(residue: bytes) -> tuple[dict[str, int], dict[str, bytes], dict[str, int]] | None: ...
