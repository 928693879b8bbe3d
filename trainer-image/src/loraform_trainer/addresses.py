"""Which addresses a run may reach: all but link-local and metadata addresses, decided after resolving."""

from __future__ import annotations

import ipaddress
import socket
from urllib.parse import urlsplit

from loraform_trainer.errors import InvalidConfigError, TransientError

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


def allowed(address: Address) -> bool:
    """Say whether a run may connect to `address`; IPv4 addresses inside IPv6 ones are looked at too."""
    embedded: Address | None = None
    if isinstance(address, ipaddress.IPv6Address):
        embedded = address.ipv4_mapped or address.sixtofour
        if address in NAT64:
            embedded = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    refused = address.is_link_local or address.is_multicast or address.is_unspecified or address in METADATA
    return not refused and (embedded is None or allowed(embedded))


def check_url(url: str, field: str) -> tuple[str, int]:
    """Return host and port of an https URL; raises InvalidConfigError naming `field` otherwise."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port or 443
    except ValueError as error:
        raise InvalidConfigError(f"{field}: {url} is not a URL: {error}") from error
    if parts.scheme != "https" or not host:
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
