"""libpq's environment variables: none of them is configuration of migrate.

`target.url` names the whole target. A variable that is set for other programs (PGHOSTADDR, PGSERVICE, PGOPTIONS …) must
not lead a connection elsewhere, neither here nor in worker processes and psql, which inherit the environment.
"""

from __future__ import annotations

import os
from collections.abc import MutableMapping

from psycopg import pq

# Read by libpq outside its table of options.
_FURTHER = frozenset({"PGSERVICE", "PGSERVICEFILE", "PGSYSCONFDIR", "PGTZ", "PGDATESTYLE", "PGGEQO", "PGLOCALEDIR"})
# Where secrets and certificates lie. They are used only for what a URL leaves out, and never change the address.
KEPT = frozenset({"PGPASSFILE", "PGSSLCERT", "PGSSLKEY", "PGSSLROOTCERT", "PGSSLCRL", "PGSSLCRLDIR"})


def libpq_variables() -> frozenset[str]:
    """Returns the names of the environment variables that libpq reads, except those in `KEPT`."""
    options = {option.envvar.decode() for option in pq.Conninfo.get_defaults() if option.envvar}
    return frozenset((options | _FURTHER) - KEPT)


def remove_libpq_variables(environment: MutableMapping[str, str] = os.environ) -> dict[str, str]:
    """Removes the variables from an environment, by default that of this process. Returns what was removed."""
    return {name: environment.pop(name) for name in sorted(libpq_variables()) if name in environment}
