"""What a command imports before it knows its source."""

from __future__ import annotations

import subprocess
import sys


def test_commands_do_not_import_the_driver() -> None:
    """A dump needs no client of MongoDB, whose import takes 150 ms."""
    code = "import sys, migrator.cli; print([name for name in sys.modules if name.split('.')[0] == 'pymongo'])"
    found = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert found.stdout.strip() == "[]"


def test_the_script_that_every_worker_imports_again_imports_no_command() -> None:
    """The start of worker processes would take another second of CPU time."""
    code = "import sys, migrator.__main__; print([name for name in sys.modules if name.startswith('migrator.')])"
    found = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert found.stdout.strip() == "['migrator.__main__']"
