"""The socket that gateway and agent listen on."""

from __future__ import annotations

import socket


def listening_socket(host: str | None, port: int) -> socket.socket:
    """Return a socket that listens on `host`, or on all addresses, IPv4 and (where the kernel has it) IPv6."""
    if host is not None:
        return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    if socket.has_dualstack_ipv6():
        return socket.create_server(("", port), family=socket.AF_INET6, dualstack_ipv6=True)
    return socket.create_server(("", port))
