"""A client of the API server for the administrator, by the standard library alone."""

from __future__ import annotations

import json
import ssl
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any


class ApiError(Exception):
    """The API server refused a request; `status` is the HTTP status."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"HTTP {status}: {message}")
        self.status = status


class Api:
    """A JSON client for one API server."""

    def __init__(self, server: str, ca: Path, token: str) -> None:
        self._server = server
        self._tls = ssl.create_default_context(cafile=str(ca))
        self._token = token

    def request(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        """Send one request and return the decoded answer (text when it is not JSON).

        Raises ApiError when the server refuses, OSError when it cannot be reached.
        """
        request = urllib.request.Request(  # noqa: S310  the server's scheme is always https
            self._server + path,
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": f"Bearer {self._token}", "Content-Type": "application/json"},
        )
        try:
            with urllib.request.urlopen(request, timeout=10, context=self._tls) as answer:  # noqa: S310
                text = answer.read().decode()
        except urllib.error.HTTPError as refusal:
            raise ApiError(refusal.code, refusal.read().decode(errors="replace")[:500]) from refusal
        return json.loads(text) if text.startswith("{") else text

    def get(self, path: str) -> Any:
        """GET a path."""
        return self.request("GET", path)

    def healthy(self) -> bool:
        """Return whether the server says that it is ready."""
        try:
            return bool(self.get("/readyz") == "ok")
        except (ApiError, OSError):
            return False
