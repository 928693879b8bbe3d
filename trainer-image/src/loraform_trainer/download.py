"""Downloads over https into a file: size-capped, address-checked on every hop, digest-verified."""

from __future__ import annotations

import hashlib
import http.client
import socket
import ssl
from pathlib import Path
from urllib.parse import urljoin, urlsplit

from typing_extensions import override

from loraform_trainer.addresses import check_url, resolve
from loraform_trainer.errors import DatasetInvalidError, InvalidConfigError, MissingReferenceError, TransientError
from loraform_trainer.files import CHUNK

MAX_BYTES = 2 << 30
MAX_REDIRECTS = 5
TIMEOUT_SECONDS = 60.0


class _Connection(http.client.HTTPSConnection):
    """Connects to the address that was checked, so that a second resolution cannot lead elsewhere."""

    def __init__(self, host: str, port: int, address: str, context: ssl.SSLContext) -> None:
        super().__init__(host, port, timeout=TIMEOUT_SECONDS, context=context)
        self._address = address
        self._tls = context

    @override
    def connect(self) -> None:
        plain = socket.create_connection((self._address, self.port), self.timeout)
        self.sock = self._tls.wrap_socket(plain, server_hostname=self.host)


def download(
    url: str, target: Path, *, sha256: str, ca_file: Path | None, field: str, max_bytes: int = MAX_BYTES
) -> None:
    """Fetch `url` into `target`; `field` names the user's field in messages.

    Raises InvalidConfigError (URL, address, certificate), MissingReferenceError (4xx), TransientError (network, 5xx)
    and DatasetInvalidError (size, digest).
    """
    context = ssl.create_default_context(cafile=None if ca_file is None else str(ca_file))
    where = url
    for _ in range(MAX_REDIRECTS + 1):
        host, port = check_url(where, field)
        connection = _Connection(host, port, resolve(host, port, field), context)
        try:
            response = _get(connection, where, field)
            if response.status in (301, 302, 303, 307, 308):
                where = urljoin(where, response.getheader("Location") or "")
                continue
            _check_status(response.status, where, field)
            found = _save(response, target, max_bytes, field)
        except (OSError, http.client.HTTPException) as error:
            raise TransientError(f"{field}: {where} was not read: {error}") from error
        finally:
            connection.close()
        if found != sha256:
            raise DatasetInvalidError(f"{field}: {url} has sha256 {found}, but the source says {sha256}")
        return
    raise InvalidConfigError(f"{field}: {url} redirects more than {MAX_REDIRECTS} times")


def _get(connection: _Connection, url: str, field: str) -> http.client.HTTPResponse:
    parts = urlsplit(url)
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    try:
        connection.request("GET", path, headers={"User-Agent": "loraform", "Accept-Encoding": "identity"})
        return connection.getresponse()
    except ssl.SSLCertVerificationError as error:
        raise InvalidConfigError(
            f"{field}: the certificate of {connection.host} is not trusted ({error.verify_message}); "
            "name a ConfigMap with its CA in `caConfigMapRef`"
        ) from error


def _check_status(status: int, url: str, field: str) -> None:
    if status == http.HTTPStatus.OK:
        return
    message = f"{field}: {url} answered {status} {http.client.responses.get(status, '')}".rstrip()
    temporary = status >= 500 or status in (http.HTTPStatus.REQUEST_TIMEOUT, http.HTTPStatus.TOO_MANY_REQUESTS)
    raise TransientError(message) if temporary else MissingReferenceError(message)


def _save(response: http.client.HTTPResponse, target: Path, max_bytes: int, field: str) -> str:
    digest, size = hashlib.sha256(), 0
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.open("wb") as out:
        while chunk := response.read(CHUNK):
            size += len(chunk)
            if size > max_bytes:
                raise DatasetInvalidError(f"{field}: the file is larger than {max_bytes} bytes")
            digest.update(chunk)
            out.write(chunk)
    return digest.hexdigest()
