"""Who may ask: keys of a file that changes while the gateway runs."""

from __future__ import annotations

import hashlib
import logging
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from loraform_gateway.errors import ApiError, shape_errors
from loraform_gateway.keys import LOOK_SECONDS, MOST_KEYS, Authenticator, KeyFile, caller, parse_keys

from .conftest import Clock


def digest(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


def line(name: str, key: str) -> str:
    return f"{name}:{digest(key)}\n"


def mount(folder: Path, number: int, text: str) -> Path:
    """Write the file as the kubelet does: a new folder, and a link that is swapped."""
    data = folder / f"..{number}"
    data.mkdir()
    (data / "api-keys").write_text(text)
    link = folder / "..new"
    link.symlink_to(data.name)
    link.replace(folder / "..data")
    file = folder / "api-keys"
    if not file.is_symlink():
        file.symlink_to("..data/api-keys")
    return file


def test_a_line_is_a_name_and_a_digest() -> None:
    text = f"# team A\n\n{line('ci', 'one')}  {line('ci', 'two')}{line('people', 'three')}"
    assert sorted(parse_keys(text).values()) == ["ci", "ci", "people"]
    assert parse_keys("\n# none yet\n") == {}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("ci:sk-secret-in-plain-text", "line 1 must be `name:sha256`"),
        (f"{line('ci', 'one')}ci {digest('two')}", "line 2 must be `name:sha256`"),
        (f"ci:{digest('one').upper()}", "lower-case"),
        (f"{'n' * 64}:{digest('one')}", "line 1"),
        (f"a b:{digest('one')}", "line 1"),
        (line("one", "same") + line("two", "same"), "line 2 repeats the key"),
        ("".join(line("n", str(n)) for n in range(MOST_KEYS + 1)), f"at most {MOST_KEYS}"),
    ],
)
def test_an_invalid_line_is_named_and_not_quoted(text: str, expected: str) -> None:
    with pytest.raises(ValueError, match=expected) as caught:
        parse_keys(text)
    assert "secret" not in str(caught.value)
    assert digest("one")[:8] not in str(caught.value)


def test_a_swapped_file_is_read_again(tmp_path: Path, clock: Clock) -> None:
    keys = KeyFile(mount(tmp_path, 1, line("ci", "old")), clock)
    assert (keys.name_of("old"), keys.name_of("new")) == ("ci", None)
    mount(tmp_path, 2, line("ci", "new"))
    assert keys.name_of("old") == "ci", "one look a second at most"
    clock.now += LOOK_SECONDS
    assert (keys.name_of("old"), keys.name_of("new")) == (None, "ci")


@pytest.mark.parametrize("text", ["plain-key", "", "\udcff"])
def test_a_file_that_becomes_invalid_leaves_the_last_keys(
    tmp_path: Path, clock: Clock, caplog: pytest.LogCaptureFixture, text: str
) -> None:
    file = tmp_path / "api-keys"
    file.write_text(line("ci", "one"))
    keys = KeyFile(file, clock)
    assert keys.name_of("one") == "ci"
    file.write_bytes(text.encode("utf-8", "surrogateescape"))
    clock.now += LOOK_SECONDS
    if text:
        assert keys.name_of("one") == "ci"
        assert keys.problem == ""
        assert "stay in force" in caplog.text
        assert "plain-key" not in caplog.text
    else:
        assert keys.name_of("one") is None, "an empty file is valid: it withdraws all keys"


def test_a_file_of_windows_is_read(tmp_path: Path, clock: Clock) -> None:
    """It has a byte order mark and other line ends."""
    file = tmp_path / "api-keys"
    file.write_bytes(f"\ufeff{line('ci', 'one')}{line('ci', 'two')}".replace("\n", "\r\n").encode())
    keys = KeyFile(file, clock)
    assert (keys.name_of("one"), keys.name_of("two")) == ("ci", "ci")


def test_a_file_that_disappears_leaves_the_last_keys(tmp_path: Path, clock: Clock) -> None:
    file = tmp_path / "api-keys"
    file.write_text(line("ci", "one"))
    keys = KeyFile(file, clock)
    assert keys.name_of("one") == "ci"
    file.unlink()
    clock.now += LOOK_SECONDS
    assert keys.name_of("one") == "ci"


def test_without_a_file_nobody_is_let_in_until_it_comes(tmp_path: Path, clock: Clock) -> None:
    keys = KeyFile(tmp_path / "api-keys", clock)
    assert "`api-keys` of the Secret in `spec.serving.apiKeySecretRef` cannot be read" in keys.problem
    with pytest.raises(ApiError, match="cannot be read") as caught:
        keys.name_of("one")
    assert (caught.value.status, caught.value.retry_after) == (503, 30)
    (tmp_path / "api-keys").write_text(line("ci", "one"))
    clock.now += LOOK_SECONDS
    assert (keys.name_of("one"), keys.problem) == ("ci", "")


@pytest.fixture
async def client(tmp_path: Path, clock: Clock):
    file = tmp_path / "api-keys"
    file.write_text(line("ci", "sk-one") + line("people", "sk-two"))

    async def say(request: web.Request) -> web.Response:
        return web.Response(text=caller())

    app = web.Application(middlewares=[shape_errors, Authenticator(KeyFile(file, clock)).authenticate])
    for path in ("/healthz", "/readyz", "/v1/models"):
        app.router.add_get(path, say)
    async with TestClient(TestServer(app)) as made:
        yield made


@pytest.mark.parametrize(
    ("header", "name"), [("Bearer sk-one", "ci"), ("bearer sk-two", "people"), ("BEARER  sk-two ", "people")]
)
async def test_a_known_key_names_its_caller(client: TestClient, header: str, name: str) -> None:
    reply = await client.get("/v1/models", headers={"Authorization": header})
    assert (reply.status, await reply.text()) == (200, name)


@pytest.mark.parametrize("path", ["/v1/models", "/v1/none", "/metrics", "/healthz/"])
@pytest.mark.parametrize(
    "header", [None, "", "Bearer", "Bearer ", "sk-one", "Basic sk-one", "Bearer sk-three", "Bearer \udcff", "Bearer ü"]
)
async def test_everyone_else_gets_401_and_hears_nothing_of_the_key(
    client: TestClient, caplog: pytest.LogCaptureFixture, path: str, header: str | None
) -> None:
    caplog.set_level(logging.DEBUG)
    headers = {} if header is None else {"Authorization": header}
    reply = await client.get(path, headers=headers)
    body = await reply.json()
    assert reply.status == 401
    assert reply.headers["WWW-Authenticate"] == "Bearer"
    assert (body["error"]["type"], body["error"]["code"]) == ("authentication_error", "invalid_api_key")
    assert "sk-" not in str(body) + caplog.text


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
async def test_the_paths_of_probes_are_open(client: TestClient, path: str) -> None:
    assert (await client.get(path)).status == 200


async def test_every_key_is_compared(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, clock: Clock) -> None:
    """A key at the head of the file takes as long as one at its end."""
    file = tmp_path / "api-keys"
    file.write_text("".join(line(f"n{n}", str(n)) for n in range(5)))
    keys, compared = KeyFile(file, clock), []
    monkeypatch.setattr("hmac.compare_digest", lambda a, b: compared.append(a) or a == b)
    assert keys.name_of("0") == "n0"
    assert len(compared) == 5
