"""Servers that cannot be used: what a refusal, a silence or a wrong URL says. The server is pretended: canned bytes."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from migrator.errors import TargetError, UsageError
from migrator.targets import open_target


def failure(url: str) -> TargetError:
    with pytest.raises(TargetError) as caught:
        open_target(url).connect()
    assert caught.value.hint
    assert caught.value.exit_code == 7
    return caught.value


def test_refused() -> None:
    """A port nobody listens on."""
    error = failure("postgresql://app:s3cr3t-word@127.0.0.1:1/db")
    assert "connection refused" in error.message
    assert "postgresql://app@127.0.0.1:1/db" in error.message
    assert "s3cr3t" not in error.message


def test_unknown_host() -> None:
    """A host without an address."""
    assert "unknown host" in failure("postgresql://app@no-such-host.invalid/db").message


@pytest.mark.parametrize(
    ("state", "reply", "expected"),
    [
        ("28000", "kein pg_hba.conf-Eintrag für Host »10.0.0.1«", "does not accept this user from this host"),
        ("28P01", "Passwort-Authentifizierung für Benutzer »app« fehlgeschlagen", "authentication failed"),
        ("3D000", "Datenbank »db« existiert nicht", "the database does not exist"),
        ("42501", "keine Berechtigung für Datenbank »db«", "may not connect"),
        ("53300", "tut mir leid, schon zu viele Verbindungen", "no free connection"),
        ("57P03", "das Datenbanksystem startet", "starting up or shutting down"),
        ("XX000", "something never heard of", "something never heard of"),
    ],
)
def test_what_a_server_says(state: str, reply: str, expected: str) -> None:
    """The SQLSTATE decides, in whatever language the server writes; its text is shown."""
    with pretend_server(error_packet(reply, state)) as port:
        error = failure(f"postgresql://app:s3cr3t-word@127.0.0.1:{port}/db?sslmode=disable")
    assert expected in error.message
    assert reply in error.message


def test_too_old_a_server() -> None:
    """A server before version 14 is refused with both versions in the message."""
    packets = (
        packet(b"R", struct.pack("!I", 0)) + parameter("server_version", "13.4") + parameter("client_encoding", "UTF8")
    )
    with pretend_server(packets + packet(b"Z", b"I")) as port:
        error = failure(f"postgresql://app@127.0.0.1:{port}/db?sslmode=disable")
    assert "runs PostgreSQL 13; the oldest supported version is 14" in error.message


def test_no_tls_at_the_server() -> None:
    """A URL that insists on TLS, and a server that has none."""
    with pretend_server(b"N") as port:
        assert "does not support TLS" in failure(f"postgresql://app@127.0.0.1:{port}/db?sslmode=require").message


def test_a_silent_server() -> None:
    """A server that accepts and never answers ends in a timeout."""
    with pretend_server(b"") as port:
        error = failure(f"postgresql://app@127.0.0.1:{port}/db?sslmode=disable&connect_timeout=2")
    assert "connection timed out" in error.message


def test_a_url_that_is_none() -> None:
    """What libpq cannot read is a matter of configuration, and its password stays hidden."""
    with pytest.raises(UsageError, match="not a valid connection string") as caught:
        open_target("postgresql://app:s3cr3t%zz@host/db")
    assert "s3cr3t" not in caught.value.message
    with pytest.raises(UsageError, match="unknown target"):
        open_target("mysql://app@host/db")


def packet(kind: bytes, payload: bytes) -> bytes:
    return kind + struct.pack("!I", len(payload) + 4) + payload


def error_packet(message: str, state: str) -> bytes:
    fields = {b"S": b"FATAL", b"V": b"FATAL", b"C": state.encode(), b"M": message.encode()}
    return packet(b"E", b"".join(key + value + b"\0" for key, value in fields.items()) + b"\0")


def parameter(name: str, value: str) -> bytes:
    return packet(b"S", f"{name}\0{value}\0".encode())


@contextmanager
def pretend_server(reply: bytes) -> Iterator[int]:
    """A port that answers the first message of every connection with these bytes; empty: with silence."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(20)
        threading.Thread(target=answer, args=(listener, reply), daemon=True).start()
        yield listener.getsockname()[1]


def answer(listener: socket.socket, reply: bytes) -> None:
    kept: list[socket.socket] = []
    while True:
        try:
            connection, _ = listener.accept()
        except OSError:  # the test is over
            break
        kept.append(connection)
        connection.recv(4096)
        connection.sendall(reply)
        if reply and not reply.startswith(b"R"):
            connection.close()
