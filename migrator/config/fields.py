"""The types of keys in migrate.toml that several sections share: texts, URLs, names. Not here: sections."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import suppress
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field

DATABASE_URLS = ("postgresql://", "postgres://")
FOLDER_URLS = ("dump:", "embedded:", "csv:", "jsonl:", "files:")  # a path follows, relative to migrate.toml
_DOTTED_NAME = r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)*$"


def _one_of(*prefixes: str) -> Callable[[str], str]:
    """Returns a check that a URL starts with one of the prefixes, and that something follows."""

    def check(url: str) -> str:
        prefix = next((p for p in prefixes if url.startswith(p)), None)
        if prefix is None:
            raise ValueError(f"must start with {', '.join(prefixes[:-1])} or {prefixes[-1]}")
        if not url.removeprefix(prefix).strip():
            raise ValueError(f"nothing follows {prefix}")
        _check_address(url)
        return url

    return check


def _check_address(url: str) -> None:
    """Rejects a password with unescaped special characters: its end would be read, and printed, as host or port."""
    scheme, known, rest = url.partition("://")
    authority, _, path = rest.partition("/")
    user, _, hosts = authority.rpartition("@")
    if scheme.startswith("http"):  # an @ may occur in the path
        stray = "@" in "".join(re.split("[?#]", rest, maxsplit=1)[1:]) or not _is_host(authority)
    else:
        stray = "@" in re.split("[?#]", path)[0]
    if known and (stray or "@" in user or not all(map(_is_host, re.split("[?#]", hosts)[0].split(",")))):
        raise ValueError("invalid host or port; write special characters in a password as %XX")


def _is_host(host: str) -> bool:
    """Checks one host of a URL. An empty host is libpq's Unix socket."""
    with suppress(ValueError):
        _ = urlsplit(f"//{host}").port
        return True
    return False


Text = Annotated[str, Field(min_length=1)]
SourceUrl = Annotated[str, AfterValidator(_one_of("dump:", "mongodb://", "mongodb+srv://"))]
TargetUrl = Annotated[str, AfterValidator(_one_of("embedded:", *DATABASE_URLS))]
TableUrl = Annotated[str, AfterValidator(_one_of("csv:", *DATABASE_URLS))]
ChunksUrl = Annotated[str, AfterValidator(_one_of("jsonl:", "files:", *DATABASE_URLS))]
HttpUrl = Annotated[str, AfterValidator(_one_of("https://", "http://"))]
DottedName = Annotated[str, Field(pattern=_DOTTED_NAME)]
