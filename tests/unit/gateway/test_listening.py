"""The default listens on IPv4 and IPv6, and on IPv4 alone where the kernel has no IPv6."""

from __future__ import annotations

import errno
import socket
from typing import Any

import pytest

from loraform_gateway.listening import listening_socket


def reaches(host: str, port: int) -> bool:
    try:
        socket.create_connection((host, port), timeout=10).close()
    except ConnectionRefusedError:
        return False
    return True


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="this kernel has no IPv6")
def test_both_families_reach_the_default(unused_tcp_port: int) -> None:
    with listening_socket(None, unused_tcp_port):
        assert reaches("127.0.0.1", unused_tcp_port)
        assert reaches("::1", unused_tcp_port)


def test_a_kernel_without_ipv6_listens_on_ipv4(unused_tcp_port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    class WithoutIPv6(socket.socket):
        """Stands for such a kernel's answer."""

        def __init__(self, family: int = -1, *args: Any, **more: Any) -> None:
            if family == socket.AF_INET6:
                raise OSError(errno.EAFNOSUPPORT, "Address family not supported by protocol")
            super().__init__(family, *args, **more)

    monkeypatch.setattr(socket, "socket", WithoutIPv6)
    with listening_socket(None, unused_tcp_port):
        assert reaches("127.0.0.1", unused_tcp_port)


@pytest.mark.parametrize(("host", "other"), [("127.0.0.1", "::1"), ("::1", "127.0.0.1")])
@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="this kernel has no IPv6")
def test_an_address_is_the_only_one(host: str, other: str, unused_tcp_port: int) -> None:
    with listening_socket(host, unused_tcp_port):
        assert reaches(host, unused_tcp_port)
        assert not reaches(other, unused_tcp_port)
