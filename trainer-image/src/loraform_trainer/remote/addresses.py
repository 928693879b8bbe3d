"""Which addresses a run may reach: all but link-local and metadata addresses.

`guard` is the wall: it sits at the socket, below every Python library, and sees the very address that is connected to.
`resolve` says the same earlier and in the user's words, and gives git, whose sockets are not Python's, the one address
to use.
"""

from __future__ import annotations

import functools
import ipaddress
import socket
import sys
from typing import Any
from urllib.parse import urlsplit

from loraform_trainer.runtime.errors import InvalidConfigError, TransientError

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

METADATA = frozenset(
    ipaddress.ip_address(text)
    for text in (
        "100.100.100.200",  # Alibaba Cloud
        "168.63.129.16",  # Azure
        "192.0.0.192",  # Oracle Cloud
        "fd00:ec2::254",  # AWS
        "fd20:ce::254",  # Google Cloud
    )
)
"""Metadata services outside of the link-local ranges (169.254.0.0/16 and fe80::/10)."""

NAT64 = ipaddress.ip_network("64:ff9b::/96")


class RefusedAddressError(InvalidConfigError):
    """A connection to a refused address. It is no OSError, so that no library takes it for a reason to try again."""


@functools.cache
def guard() -> None:
    """Refuse, from now on and in the whole process, connections to addresses that are not allowed."""
    sys.addaudithook(_refuse)


def _refuse(event: str, arguments: tuple[Any, ...]) -> None:
    if event != "socket.connect":
        return
    connection, target = arguments
    if connection.family not in (socket.AF_INET, socket.AF_INET6):
        return
    host = str(target[0])
    try:
        address = ipaddress.ip_address(host.split("%", 1)[0])
    except ValueError:  # the system would resolve it after us
        raise RefusedAddressError(f"a connection to the unresolved name {host!r} is refused") from None
    if not allowed(address):
        raise RefusedAddressError(f"{host} is a link-local or metadata address, which is refused")


def refusal(error: BaseException) -> RefusedAddressError | None:
    """Return the refused connection behind a library's error, if there is one."""
    seen: BaseException | None = error
    while seen is not None and not isinstance(seen, RefusedAddressError):
        seen = seen.__cause__ or seen.__context__
    return seen


def allowed(address: Address) -> bool:
    """Say whether a run may connect to `address`; IPv4 addresses inside IPv6 ones are looked at too."""
    embedded: Address | None = None
    if isinstance(address, ipaddress.IPv6Address):
        embedded = address.ipv4_mapped or address.sixtofour
        if address in NAT64:
            embedded = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    refused = address.is_link_local or address.is_multicast or address.is_unspecified or address in METADATA
    return not refused and (embedded is None or allowed(embedded))


def check_url(url: str, field: str, *, plain: bool = False) -> tuple[str, int]:
    """Return host and port of an https URL (`plain`: or an http one); raises InvalidConfigError naming `field`."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port or (80 if parts.scheme == "http" else 443)
    except ValueError as error:
        raise InvalidConfigError(f"{field}: {url} is not a URL: {error}") from error
    if parts.scheme not in (("https", "http") if plain else ("https",)) or not host:
        raise InvalidConfigError(f"{field}: {url} is refused: only https URLs are allowed, also after redirects")
    return host, port


def resolve(host: str, port: int, field: str) -> str:
    """Return the address to connect to, and no other. Every address of the name must be allowed."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except socket.gaierror as error:
        raise TransientError(f"{field}: the name {host} cannot be resolved: {error.strerror}") from error
    addresses = [str(entry[4][0]) for entry in found]
    for address in addresses:
        if not allowed(ipaddress.ip_address(address.split("%", 1)[0])):
            raise InvalidConfigError(
                f"{field}: {host} resolves to {address}, a link-local or metadata address, which is refused"
            )
    return addresses[0]
