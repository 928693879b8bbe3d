"""Listeners on loopback that tell what reached them."""

from __future__ import annotations

import socket
import threading


class Listeners:
    """A TCP and a UDP socket on one loopback port; what either hears is kept."""

    def __init__(self) -> None:
        self._tcp = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._tcp.getsockname()[1]
        self._udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._udp.bind(("127.0.0.1", self.port))
        self._heard: list[bytes] = []
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def _listen(self) -> None:
        while True:
            try:
                connection, _ = self._tcp.accept()
            except OSError:
                return
            with connection:
                connection.settimeout(10)
                self._heard.append(b"tcp " + connection.recv(1000))
                connection.sendall(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")

    def heard(self) -> list[bytes]:
        """Return what came since the last call, once calls of our own that came last were heard too."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=30) as last:
            last.sendall(b"last")
            last.recv(1000)
        found, self._heard = self._heard, []
        assert found.pop() == b"tcp last"
        self._udp.sendto(b"last", ("127.0.0.1", self.port))
        while (datagram := self._udp.recv(1000)) != b"last":
            found.append(b"udp " + datagram)
        return found

    def close(self) -> None:
        self._tcp.shutdown(socket.SHUT_RDWR)
        self._tcp.close()
        self._udp.close()
        self._thread.join(10)
