"""A file behind https, from a real server with an authority of its own."""

from __future__ import annotations

import base64
import hashlib
from typing import Any

import pytest

from loraform_api.failures import ExitCode
from loraform_api.sources import DataSource
from loraform_trainer.prepare import sources
from loraform_trainer.remote import web

from .https_server import Answer, Server

WHERE = "source 'data' of dataset.sources, http.url"


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def test_a_file_with_a_private_ca_and_a_redirect(run: Any, server: Server, content: bytes) -> None:
    server.answers["/rows.csv?x=1"] = (302, {"Location": "/moved"}, b"")
    server.answers["/moved"] = (200, {}, content)
    file = run.fetch("http", {"url": server.url("/rows.csv?x=1"), "sha256": sha256(content)})
    assert file.read_bytes() == content
    assert file.name == "dataset.sources.data.csv"
    assert file.parent == run.paths.downloads


def test_a_wrong_digest_names_both(run: Any, caught: Any, server: Server, content: bytes) -> None:
    server.answers["/rows"] = (200, {}, content)
    with caught:
        run.fetch("http", {"url": server.url("/rows"), "sha256": "0" * 64})
    caught.says(ExitCode.DATASET_INVALID, f"has sha256 {sha256(content)}, but the source says {'0' * 64}", WHERE)


def test_a_file_whose_length_nobody_says(run: Any, server: Server, content: bytes) -> None:
    chunks = [b"%x\r\n%b\r\n" % (len(part), part) for part in (content[:9], content[9:], b"")]
    server.answers["/rows"] = (200, {"Transfer-Encoding": "chunked"}, chunks)
    assert run.fetch("http", {"url": server.url("/rows"), "sha256": sha256(content)}).read_bytes() == content


@pytest.mark.parametrize(
    ("answer", "code", "message"),
    [
        ((302, {"Location": "http://127.0.0.1/rows"}, b""), ExitCode.INVALID_CONFIG, "only https URLs are allowed"),
        ((302, {"Location": "/rows"}, b""), ExitCode.INVALID_CONFIG, "redirects more than 5 times"),
        ((404, {}, b""), ExitCode.MISSING_REFERENCE, "answered 404 Not Found"),
        ((429, {"Retry-After": "9999"}, b""), ExitCode.TRAINER_ERROR, "answered 429 Too Many Requests"),
        ((503, {}, b""), ExitCode.TRAINER_ERROR, "answered 503 Service Unavailable"),
        ((401, {}, b""), ExitCode.ACCESS_DENIED, "answered 401 Unauthorized; name a Secret with `token`, or"),
        ((200, {"Content-Length": "99"}, b"cut"), ExitCode.TRAINER_ERROR, "was not read to its end"),
        ((200, {"Transfer-Encoding": "chunked"}, [b"5\r\ncut"]), ExitCode.TRAINER_ERROR, "was not read to its end"),
    ],
)
def test_answers_that_are_no_file(
    run: Any, caught: Any, server: Server, answer: Answer, code: ExitCode, message: str
) -> None:
    server.answers["/rows"] = answer
    with caught:
        run.fetch("http", {"url": server.url("/rows"), "sha256": "0" * 64})
    caught.says(code, message, WHERE)


def test_a_server_that_stumbles_once_is_asked_again(
    run: Any, server: Server, content: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Stumbling(dict[str, Answer]):
        def get(self, path: str, default: Any = None) -> Any:
            return (503, {}, b"") if len(server.seen) == 1 else super().get(path, default)

    monkeypatch.setattr(server, "answers", Stumbling({"/rows": (200, {}, content)}))
    assert run.fetch("http", {"url": server.url("/rows"), "sha256": sha256(content)}).read_bytes() == content
    assert len(server.seen) == 2


def test_a_server_that_is_not_there_may_come_later(run: Any, caught: Any, server: Server) -> None:
    with caught:
        run.fetch("http", {"url": "https://127.0.0.1:1/rows", "sha256": "0" * 64})
    caught.says(ExitCode.TRAINER_ERROR, "https://127.0.0.1:1/rows was not read", WHERE)


def test_an_unknown_certificate_is_refused(run: Any, caught: Any, server: Server) -> None:
    with caught:
        run.fetch("http", {"url": server.url("/rows"), "sha256": "0" * 64, "caConfigMapRef": None})
    caught.says(ExitCode.INVALID_CONFIG, "is not trusted", "caConfigMapRef")
    assert server.seen == []


def test_a_missing_ca_is_named(run: Any, caught: Any, server: Server) -> None:
    with caught:
        run.fetch("http", {"url": server.url("/rows"), "sha256": "0" * 64}, ca=False)
    caught.says(ExitCode.MISSING_REFERENCE, f"{WHERE}: ConfigMap 'our-ca' with key 'ca.crt' (caConfigMapRef)")


@pytest.mark.parametrize(
    ("secret", "sent"),
    [
        ({"token": "s3cret\n"}, "Bearer s3cret"),
        ({"username": "u", "password": "p"}, "Basic " + base64.b64encode(b"u:p").decode()),
    ],
)
def test_credentials_open_the_door(run: Any, server: Server, content: bytes, secret: dict[str, str], sent: str) -> None:
    server.secured["/rows"] = sent
    server.answers["/rows"] = (200, {}, content)
    assert run.fetch("http", {"url": server.url("/rows"), "sha256": sha256(content)}, secret).read_bytes() == content


def test_credentials_that_do_not_fit_are_told_by_the_name_of_their_secret(
    run: Any, caught: Any, server: Server
) -> None:
    server.secured["/rows"] = "Bearer other"
    with caught:
        run.fetch("http", {"url": server.url("/rows"), "sha256": "0" * 64}, {"token": "s3cret"})
    caught.says(ExitCode.ACCESS_DENIED, "401 Unauthorized; Secret 'our-secret' in `secretRef` does not grant", WHERE)
    assert "s3cret" not in caught.refusal.message


def test_credentials_stay_with_their_host(run: Any, server: Server, elsewhere: Server, content: bytes) -> None:
    server.answers["/rows"] = (307, {"Location": "/again"}, b"")
    server.answers["/again"] = (307, {"Location": elsewhere.url("/rows")}, b"")
    elsewhere.answers["/rows"] = (307, {"Location": server.url("/back")}, b"")
    server.answers["/back"] = (200, {}, content)
    run.fetch("http", {"url": server.url("/rows"), "sha256": sha256(content)}, {"token": "s3cret"})
    assert server.sent("/again") == "Bearer s3cret"
    assert elsewhere.seen == [("/rows", None)]
    assert server.sent("/back") is None


@pytest.mark.parametrize("secret", [{}, {"username": "u"}, {"token": " \n"}])
def test_a_secret_without_the_keys_is_named_with_them(
    run: Any, caught: Any, server: Server, secret: dict[str, str]
) -> None:
    with caught:
        run.fetch("http", {"url": server.url("/rows"), "sha256": "0" * 64}, secret)
    caught.says(
        ExitCode.MISSING_REFERENCE,
        f"{WHERE}: Secret 'our-secret' (secretRef) was not found or lacks its keys: `token`, or `username` and",
    )


def test_a_file_beyond_the_cap_is_refused(
    run: Any, caught: Any, server: Server, content: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(web.HTTPClient.save, "__kwdefaults__", {**web.HTTPClient.save.__kwdefaults__, "max_bytes": 10})
    server.answers["/rows"] = (200, {}, content)
    with caught:
        run.fetch("http", {"url": server.url("/rows"), "sha256": sha256(content)})
    caught.says(ExitCode.DATASET_INVALID, "the file is larger than 10 bytes", WHERE)


def test_a_suite_of_a_sources_name_has_access_files_of_its_own(
    run: Any, caught: Any, server: Server, content: bytes
) -> None:
    server.answers["/rows"] = (200, {}, content)
    server.answers["/suite"] = (200, {}, b"suite")
    run.fetch("http", {"url": server.url("/rows"), "sha256": sha256(content)})
    place = {"url": server.url("/suite"), "sha256": sha256(b"suite"), "caConfigMapRef": {"name": "suite-ca"}}
    suite, mount = DataSource.model_validate({"name": "data", "http": place}), run.paths.suites_mount
    with caught:
        sources.fetch(run.context(), suite, mount, "evaluation.suites")
    caught.says(ExitCode.MISSING_REFERENCE, "source 'data' of evaluation.suites, http.url: ConfigMap 'suite-ca'")
    run.access(mount / "data", None)
    file = sources.fetch(run.context(), suite, mount, "evaluation.suites")
    assert file.read_bytes() == b"suite"
    assert (run.paths.downloads / "dataset.sources.data.jsonl").read_bytes() == content
