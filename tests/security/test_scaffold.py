"""Names in a source are data: none of them becomes code, or breaks the packages that `scaffold` writes."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from pathlib import Path

import bson
import pytest

from tests.driving import call

CALL = "open('planted', 'w')"
ESCAPES = [
    f'"""\nPLANTED = {CALL}\n"""', f"'''\n{CALL}\n'''", f'"); {CALL}; ("', f"\n{CALL}", f"\r\x0c{CALL}",
    f"\u2028{CALL}", "\\", '\\"', f"{{{CALL}}}", "class", "None", "metadata", "map_field", "text", "Table",
    "\U000e0001", "日本", "🙂", "a.b", "$where", "__class__", "",
]  # fmt: skip


@pytest.fixture
def hostile(tmp_path: Path) -> Path:
    """A dump in which collections, fields, indexes and keys of objects have these names."""
    folder = tmp_path / "dump"
    folder.mkdir()
    for number, name in enumerate(ESCAPES):
        documents = [
            {"_id": each, **{field: each for field in ESCAPES if field}, "in": {name: 1}} for each in range(30)
        ]
        documents += [{"_id": f"{each}-{name}", "list": [{name: 1, "a": 1}]} for each in range(30)]
        (folder / f"c{number}.bson").write_bytes(b"".join(map(bson.encode, documents)))
        indexes = [
            {"name": name, "key": {name: 1}, "expireAfterSeconds": 1},
            {"name": f"{name}2", "key": {"in": 1, name: -1}},
        ]
        metadata = {"collectionName": name or "empty", "type": "collection", "indexes": indexes}
        (folder / f"c{number}.metadata.json").write_text(json.dumps(metadata))
    return folder


def test_names_never_become_code(hostile: Path, tmp_path: Path) -> None:
    """The packages are imported without an effect, with every name as it is in the source."""
    project = tmp_path / "project"
    answer = call("scaffold", project, "--source", hostile)
    assert answer.code == 0, answer.told
    program = "import mappings, json; print(json.dumps([m.name for m in mappings.MAPPINGS]))"
    path = {"PYTHONPATH": str(Path(__file__).parents[2]), "PYTHONDONTWRITEBYTECODE": "1"}
    code = f"import sys; sys.path.insert(0, {str(project)!r}); {program}"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=project, env=path, capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert sorted(json.loads(done.stdout)) == sorted(name or "empty" for name in ESCAPES)
    assert not list(tmp_path.rglob("planted"))
    assert tomllib.loads((project / "migrate.toml").read_text())["source"]["url"] == f"dump:{hostile}"
