"""Whatever is sent to the service, it answers with a verdict or a refusal in JSON, or hangs up; and it stays well."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from random import Random

import pytest
from aiohttp import web

from loraform_verifier.http import service
from loraform_verifier.http.queue import Verifiers
from loraform_verifier.verify import Verifier

from .fuzzing import SCALE, SEED, program
from .mutations import mutated

pytestmark = pytest.mark.slow

REQUESTS = 6_000
TOGETHER = 16
SECONDS = 30.0
"""Wall time in which each request must have come to an end."""
PATIENCE = 0.2
"""The same for a request that lacks something, which the service may wait for."""
STATIC = ["Parse", "Policy", "Intent"]
POLICY = {"comment": "# by PiCloud", "tags": {"created_by": "PiCloud"}}
FIELDS = ("programs", "stages", "policy", "packs", "rewrite", "unknown")
VALUES = (
    *(
        None,
        True,
        0,
        -1,
        10**400,
        1.5,
        "",
        "x" * 300,
        "\0",
        [],
        {},
        [[]],
        [None],
        {"": 1},
        ["Parse", "Guess"],
        ["Parse"] * 9,
    ),
    *(
        [{"id": "a"}, {"id": "a"}],
        [{"id": "a" * 201}],
        {"comment": "no"},
        {"tags": {"": ""}},
        {"deny": [{}]},
        ["Policy"],
    ),
    *(
        ["Plan"],
        ["Validate"],
        ["Security"],
        [{"id": "a", "files": {"../x.tf": ""}}],
        [{"id": "a", "files": {"m.tf": "a {"}}],
    ),
)
RAW = (
    *(
        "",
        "{",
        "null",
        "[]",
        '"x"',
        "NaN",
        "1e999",
        '{"programs": [}',
        '{"programs": []}x',
        '{"a": "\\ud800"}',
        "\ufeff{}",
    ),
    *(
        "[" * 5_000,
        '{"a":' * 5_000,
        '{"programs": ' + "[" * 3_000,
        '{"programs": [{"id": "a", "text": "' + "x" * 200_001 + '"}]}',
    ),
)
TARGETS = (
    "/",
    "/v1/verify/",
    "/v1/verify?x=1",
    "/V1/verify",
    "//v1/verify",
    "/v1/%00",
    "/v1/verify/../verify",
    "*",
    "/é",
    "",
)
METHODS = ("GET", "PUT", "DELETE", "HEAD", "OPTIONS", "TRACE", "CONNECT", "PATCH", "post", "P\u00d6ST", "")
HEADERS = (
    *(
        "Content-Length: -1",
        "Content-Length: x",
        "Content-Length: 1\r\nContent-Length: 2",
        "Content-Length: 99999999999999999999",
    ),
    *(
        "Transfer-Encoding: chunked",
        "Transfer-Encoding: x",
        "Transfer-Encoding: chunked\r\nContent-Length: 3",
        "Expect: 100-continue",
    ),
    *(
        "Expect: x",
        "Content-Encoding: gzip",
        "Content-Encoding: deflate",
        "Content-Encoding: br",
        "Content-Encoding: x",
    ),
    *(
        "Content-Type: text/plain; charset=x",
        "Content-Type: multipart/form-data",
        "X: " + "y" * 9_000,
        "no colon",
        ": x",
        "X: \0",
    ),
    *("Connection: upgrade\r\nUpgrade: websocket", "Connection: close", "Host: ", "Cookie: =;;=", "Range: bytes=0-"),
)


@asynccontextmanager
async def serving() -> AsyncIterator[int]:
    """Serve what needs no terraform; yield the port."""
    runner = web.AppRunner(service.application(Verifiers(*[Verifier()] * 3)))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield runner.addresses[0][1]
    await runner.cleanup()


@pytest.fixture
async def port() -> AsyncIterator[int]:
    async with serving() as found:
        yield found


def body(random: Random, case: str) -> bytes:
    """Return a body: a good request, one with a wrong field, damaged JSON, or no JSON."""
    text = program(case, random.choice(("sane", "odd", "damaged"))).encode("utf-8", "replace").decode()
    request: dict[str, object] = {"programs": [{"id": "a", "text": text}], "stages": STATIC, "policy": POLICY}
    match random.randrange(5):
        case 0:
            request["rewrite"] = True
        case 1:
            request[random.choice(("programs", "stages", "policy", "packs", "rewrite", "unknown"))] = random.choice(
                VALUES
            )
        case 2:
            field = random.choice(("id", "text", "files", "asked", "rego", "unknown"))
            request["programs"] = [{"id": "a", "text": text, field: random.choice(VALUES)}]
        case 3:
            return mutated(random, json.dumps(request), "{}").encode("utf-8", "surrogatepass")
        case _:
            return random.choice(RAW).encode("utf-8", "surrogatepass")
    return json.dumps(request).encode()


def sent(random: Random, case: str) -> tuple[bytes, bool]:
    """Return the bytes of a request, and whether it is whole: the others are cut off in the middle."""
    content = body(random, case)
    method, target, headers = "POST", "/v1/verify", [f"Content-Length: {len(content)}", "Host: x", "Connection: close"]
    whole = True
    match random.randrange(8):
        case 0:
            method = random.choice(METHODS)
        case 1:
            target = random.choice(TARGETS)
        case 2:
            headers.append(random.choice(HEADERS))
            whole = False
        case 3:
            headers[0] = random.choice(HEADERS)
            whole = False
        case 4:
            headers[0] = f"Content-Length: {max(0, len(content) + random.choice((-5, -1, 1, 5, 1000)))}"
            whole = False
        case _:
            pass
    head = f"{method} {target} HTTP/1.1\r\n" + "".join(f"{line}\r\n" for line in headers) + "\r\n"
    data = head.encode("utf-8", "surrogatepass") + content
    if random.randrange(10) == 0:
        return data[: random.randint(0, len(data))], False
    if random.randrange(10) == 0:
        return random.randbytes(random.randint(1, 200)) + data[random.randint(0, 40) :], False
    return data, whole


async def answered(port: int, data: bytes, *, pieces: int = 1, whole: bool = True) -> bytes:
    """Send bytes, in pieces, and return all that comes back; what is not `whole` may wait for more and is hung up."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    answer = b""
    try:
        size = max(1, -(-len(data) // pieces))
        for start in range(0, len(data), size):
            writer.write(data[start : start + size])
            await writer.drain()
        async with asyncio.timeout(SECONDS if whole else PATIENCE):
            while received := await reader.read(65_536):
                answer += received
    except TimeoutError:
        if whole:
            raise
    except ConnectionError:
        pass
    finally:
        writer.close()
    return answer


def judged(answer: bytes) -> str:
    """Return the class of an answer; raise AssertionError for one that no client should meet."""
    if not answer:
        return "closed"
    answer = answer.removeprefix(b"HTTP/1.1 100 Continue\r\n\r\n")
    if not answer:
        return "closed"
    head, _, content = answer.partition(b"\r\n\r\n")
    status = int(head.split()[1])
    assert status < 500, answer[:500]
    if b"application/json" not in head or not content:
        # What is no HTTP is refused before the service sees it; a HEAD has no body.
        assert status >= 400, answer[:500]
        return f"{status} by the server"
    told = json.loads(content.split(b"HTTP/1.1 ")[0])
    if status == 200:
        assert {"verdicts", "seconds", "toolchain"} <= told.keys(), told
    else:
        assert told.keys() == {"error"}, told
        assert told["error"].keys() == {"code", "message"}, told
        assert len(content) < 100_000
    return str(status)


async def healthy(port: int) -> bool:
    answer = await answered(port, b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    return answer.startswith(b"HTTP/1.1 200 ") and b'"status"' in answer


async def send_malformed(port: int, requests: int) -> None:
    """Send so many requests, some at a time; raise AssertionError for an answer that no client should meet."""
    seen: Counter[str] = Counter()
    pending = iter(range(requests))

    async def client() -> None:
        for number in pending:
            case = f"{SEED}-http-{number}"
            random = Random(case)
            data, whole = sent(random, case)
            try:
                answer = await answered(port, data, pieces=random.choice((1, 1, 1, 3, 20)), whole=whole)
                seen[judged(answer)] += 1
            except Exception as error:
                raise AssertionError(f"case {case}: {type(error).__name__} {error}: {data[:2000]!r}") from error

    async with asyncio.TaskGroup() as clients:
        for _ in range(TOGETHER):
            clients.create_task(client())
    print(f"{seen.total()} requests, seed {SEED}: {dict(seen.most_common())}")
    assert await healthy(port)


async def test_malformed_requests(port: int) -> None:
    await send_malformed(port, int(REQUESTS * SCALE))


async def test_clients_that_hang_up_cost_nothing(port: int) -> None:
    for number in range(500):
        random = Random(f"{SEED}-abort-{number}")
        data, _ = sent(random, f"{SEED}-abort-{number}")
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(data[: random.randint(0, len(data))])
        writer.transport.abort()
    async with asyncio.timeout(SECONDS):
        assert await healthy(port)


async def test_a_body_over_the_limit_is_refused(port: int) -> None:
    head = f"POST /v1/verify HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {service.MAX_BODY + 1}\r\n\r\n"
    for start in (b'{"programs": [', b"[" * service.MAX_BODY):
        content = start + b" " * (service.MAX_BODY + 1 - len(start))
        async with asyncio.timeout(SECONDS):
            assert judged(await answered(port, head.encode() + content)) in ("413", "closed")
            assert await healthy(port)
