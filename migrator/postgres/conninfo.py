"""Connection strings: parse them, and name a database in output.

Not here: failed attempts to connect (`connection_failure.py`), errors on an open connection (`errors.py`).
"""

from __future__ import annotations

import psycopg
from psycopg.conninfo import conninfo_to_dict

from migrator.errors import UsageError
from migrator.masking import Secrets


def parse_url(url: str, secrets: Secrets, key: str = "target.url") -> dict[str, str]:
    """Return the libpq parameters in a URL. `key` is its name in migrate.toml.

    Raises:
        UsageError: the URL is not a valid connection string.
    """
    try:
        return {key: str(value) for key, value in conninfo_to_dict(url).items() if value is not None}
    except psycopg.ProgrammingError as error:
        # The text that libpq quotes can be part of a password with unescaped special characters.
        reason = secrets.mask(str(error).partition('"')[0].strip(" :"))
        hint = "Write it as postgresql://USER:PASSWORD@HOST:PORT/DATABASE?sslmode=require, special characters as %XX."
        raise UsageError(f"{key} is not a valid connection string: {reason}", hint) from None


def label_of(parts: dict[str, str]) -> str:
    """Return the name of a database for output, without secrets."""
    user = f"{parts['user']}@" if "user" in parts else ""
    port = f":{parts['port']}" if "port" in parts else ""
    return f"postgresql://{user}{parts.get('host', 'localhost')}{port}/{parts.get('dbname', parts.get('user', ''))}"
