"""Fingerprints of code: what counts, and what does not."""

from __future__ import annotations

import sys
from hashlib import sha256
from pathlib import Path

import pytest

from migrator.documents.digest_cache import DigestCache
from migrator.documents.fingerprint import hash_code, hash_parts, hash_text
from migrator.mapping.loader import load_definition

CODE = """
from decimal import Decimal
from app.shapes import area, round_up as up

def price(value):
    return up(area(value) * Decimal(2))
"""
SAME = """# A comment.
\"\"\"A docstring.\"\"\"
from decimal import Decimal
from .moved.elsewhere import round_up as up
from app.other import area

def price(value):
    \"\"\"Return the price.\"\"\"
    return up(area(value) * Decimal(2))  # doubled
"""


def fingerprint(folder: Path, files: dict[str, str]) -> str:
    for name, text in files.items():
        (folder / name).parent.mkdir(exist_ok=True, parents=True)
        (folder / name).write_text(text)
    return hash_code((folder / name for name in files), frozenset({"app"}))


def test_moved_and_commented_code_has_the_same_fingerprint(tmp_path: Path) -> None:
    """Moving files, comments, docstrings and the modules that names are imported from do not count."""
    before = fingerprint(tmp_path / "1", {"a.py": CODE, "b.py": "x = 1"})
    assert fingerprint(tmp_path / "2", {"z/b.py": SAME, "a.py": "x  =  1"}) == before


@pytest.mark.parametrize(
    ("old", "new"),
    [("Decimal(2)", "Decimal(3)"), ("area(value)", "area(value, 0)"), ("import area,", "import volume as area,"),
     ("from decimal", "from decimals"), ("def price", "async def price")],
)  # fmt: skip
def test_changed_code_has_another_fingerprint(old: str, new: str, tmp_path: Path) -> None:
    """A changed constant, call, imported name or definition counts."""
    assert old in CODE
    before = fingerprint(tmp_path / "1", {"a.py": CODE})
    assert fingerprint(tmp_path / "2", {"a.py": CODE.replace(old, new)}) != before


def test_digests_are_kept_by_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file is described once, whatever its name; a changed file, a damaged cache and another version are noticed."""
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    function, described = tmp_path / "function.py", list[bytes]()
    function.write_text("1")

    def digest(source: bytes) -> bytes:
        described.append(source)
        return sha256(source).digest()

    def digests() -> list[bytes]:
        described.clear()
        return DigestCache(str(function)).digests(sorted(tmp_path.glob("*.txt")), digest)

    texts = [b"a", b"b", b"a"]
    for number, text in enumerate(texts):
        (tmp_path / f"{number}.txt").write_bytes(text)
    expected = [sha256(text).digest() for text in texts]
    (tmp_path / "__pycache__").mkdir()
    assert (digests(), described) == (expected, [b"a", b"b"])
    assert (digests(), described) == (expected, [])
    (tmp_path / "2.txt").write_bytes(b"c")
    assert (digests(), described) == ([*expected[:2], sha256(b"c").digest()], [b"c"])
    (kept,) = (tmp_path / "__pycache__").iterdir()
    for damage in (b"", b"[1]", b'{"a": "b"}', b'{"a": 1}', b"\xff"):
        kept.write_bytes(damage)
        assert (len(digests()), len(described)) == (3, 3), damage
    function.write_text("2")
    assert (len(digests()), len(described)) == (3, 3)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    kept.unlink()
    assert (len(digests()), len(described)) == (3, 3)
    assert not kept.exists()


def test_digests_are_kept_with_the_files_of_a_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those with other options are others."""
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    project = tmp_path / "project"
    (project / "__pycache__").mkdir(parents=True)
    for name in ("function.py", "project/a.py"):
        (tmp_path / name).write_text("1")
    calls = []

    def digest(source: bytes) -> bytes:
        calls.append(source)
        return sha256(source).digest()

    for options in (["a"], ["a"], ["b"], ["a"]):
        cache = DigestCache(str(tmp_path / "function.py"), place=str(project / "a.py"), options=options)
        assert cache.digests([project / "a.py"], digest) == [sha256(b"1").digest()]
    assert len(calls) == 3
    assert len(list((project / "__pycache__").iterdir())) == 1


def test_the_engine_counts_as_other_files(tmp_path: Path) -> None:
    """Whether digests are kept makes no difference."""
    (tmp_path / "a.py").write_text(CODE)
    names = frozenset({"migrator"})
    assert hash_code([], names, engine=[tmp_path / "a.py"]) == hash_code([tmp_path / "a.py"], names)


def test_parts_are_hashed_as_one() -> None:
    """The borders between parts do not count."""
    assert hash_parts([b"ab", b"c"]) == hash_parts([b"abc"]) == hash_text("abc")


def test_fingerprint_of_a_definition_is_stable() -> None:
    """Loading the same packages twice gives the same fingerprint."""
    assert load_definition("mappings", "schema").fingerprint == load_definition("mappings", "schema").fingerprint
