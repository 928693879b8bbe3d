from __future__ import annotations

import asyncio
import ssl
from datetime import UTC, datetime, timedelta

import pytest

from loraform_operator.endpoint.certificates import LEAF_LIFE, KeyPair, ca_is_good, leaf_is_good, make_ca, make_leaf
from loraform_operator.endpoint.publication import load_into

NOW = datetime.now(UTC)
HOSTS = ["127.0.0.1", "loraform-operator.loraform-system.svc"]


@pytest.fixture(scope="module")
def ca() -> KeyPair:
    return make_ca(NOW)


def test_leaf_is_good_until_it_must_be_renewed(ca: KeyPair) -> None:
    leaf = make_leaf(ca, HOSTS, NOW)
    assert leaf_is_good(leaf, ca, HOSTS, NOW)
    assert leaf_is_good(leaf, ca, HOSTS[:1], NOW)
    assert not leaf_is_good(leaf, ca, [*HOSTS, "10.0.0.1"], NOW)
    assert not leaf_is_good(leaf, make_ca(NOW), HOSTS, NOW)
    assert not leaf_is_good(leaf, ca, HOSTS, NOW + LEAF_LIFE - timedelta(days=29))


def test_ca_is_good_for_nine_years(ca: KeyPair) -> None:
    assert ca_is_good(ca, NOW + timedelta(days=9 * 365 - 10))
    assert not ca_is_good(ca, NOW + timedelta(days=9 * 365 + 10))


@pytest.mark.parametrize("host", HOSTS)
async def test_a_strict_client_trusts_the_ca_and_nothing_else(ca: KeyPair, host: str) -> None:
    served = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    load_into(served, make_leaf(ca, HOSTS, NOW))
    server = await asyncio.start_server(lambda r, w: w.close(), "127.0.0.1", 0, ssl=served)
    port = server.sockets[0].getsockname()[1]
    strict = ssl.create_default_context(cadata=ca.certificate)
    strict.verify_flags |= ssl.VERIFY_X509_STRICT
    async with server:
        _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=strict, server_hostname=host)
        writer.close()
        other = ssl.create_default_context(cadata=make_ca(NOW).certificate)
        with pytest.raises(ssl.SSLCertVerificationError):
            await asyncio.open_connection("127.0.0.1", port, ssl=other, server_hostname=host)
        with pytest.raises(ssl.SSLCertVerificationError):
            await asyncio.open_connection("127.0.0.1", port, ssl=strict, server_hostname="other.svc")
