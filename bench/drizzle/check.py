"""Checks that drizzle-kit would change nothing in the schema that `migrate run` creates. Requires node and npm.

    .venv/bin/python bench/drizzle/check.py

Exit code 0 if drizzle-kit reports "No changes detected", and detects a change that is made on purpose.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import psycopg
from psycopg.conninfo import conninfo_to_dict

from migrator.postgres import ddl
from migrator.targets.ephemeral import ephemeral_target
from schema import metadata

HERE = Path(__file__).parent
NOTHING = "No changes detected"


def main() -> int:
    with tempfile.TemporaryDirectory() as folder, ephemeral_target() as target:
        for file in ("package.json", "schema.ts", "drizzle.config.ts"):
            shutil.copy(HERE / file, folder)
        subprocess.run(["npm", "install", "--no-audit", "--no-fund", "--silent"], cwd=folder, check=True)
        url = url_of(target.dsn)
        with psycopg.connect(target.dsn, autocommit=True) as connection:
            connection.execute(ddl.render(metadata, rls=True))
            unchanged = push(folder, url)
            connection.execute("DROP INDEX messages_parent_id_idx")
            changed = push(folder, url)
    print(unchanged)
    return 0 if NOTHING in unchanged and NOTHING not in changed else 1


def url_of(dsn: str) -> str:
    parts = conninfo_to_dict(dsn)
    return f"postgresql://{parts['user']}@localhost:{parts['port']}/{parts['dbname']}?host={parts['host']}"


def push(folder: str, url: str) -> str:
    command = ["npx", "drizzle-kit", "push", "--verbose"]
    environment = {**os.environ, "DATABASE_URL": url}
    done = subprocess.run(
        command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    return done.stdout + done.stderr


if __name__ == "__main__":
    sys.exit(main())
