"""Web pages of other origins."""

from __future__ import annotations

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from loraform_gateway.cors import CrossOrigin
from loraform_gateway.errors import bad_request, shape_errors
from loraform_gateway.keys import Authenticator

PAGE = "https://chat.example.org"


@pytest.fixture
async def serve():
    clients = []

    async def start(*origins: str) -> TestClient:
        async def ask(request: web.Request) -> web.StreamResponse:
            if request.query:
                raise bad_request("no")
            response = web.StreamResponse()
            await response.prepare(request)
            await response.write_eof(b"streamed")
            return response

        cross_origin = CrossOrigin(origins)
        app = web.Application(middlewares=[shape_errors, cross_origin.preflight, Authenticator(None).authenticate])
        app.on_response_prepare.append(cross_origin.add_headers)
        app.router.add_post("/v1/chat/completions", ask)
        client = TestClient(TestServer(app))
        await client.start_server()
        clients.append(client)
        return client

    yield start
    for client in clients:
        await client.close()


@pytest.mark.parametrize(("configured", "answered"), [(PAGE, PAGE), ("*", "*")])
async def test_a_preflight_of_an_allowed_page_is_answered(serve, configured: str, answered: str) -> None:
    client = await serve(configured)
    asked = {
        "Origin": PAGE,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization,content-type,x-stainless-lang, x-evil",
    }
    reply = await client.options("/v1/chat/completions", headers=asked)
    assert (reply.status, await reply.read()) == (204, b"")
    assert reply.headers["Access-Control-Allow-Origin"] == answered
    assert reply.headers["Access-Control-Allow-Methods"] == "GET, POST"
    assert reply.headers["Access-Control-Allow-Headers"] == "authorization, content-type, x-stainless-lang"
    assert reply.headers["Vary"] == "Origin"


async def test_options_with_an_origin_alone_names_the_configured_one(serve) -> None:
    client = await serve(PAGE, "https://other.example.org")
    reply = await client.options("/v1/chat/completions", headers={"Origin": PAGE})
    assert (reply.status, reply.headers["Access-Control-Allow-Origin"]) == (204, PAGE)
    assert "authorization" in reply.headers["Access-Control-Allow-Headers"]


@pytest.mark.parametrize("origin", ["https://evil.example.org", f"{PAGE}.evil.org", "http://chat.example.org", "null"])
async def test_another_page_is_refused(serve, origin: str) -> None:
    client = await serve(PAGE)
    reply = await client.options("/v1/chat/completions", headers={"Origin": origin})
    assert (reply.status, (await reply.json())["error"]["code"]) == (403, "origin_not_allowed")
    assert "Access-Control-Allow-Origin" not in reply.headers
    reply = await client.post("/v1/chat/completions", headers={"Origin": origin})
    assert "Access-Control-Allow-Origin" not in reply.headers


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/chat/completions?bad=1", "/v1/none"])
async def test_streams_and_errors_can_be_read_by_the_page(serve, path: str) -> None:
    client = await serve(PAGE)
    reply = await client.post(path, headers={"Origin": PAGE})
    assert reply.headers["Access-Control-Allow-Origin"] == PAGE
    assert reply.headers["Access-Control-Expose-Headers"] == "X-Request-Id, Retry-After"


async def test_without_origins_nothing_is_allowed(serve) -> None:
    client = await serve()
    reply = await client.options("/v1/chat/completions", headers={"Origin": PAGE})
    assert reply.status == 405
    assert "Access-Control-Allow-Origin" not in reply.headers
