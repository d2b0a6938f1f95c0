"""Connects to MongoDB and explains its errors: cause and remedy, without secrets. Not here: reading documents."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator, Sequence
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
# Interrupted, stepping down, not primary, cursor lost or killed, shutting down, network.
_TRANSIENT: Final = frozenset({
    6, 7, 43, 50, 63, 89, 91, 133, 150, 175, 189, 234, 237, 262, 317, 358, 9001, 10107, 11600, 11602,
    13388, 13435, 13436,
})  # fmt: skip
_UNKNOWN_HOST: Final = re.compile(
    r"Name or service not known|nodename nor servname|getaddrinfo|DNS|resolution lifetime"
)
_CHECK_HOST: Final = "Check the host name in source.url."
LISTENERS: Final[list[Any]] = []  # of pymongo's events; tests use it to record commands
_DEFAULTS: Final = {"serverSelectionTimeoutMS": 10_000, "connectTimeoutMS": 10_000, "socketTimeoutMS": 120_000}


def connect(url: str, listeners: Sequence[Any] = ()) -> MongoClient[dict[str, Any]]:
    """Return a client, not yet connected. Options in the URL take precedence over the defaults.

    `listeners` receive pymongo's events of this client. Raises: `UsageError`.
    """
    given = {name.lower() for name in re.findall(r"[?&]([^=&]+)=", url)}
    options: dict[str, Any] = {name: value for name, value in _DEFAULTS.items() if name.lower() not in given}
    if "readconcernlevel" not in given:
        options["readConcernLevel"] = "majority"  # read no data that an election can roll back
    with explain(url), _translate_url_errors(), warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)  # pymongo warns about unknown options and ignores them
        options["datetime_conversion"] = CODEC_OPTIONS.datetime_conversion
        return MongoClient(
            url, appname="migrate", document_class=dict, event_listeners=[*LISTENERS, *listeners], **options
        )


@contextmanager
def _translate_url_errors() -> Iterator[None]:
    """pymongo raises general exceptions for some errors in a URL."""
    try:
        yield
    except OSError as error:
        raise UsageError(
            f"cannot use a file named in source.url: {error.strerror or error}",
            "Check tlsCAFile and tlsCertificateKeyFile: they must exist, be readable and contain PEM.",
        ) from error
    except (ValueError, TypeError, UserWarning) as error:
        raise InvalidURI(str(error)) from error


def url_database(url: str) -> str | None:
    """Return the database in the URL's path."""
    found = re.match(r"[^:]+://[^/]*/([^?]+)", url)
    return found[1] if found else None


def label_of(url: str) -> str:
    """Return scheme and hosts, without user, password and options."""
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{rest.split('/')[0].split('?')[0].rpartition('@')[2]}"


def is_transient(error: BaseException) -> bool:
    """Return whether a retry can succeed."""
    if isinstance(error, OperationFailure) and not isinstance(error, ExecutionTimeout):
        return error.code in _TRANSIENT
    return isinstance(error, AutoReconnect | NetworkTimeout | ExecutionTimeout)


def is_transient_source_error(error: BaseException) -> bool:
    """Return whether an error of this package was raised for an error of the driver that a retry can repair."""
    return getattr(error, "transient", False) or (error.__context__ is not None and is_transient(error.__context__))


@contextmanager
def explain(url: str) -> Iterator[None]:
    """Translate pymongo's errors to `SourceError` and `UsageError` in the block."""
    try:
        yield
    except (InvalidURI, ConfigurationError) as error:
        if _UNKNOWN_HOST.search(str(error)):  # of mongodb+srv://
            raise SourceError(f"{label_of(url)}: unknown host ({_mask(url, error)})", _CHECK_HOST) from None
        raise UsageError(
            f"source.url is not a valid MongoDB connection string: {_mask(url, error)}",
            "Use mongodb://USER:PASSWORD@HOST:PORT/DATABASE, with special characters as %XX.",
        ) from None
    except (PyMongoError, BSONError) as error:
        cause, remedy = _cause(error)
        raise SourceError(f"{label_of(url)}: {cause} ({_mask(url, error)})", remedy) from None


def _cause(error: Exception) -> tuple[str, str]:
    if isinstance(error, OperationFailure) and error.code in _BAD_LOGIN:
        return (
            "authentication failed",
            "Check user, password and authSource in source.url; write special characters as %XX.",
        )
    if isinstance(error, OperationFailure) and error.code in CANNOT_READ:
        return "insufficient privileges", "Grant the role `read` on the database, and name the database in source.url."
    if isinstance(error, OperationFailure):
        return "the server returned an error", "Fix the cause; `migrate` requires only the role `read`."
    text = str(error)
    if "SSL" in text or "certificate" in text or "TLS" in text:
        return "TLS connection failed", "Check tls, tlsCAFile and the server's certificate in source.url."
    if _UNKNOWN_HOST.search(text):
        return "unknown host", _CHECK_HOST
    if isinstance(error, ServerSelectionTimeoutError | AutoReconnect):
        return "no response from the server", "Check that MongoDB is running, and the host, the port and the firewall."
    return "reading failed", "Run the same command again to resume."


def _mask(url: str, error: Exception) -> str:
    message, _, _ = str(error).partition(", Timeout: ")  # the rest is pymongo's description of the topology
    text = Secrets(url_secrets(url)).mask(" ".join(message.split()))
    return text if len(text) < 300 else text[:300] + "…"
