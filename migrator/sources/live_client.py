"""Connecting to MongoDB, and what its errors mean: cause, remedy, never a secret. No documents here."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from bson.errors import BSONError
from pymongo import MongoClient
from pymongo.errors import (
    AutoReconnect,
    ConfigurationError,
    ExecutionTimeout,
    InvalidURI,
    NetworkTimeout,
    OperationFailure,
    PyMongoError,
    ServerSelectionTimeoutError,
)

from migrator.documents.codec import CODEC_OPTIONS
from migrator.errors import SourceError, UsageError
from migrator.masking import Secrets, url_secrets

CANNOT_READ: Final = frozenset({13})  # Unauthorized
_BAD_LOGIN: Final = frozenset({18, 8000})  # AuthenticationFailed, Atlas' own
# Interrupted, stepping down, not primary, cursor lost or killed, shutting down, network: all of them pass.
_PASSING: Final = frozenset({6, 7, 43, 50, 63, 89, 91, 133, 150, 175, 189, 234, 237, 262, 317, 358, 9001, 10107, 11600,
                             11602, 13388, 13435, 13436})  # fmt: skip
_UNKNOWN_HOST: Final = re.compile(
    r"Name or service not known|nodename nor servname|getaddrinfo|DNS|resolution lifetime"
)
_CHECK_HOST: Final = "Check the host's name in source.url."
LISTENERS: Final[list[Any]] = []  # of pymongo's events; a test may want to know what is asked
_DEFAULTS: Final = {"serverSelectionTimeoutMS": 10_000, "connectTimeoutMS": 10_000, "socketTimeoutMS": 120_000}


def connect(url: str) -> MongoClient[dict[str, Any]]:
    """A client; what the URL says wins over our defaults. Nothing is contacted yet. Errors: `UsageError`."""
    given = {name.lower() for name in re.findall(r"[?&]([^=&]+)=", url)}
    options: dict[str, Any] = {name: value for name, value in _DEFAULTS.items() if name.lower() not in given}
    if "readconcernlevel" not in given:
        options["readConcernLevel"] = "majority"  # nothing that an election could take back
    with explain(url), _as_invalid(), warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)  # pymongo passes over options that it does not know
        options["datetime_conversion"] = CODEC_OPTIONS.datetime_conversion
        return MongoClient(url, appname="migrate", document_class=dict, event_listeners=LISTENERS, **options)


@contextmanager
def _as_invalid() -> Iterator[None]:
    """pymongo has no error of its own for some of what can be wrong with a URL."""
    try:
        yield
    except OSError as error:
        raise UsageError(
            f"a file that source.url names cannot be used: {error.strerror or error}",
            "Check tlsCAFile and tlsCertificateKeyFile: they must exist, be readable, and hold PEM.",
        ) from error
    except (ValueError, TypeError, UserWarning) as error:
        raise InvalidURI(str(error)) from error


def url_database(url: str) -> str | None:
    """The database in the URL's path."""
    found = re.match(r"[^:]+://[^/]*/([^?]+)", url)
    return found[1] if found else None


def label_of(url: str) -> str:
    """Scheme and hosts, without user, password and options."""
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{rest.split('/')[0].split('?')[0].rpartition('@')[2]}"


def is_transient(error: BaseException) -> bool:
    """Whether the same may succeed in a moment."""
    if isinstance(error, OperationFailure) and not isinstance(error, ExecutionTimeout):
        return error.code in _PASSING
    return isinstance(error, AutoReconnect | NetworkTimeout | ExecutionTimeout)


@contextmanager
def explain(url: str) -> Iterator[None]:
    """pymongo's errors become ours within the block."""
    try:
        yield
    except (InvalidURI, ConfigurationError) as error:
        if _UNKNOWN_HOST.search(str(error)):  # of mongodb+srv://
            raise SourceError(f"{label_of(url)}: the host is unknown ({_mask(url, error)})", _CHECK_HOST) from None
        raise UsageError(
            f"source.url is no connection string for MongoDB: {_mask(url, error)}",
            "Write it as mongodb://USER:PASSWORD@HOST:PORT/DATABASE, special characters as %XX.",
        ) from None
    except (PyMongoError, BSONError) as error:
        cause, remedy = _cause(error)
        raise SourceError(f"{label_of(url)}: {cause} ({_mask(url, error)})", remedy) from None


def _cause(error: Exception) -> tuple[str, str]:
    if isinstance(error, OperationFailure) and error.code in _BAD_LOGIN:
        return "user or password is wrong", "Check both in source.url, and authSource; write special characters as %XX."
    if isinstance(error, OperationFailure) and error.code in CANNOT_READ:
        return (
            "this user lacks a right",
            "Grant the role `read` on the database, and name it in source.url.",
        )
    if isinstance(error, OperationFailure):
        return "the server refuses", "See what it says; `migrate` needs no more than the role `read`."
    text = str(error)
    if "SSL" in text or "certificate" in text or "TLS" in text:
        return "TLS could not be established", "Check tls, tlsCAFile and the server's certificate in source.url."
    if _UNKNOWN_HOST.search(text):
        return "the host is unknown", _CHECK_HOST
    if isinstance(error, ServerSelectionTimeoutError | AutoReconnect):
        return "no server answers", "Is MongoDB running there, and are host, port and firewall right?"
    return "reading failed", "Run the same command again: it goes on where it stopped."


def _mask(url: str, error: Exception) -> str:
    said, _, _ = str(error).partition(", Timeout: ")  # what follows is pymongo's view of the topology
    text = Secrets(url_secrets(url)).mask(" ".join(said.split()))
    return text if len(text) < 300 else text[:300] + "…"
