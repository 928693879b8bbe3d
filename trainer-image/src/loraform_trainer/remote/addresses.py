"""Addresses that a run may connect to: all except link-local and metadata addresses.

`guard` enforces it at the socket, below every Python library, on the address that is really connected to. `resolve`
checks earlier, names the user's field, and returns the one address to use to git, whose sockets are not Python's.
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
"""Metadata services outside the link-local ranges (169.254.0.0/16 and fe80::/10)."""

NAT64 = ipaddress.ip_network("64:ff9b::/96")


class RefusedAddressError(InvalidConfigError):
    """A connection to a refused address. Not an OSError, so that no library retries it."""


@functools.cache
def guard() -> None:
    """From now on, raise RefusedAddressError for each connection of this process to an address that is not allowed."""
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
    except ValueError:  # the system would resolve it after this check
        raise RefusedAddressError(f"a connection to the unresolved name {host!r} is refused") from None
    if not allowed(address):
        raise RefusedAddressError(f"{host} is a link-local or metadata address, which is refused")


def refusal(error: BaseException) -> RefusedAddressError | None:
    """Return the RefusedAddressError in the chain of causes of a library's error; None without one."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, RefusedAddressError):
        cause = cause.__cause__ or cause.__context__
    return cause


def allowed(address: Address) -> bool:
    """Return whether a run may connect to `address`; IPv4 addresses embedded in IPv6 ones are checked too."""
    embedded: Address | None = None
    if isinstance(address, ipaddress.IPv6Address):
        embedded = address.ipv4_mapped or address.sixtofour
        if address in NAT64:
            embedded = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    refused = address.is_link_local or address.is_multicast or address.is_unspecified or address in METADATA
    return not refused and (embedded is None or allowed(embedded))


def check_url(url: str, field: str, *, plain: bool = False) -> tuple[str, int]:
    """Return host and port of an https (`plain`: or http) URL; raises InvalidConfigError naming `field`."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port or (80 if parts.scheme == "http" else 443)
    except ValueError as error:
        raise InvalidConfigError(f"{field}: {url} is not a URL: {error}") from error
    if parts.scheme not in (("https", "http") if plain else ("https",)) or not host:
        raise InvalidConfigError(f"{field}: {url} is refused: only https URLs are allowed, also after redirects")
    return host, port


def resolve(host: str, port: int, field: str) -> str:
    """Return the first address of `host`, the only one to connect to.

    Raises InvalidConfigError when any of its addresses is refused, and TransientError when the name does not resolve.
    """
    try:
        entries = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except socket.gaierror as error:
        raise TransientError(f"{field}: the name {host} cannot be resolved: {error.strerror}") from error
    addresses = [str(entry[4][0]) for entry in entries]
    for address in addresses:
        if not allowed(ipaddress.ip_address(address.split("%", 1)[0])):
            raise InvalidConfigError(
                f"{field}: {host} resolves to {address}, a link-local or metadata address, which is refused"
            )
    return addresses[0]
