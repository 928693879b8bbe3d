"""The endpoint's certificate, loaded again when its files change: connections that begin then get the new one."""

from __future__ import annotations

import asyncio
import logging
import ssl
from pathlib import Path

from loraform_api import names

LOG = logging.getLogger(__name__)
LOOK_SECONDS = 1.0
"""Seconds between two looks at the files."""


class Certificate:
    """A certificate with its key in a folder that the kubelet swaps. Without a usable pair every handshake fails."""

    def __init__(self, folder: Path) -> None:
        self.context = _server_context()
        self._folder = folder
        self._loaded: object = None
        self._tried: object = None
        self._error = ""
        self.refresh()

    @property
    def problem(self) -> str:
        """Why no handshake succeeds; empty once a pair was loaded."""
        return self._error if self._loaded is None else ""

    async def follow(self, seconds: float = LOOK_SECONDS) -> None:
        """Look at the files until cancelled."""
        while True:
            await asyncio.sleep(seconds)
            self.refresh()

    def refresh(self) -> None:
        """Load the pair if it changed; an unusable one leaves the last one in force."""
        try:
            # the files themselves: a swap between the two loads cannot pair a certificate with another's key
            certificate, key = (
                (self._folder / name).resolve(strict=True) for name in (names.TLS_CERTIFICATE, names.TLS_KEY)
            )
            seen: object = [(path, path.stat().st_mtime_ns, path.stat().st_size) for path in (certificate, key)]
        except OSError as error:
            certificate, key, seen = self._folder, self._folder, error.errno
        if seen == self._tried:
            return
        self._tried = seen
        try:
            # on a context of its own first: a wrong pair would take the key from the one in use
            for context in (_server_context(), self.context):
                context.load_cert_chain(certificate, key, password="")
        except (OSError, ValueError) as error:  # ssl.SSLError among them; its text quotes no content
            reason = getattr(error, "reason", None) or "they cannot be read"
            self._error = (
                f"keys `{names.TLS_CERTIFICATE}` and `{names.TLS_KEY}` of the Secret in `spec.serving.tls.secretRef` "
                f"are no certificate with its unencrypted key in PEM form ({reason})"
            )
            LOG.error("%s%s", self._error, "; the last pair stays in force" if self._loaded else "")
        else:
            self._loaded = seen
            LOG.info("loaded the certificate")


def _server_context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context
