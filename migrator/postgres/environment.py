"""Environment variables of libpq: none of them configures migrate.

`target.url` defines the target completely. A variable for other programs (PGHOSTADDR, PGSERVICE, PGOPTIONS …) must not
redirect a connection, neither in this process nor in worker processes and psql, which inherit the environment.
"""

from __future__ import annotations

import os
from collections.abc import MutableMapping
from functools import cache

from psycopg import pq

# libpq reads these variables, but they are not in its table of options.
_FURTHER = frozenset({"PGSERVICE", "PGSERVICEFILE", "PGSYSCONFDIR", "PGTZ", "PGDATESTYLE", "PGGEQO", "PGLOCALEDIR"})
# Files with secrets and certificates. They apply only to what the URL omits, and never change the address.
KEPT = frozenset({"PGPASSFILE", "PGSSLCERT", "PGSSLKEY", "PGSSLROOTCERT", "PGSSLCRL", "PGSSLCRLDIR"})


@cache
def libpq_variables() -> frozenset[str]:
    """Return the names of the environment variables that libpq reads, except those in `KEPT`."""
    options = {option.envvar.decode() for option in pq.Conninfo.get_defaults() if option.envvar}
    return frozenset((options | _FURTHER) - KEPT)


def remove_libpq_variables(environment: MutableMapping[str, str] = os.environ) -> dict[str, str]:
    """Remove the variables from an environment, by default that of this process; return the removed variables."""
    return {name: environment.pop(name) for name in sorted(libpq_variables()) if name in environment}
