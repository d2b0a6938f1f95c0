"""A TCP proxy that can stop forwarding, as a network does that stalls: connections stay open, and nothing comes."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

Address = tuple[str, int] | str  # host and port, or the path of a socket


class Proxy:
    """Listens on a port of this machine. `delay`: seconds that every piece of an answer takes longer."""

    def __init__(self, upstream: Address) -> None:
        self._upstream = upstream
        self._flows = _open_gate()
        self.delay = 0.0
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._server.getsockname()[1])
        self._sockets: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def freeze(self) -> None:
        """Forwards no more on the connections there are, for good; new ones work. So does a firewall that forgets."""
        self._flows.clear()
        self._flows = _open_gate()

    def stall(self) -> None:
        """From now on nothing is forwarded, and nothing said about it. New connections are accepted all the same."""
        self._flows.clear()

    def resume(self) -> None:
        self._flows.set()

    def cut(self) -> None:
        """Ends all connections there are."""
        for each in self._sockets:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()
        self._sockets.clear()

    def close(self) -> None:
        self._server.close()
        self.cut()
        self.resume()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._server.accept()
                try:
                    upstream = self._connect()
                except OSError:
                    client.close()
                    continue
                self._sockets += [client, upstream]
                for one, other, delayed in ((client, upstream, False), (upstream, client, True)):
                    arguments = (one, other, delayed, self._flows)
                    threading.Thread(target=self._forward, args=arguments, daemon=True).start()

    def _connect(self) -> socket.socket:
        if isinstance(self._upstream, str):
            upstream = socket.socket(socket.AF_UNIX)
            upstream.connect(self._upstream)
            return upstream
        return socket.create_connection(self._upstream, timeout=10)

    def _forward(self, one: socket.socket, other: socket.socket, delayed: bool, flows: threading.Event) -> None:
        one.settimeout(None)
        with suppress(OSError):
            while data := one.recv(1 << 16):
                if delayed and self.delay:
                    time.sleep(self.delay)
                flows.wait()
                other.sendall(data)
        for each in (one, other):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)


def _open_gate() -> threading.Event:
    gate = threading.Event()
    gate.set()
    return gate


@contextmanager
def proxy_to(upstream: Address) -> Iterator[Proxy]:
    proxy = Proxy(upstream)
    try:
        yield proxy
    finally:
        proxy.close()
