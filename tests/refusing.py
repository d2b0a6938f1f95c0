"""A PostgreSQL server for tests that lets nobody in."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress


@contextmanager
def refusing_server() -> Iterator[int]:
    """Speaks just enough of PostgreSQL's protocol to refuse every password."""
    error = b'SFATAL\0C28P01\0Mpassword authentication failed for user "app"\0\0'

    def refuse(server: socket.socket) -> None:
        while True:
            try:
                connection, _ = server.accept()
            except OSError:
                return
            with connection, suppress(OSError):  # a probe hangs up without a word
                connection.recv(4096)
                connection.sendall(b"R" + struct.pack(">II", 8, 3))
                connection.recv(4096)
                connection.sendall(b"E" + struct.pack(">I", 4 + len(error)) + error)

    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=refuse, args=(server,), daemon=True).start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)
