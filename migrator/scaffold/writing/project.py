"""All files of a project: packages, configuration and review. Nothing is overwritten."""

from __future__ import annotations

import re
from pathlib import Path

from migrator.errors import UsageError
from migrator.masking import url_secrets
from migrator.scaffold.draft import Draft
from migrator.scaffold.writing.code import quote
from migrator.scaffold.writing.existing import write_existing_schema
from migrator.scaffold.writing.mappings import write_mappings
from migrator.scaffold.writing.review import write_review
from migrator.scaffold.writing.schema import write_schema

_PASSWORD = "${MONGO_PASSWORD}"
_CONFIGURATION = """\
# Drafted by `migrate scaffold`: see REVIEW.md. All keys: `migrate init FILE`.
#
#   migrate plan
#   migrate run
#   migrate verify --level roundtrip

[source]
url = {url}
{database}
[target]
url = {target}
"""


_DEFAULT_TARGET = '"embedded:.migrate/postgres" # your own: "postgresql://USER:${PGPASSWORD}@HOST/DATABASE"'


def render_project(
    draft: Draft, url: str, database: str | None, folder: Path, target: str | None = None
) -> dict[str, str]:
    """Return the files of a project in `folder`: path → text. Passwords in URLs are replaced by variables."""
    named = f"database = {quote(database)}\n" if database else ""
    sink = _DEFAULT_TARGET if target is None else quote(_portable_url(target, folder, "${PGPASSWORD}"))
    configuration = _CONFIGURATION.format(url=quote(_portable_url(url, folder)), database=named, target=sink)
    return {
        "migrate.toml": configuration,
        "REVIEW.md": write_review(draft),
        **(write_existing_schema(draft) if draft.existing else write_schema(draft)),
        **write_mappings(draft),
    }


def _portable_url(url: str, folder: Path, variable: str = _PASSWORD) -> str:
    """Return the URL as migrate.toml needs it: the path of a dump absolute or below the folder, no secrets."""
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", url):
        for secret in url_secrets(url):
            url = url.replace(secret, variable)
        return url
    kind = "embedded:" if url.startswith("embedded:") else "dump:"
    path, base = Path(url.removeprefix(kind)).expanduser().resolve(), folder.resolve()
    text = path.relative_to(base) if path.is_relative_to(base) else path
    return f"{kind}{text}".replace("$", "$$")


def require_new(folder: Path) -> None:
    """Raises: `UsageError` if the folder has one of the files or packages already."""
    for name in ("migrate.toml", "REVIEW.md", "mappings", "schema"):
        if (folder / name).exists():
            raise UsageError(
                f"{folder / name} already exists",
                hint="Choose another folder: `migrate scaffold` overwrites nothing.",
            )


def write_project(files: dict[str, str], folder: Path) -> list[Path]:
    """Write the files into a folder, which is created; return their paths. Raises: `UsageError`."""
    require_new(folder)
    written = []
    for name, text in files.items():
        path = folder / name
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("x", encoding="utf-8") as file:
                file.write(text)
        except OSError as error:
            raise UsageError(f"cannot write {path}: {error.strerror}", hint="Choose another folder.") from error
        written.append(path)
    return written
