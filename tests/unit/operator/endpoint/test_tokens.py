from __future__ import annotations

from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from loraform_operator.endpoint.tokens import REFRESH_SECONDS, Caller, TokenVerifier, Unauthorized
from loraform_operator.kube.errors import ClusterError

AUDIENCE = "loraform.dev/ns/job/uid-1"
ISSUER = "https://kubernetes.default.svc"
FAR = 4102444800
POD = {"namespace": "ns", "pod": {"name": "p", "uid": "pod-1"}, "serviceaccount": {"name": "x", "uid": "y"}}


class Server:
    """The API server's two discovery documents; counts how often the keys are read."""

    def __init__(self) -> None:
        self.keys = {"one": ec.generate_private_key(ec.SECP256R1())}
        self.reads = 0
        self.down = False

    async def __call__(self, path: str) -> dict[str, Any]:
        if self.down:
            raise ClusterError("no route")
        if path == "/.well-known/openid-configuration":
            return {"issuer": ISSUER}
        assert path == "/openid/v1/jwks"
        self.reads += 1
        algorithm = jwt.algorithms.ECAlgorithm("ES256")
        keys = [{**algorithm.to_jwk(k.public_key(), as_dict=True), "kid": kid} for kid, k in self.keys.items()]
        return {"keys": keys}

    def token(self, kid: str = "one", **claims: Any) -> str:
        body = {"aud": [AUDIENCE], "iss": ISSUER, "exp": FAR, "kubernetes.io": POD, **claims}
        key = self.keys.get(kid) or ec.generate_private_key(ec.SECP256R1())
        return jwt.encode({k: v for k, v in body.items() if v is not None}, key, "ES256", {"kid": kid})


@pytest.fixture
def server() -> Server:
    return Server()


async def test_a_valid_token_names_its_pod_and_keys_are_read_once(server: Server) -> None:
    verifier = TokenVerifier(server)
    for _ in range(3):
        assert await verifier.verify(server.token(), AUDIENCE) == Caller("ns", "p", "pod-1")
    assert server.reads == 1


@pytest.mark.parametrize(
    "claims",
    [
        {"aud": ["loraform.dev/ns/job/uid-2"]},
        {"aud": [AUDIENCE, "https://kubernetes.default.svc"]},
        {"aud": None},
        {"iss": "https://evil.example"},
        {"exp": 1},
        {"exp": None},
        {"kubernetes.io": {"namespace": "ns"}},
        {"kubernetes.io": None},
    ],
)
async def test_a_token_with_wrong_claims_is_refused(server: Server, claims: dict[str, Any]) -> None:
    with pytest.raises(Unauthorized):
        await TokenVerifier(server).verify(server.token(**claims), AUDIENCE)


async def test_a_token_for_another_object_causes_no_request(server: Server) -> None:
    with pytest.raises(Unauthorized, match="not for"):
        await TokenVerifier(server).verify(server.token(aud=["x"]), AUDIENCE)
    assert server.reads == 0


@pytest.mark.parametrize("text", ["", "a.b.c", "x" * 10_000, "e30.e30."])
async def test_text_that_is_no_token_is_refused(server: Server, text: str) -> None:
    with pytest.raises(Unauthorized):
        await TokenVerifier(server).verify(text, AUDIENCE)


async def test_an_unsigned_or_wrongly_signed_token_is_refused(server: Server) -> None:
    body = {"aud": [AUDIENCE], "iss": ISSUER, "exp": FAR, "kubernetes.io": POD}
    verifier = TokenVerifier(server)
    for token in (
        jwt.encode(body, None, "none", {"kid": "one"}),
        jwt.encode(body, "k" * 32, "HS256", {"kid": "one"}),
        jwt.encode(body, ec.generate_private_key(ec.SECP256R1()), "ES256", {"kid": "one"}),
    ):
        with pytest.raises(Unauthorized):
            await verifier.verify(token, AUDIENCE)


async def test_reads_for_unknown_keys_are_rate_limited(server: Server) -> None:
    now = 0.0
    verifier = TokenVerifier(server, clock=lambda: now)
    await verifier.verify(server.token(), AUDIENCE)
    server.keys["two"] = ec.generate_private_key(ec.SECP256R1())
    for _ in range(3):
        with pytest.raises(Unauthorized, match="does not publish"):
            await verifier.verify(server.token("two"), AUDIENCE)
    assert server.reads == 1
    now += REFRESH_SECONDS
    await verifier.verify(server.token("two"), AUDIENCE)
    assert server.reads == 2


async def test_cached_keys_work_while_the_api_server_is_down(server: Server) -> None:
    verifier = TokenVerifier(server)
    await verifier.verify(server.token(), AUDIENCE)
    server.down = True
    await verifier.verify(server.token(), AUDIENCE)
