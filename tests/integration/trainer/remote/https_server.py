"""An https server on loopback that answers what a test says, asks for credentials where it says so, and remembers."""

from __future__ import annotations

import http.server
import os
import ssl
import subprocess
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Answer = tuple[int, dict[str, str], bytes | Iterable[bytes]]
"""Status, headers and body; a body in parts is sent as they come, and ends with the connection."""


@dataclass
class Server:
    """Fixed answers by path, and git repositories below `/git/` (served by git's own CGI)."""

    repositories: Path
    answers: dict[str, Answer] = field(default_factory=dict)
    secured: dict[str, str] = field(default_factory=dict)
    """Authorization header that paths with this beginning ask for."""
    seen: list[tuple[str, str | None]] = field(default_factory=list)
    """Path and Authorization header of each request."""
    port: int = 0
    scheme: str = "https"

    def url(self, path: str) -> str:
        return f"{self.scheme}://127.0.0.1:{self.port}{path}"

    def sent(self, path: str) -> str | None:
        """The Authorization header of the last request for `path`."""
        return [authorization for seen, authorization in self.seen if seen == path][-1]


def _handler(server: Server) -> type[http.server.BaseHTTPRequestHandler]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            given = self.headers.get("Authorization")
            server.seen.append((self.path, given))
            if any(self.path.startswith(path) and given != asked for path, asked in server.secured.items()):
                self._answer(401, {"WWW-Authenticate": 'Basic realm="test"'}, b"who are you?")
            elif self.path.startswith("/git/"):
                self._git()
            else:
                self._answer(*server.answers.get(self.path, (404, {}, b"nothing here")))

        def do_POST(self) -> None:
            self.do_GET()

        def do_HEAD(self) -> None:
            self.do_GET()

        def _git(self) -> None:
            path, _, query = self.path.removeprefix("/git").partition("?")
            size = int(self.headers.get("Content-Length") or 0)
            environment = {
                "PATH": os.environ["PATH"], "GIT_PROJECT_ROOT": str(server.repositories), "GIT_HTTP_EXPORT_ALL": "1",
                "PATH_INFO": path, "QUERY_STRING": query, "REQUEST_METHOD": self.command,
                "CONTENT_TYPE": self.headers.get("Content-Type") or "", "CONTENT_LENGTH": str(size),
                "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding") or "",
                "GIT_PROTOCOL": self.headers.get("Git-Protocol") or "",
            }  # fmt: skip
            body = self.rfile.read(size)
            done = subprocess.run(["git", "http-backend"], env=environment, input=body, capture_output=True, check=True)
            head, _, content = done.stdout.partition(b"\r\n\r\n")
            headers = dict(line.split(": ", 1) for line in head.decode().split("\r\n"))
            self._answer(int(headers.pop("Status", "200").split()[0]), headers, content)

        def _answer(self, status: int, headers: dict[str, str], body: bytes | Iterable[bytes]) -> None:
            self.send_response(status)
            known = {"Content-Length": str(len(body))} if isinstance(body, bytes) else {}
            for name, value in {**known, **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                with suppress(OSError):  # a client may hang up
                    self.wfile.writelines([body] if isinstance(body, bytes) else body)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    return Handler


@contextmanager
def serving(repositories: Path, certificate: tuple[Path, Path] | None) -> Iterator[Server]:
    """Serve until the block ends; without a certificate in plain http."""
    made = Server(repositories, scheme="http" if certificate is None else "https")
    running = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _handler(made))
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*certificate)
        running.socket = context.wrap_socket(running.socket, server_side=True)
    made.port = running.server_address[1]
    threading.Thread(target=running.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield made
    finally:
        running.shutdown()
        running.server_close()
