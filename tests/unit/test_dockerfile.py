"""The Dockerfile: hadolint finds nothing, and the image runs the command without root privileges."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DOCKERFILE = ROOT / "Dockerfile"


def test_hadolint_finds_nothing() -> None:
    """No warning, no error, no information."""
    linter = Path(sys.executable).with_name("hadolint")
    done = subprocess.run([linter, DOCKERFILE], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_the_last_stage_is_not_root() -> None:
    """Two stages; the last one has a numeric user and the command as entry point."""
    stages = re.split(r"^FROM ", DOCKERFILE.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
    assert len(stages) == 2
    user = re.search(r"^USER (\d+)$", stages[-1], flags=re.MULTILINE)
    assert user is not None
    assert int(user[1]) > 0
    assert 'ENTRYPOINT ["migrate"]' in stages[-1]


def test_the_build_context_has_everything_that_the_wheel_needs() -> None:
    """No file that MANIFEST.in names is excluded."""
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").split()
    for line in (ROOT / "MANIFEST.in").read_text(encoding="utf-8").splitlines():
        verb, *paths = line.split()
        if verb in ("graft", "include"):
            assert not [path for path in paths for each in ignored if Path(path).match(each)]
