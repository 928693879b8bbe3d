"""Allowed addresses and URLs."""

from __future__ import annotations

import ipaddress
import socket
from pathlib import Path
from typing import Any

import pytest

from loraform_trainer.remote.addresses import RefusedAddressError, allowed, check_url, guard, refusal, resolve
from loraform_trainer.runtime.errors import InvalidConfigError, TransientError


@pytest.mark.parametrize(
    "address",
    [
        "169.254.169.254", "169.254.170.2", "fe80::1", "fd00:ec2::254", "100.100.100.200", "168.63.129.16",
        "::ffff:169.254.169.254", "64:ff9b::a9fe:a9fe", "2002:a9fe:a9fe::1", "0.0.0.0", "::", "224.0.0.1",
    ],
)  # fmt: skip
def test_metadata_and_link_local_addresses_are_refused(address: str) -> None:
    assert not allowed(ipaddress.ip_address(address))


@pytest.mark.parametrize("address", ["10.96.0.1", "192.168.1.1", "127.0.0.1", "1.1.1.1", "2606:4700::1111", "fd12::1"])
def test_other_addresses_are_allowed(address: str) -> None:
    assert allowed(ipaddress.ip_address(address))


@pytest.mark.parametrize("url", ["http://example.com/x", "ftp://example.com", "https:///x", "https://h:99999/x"])
def test_only_https_urls_pass(url: str) -> None:
    with pytest.raises(InvalidConfigError, match="field"):
        check_url(url, "field")


def test_http_urls_pass_only_with_plain() -> None:
    assert check_url("http://source-controller/x", "field", plain=True) == ("source-controller", 80)
    with pytest.raises(InvalidConfigError, match="field"):
        check_url("ftp://source-controller/x", "field", plain=True)


def test_host_and_port_of_a_url() -> None:
    assert check_url("https://user:pw@example.com:8443/x?y", "field") == ("example.com", 8443)


def answer(*addresses: str) -> Any:
    def getaddrinfo(*args: Any, **kwargs: Any) -> Any:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 443)) for address in addresses]

    return getaddrinfo


def test_a_name_with_one_refused_address_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", answer("1.1.1.1", "169.254.169.254"))
    with pytest.raises(InvalidConfigError, match=r"evil.example resolves to 169.254.169.254"):
        resolve("evil.example", 443, "source 'a', http.url")


def test_resolve_returns_the_first_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", answer("1.1.1.1", "1.0.0.1"))
    assert resolve("one.example", 443, "field") == "1.1.1.1"


def test_an_unknown_name_is_a_transient_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def getaddrinfo(*args: Any, **kwargs: Any) -> Any:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    with pytest.raises(TransientError, match=r"nowhere.example cannot be resolved"):
        resolve("nowhere.example", 443, "field")


@pytest.mark.parametrize(
    "target", [("169.254.169.254", 80), ("fe80::1%lo", 80, 0, 1), ("::ffff:169.254.169.254", 80), ("localhost", 80)]
)
def test_guard_refuses_metadata_addresses_and_names(target: tuple[Any, ...]) -> None:
    guard()
    family = socket.AF_INET6 if ":" in target[0] else socket.AF_INET
    with socket.socket(family) as connection:
        connection.settimeout(0.1)
        with pytest.raises(RefusedAddressError, match="refused"):
            connection.connect(target)


def test_guard_allows_loopback_and_unix_sockets(tmp_path: Path) -> None:
    guard()
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()):
        pass
    with socket.socket(socket.AF_UNIX) as server, socket.socket(socket.AF_UNIX) as client:
        server.bind(str(tmp_path / "s"))
        server.listen()
        client.connect(str(tmp_path / "s"))


def test_refusal_finds_the_cause_of_a_library_error() -> None:
    refused = RefusedAddressError("no")
    try:
        try:
            raise refused
        except RefusedAddressError as error:
            raise KeyError("library") from error
    except KeyError as error:
        assert refusal(error) is refused
    assert refusal(ValueError()) is None
