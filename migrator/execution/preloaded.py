"""For the server process that forks workers, which imports this last: the packages of the project.

A package that cannot be imported ends no process here: the command and each worker import it, too, and report it.
"""

from __future__ import annotations

import json
import os
from contextlib import suppress

from migrator.errors import MigrateError
from migrator.execution.fork_server import PACKAGES
from migrator.mapping.project import ProjectPackages, import_packages

if PACKAGES in os.environ:
    with suppress(MigrateError):
        import_packages(ProjectPackages(*json.loads(os.environ.pop(PACKAGES))))
