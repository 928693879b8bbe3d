"""Asks a registry what it holds, without downloading it."""

from __future__ import annotations

import urllib.error
import urllib.request
from dataclasses import dataclass

from loraform_devcluster.shell import DevclusterError

ACCEPT = "application/vnd.oci.image.manifest.v1+json, application/vnd.docker.distribution.manifest.v2+json"


@dataclass(frozen=True)
class Registry:
    """One registry by host and port."""

    host: str

    @property
    def plain(self) -> bool:
        """Whether it speaks HTTP: loopback registries do, as container tools assume."""
        return self.host.partition(":")[0] in {"127.0.0.1", "localhost"}

    def tag(self, name: str, key: str) -> str:
        """Return the reference under which an image is pushed."""
        return f"{self.host}/loraform/{name}:{key}"

    def pinned(self, name: str, key: str) -> str | None:
        """Return the pinned reference of a pushed image, None when absent; DevclusterError if nobody answers."""
        url = f"{'http' if self.plain else 'https'}://{self.host}/v2/loraform/{name}/manifests/{key}"
        request = urllib.request.Request(url, method="HEAD", headers={"Accept": ACCEPT})  # noqa: S310
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310
                digest = answer.headers.get("Docker-Content-Digest")
        except urllib.error.HTTPError:  # absent, or only readable after a login: then it is pushed again
            return None
        except OSError as error:
            raise DevclusterError(f"the registry {self.host} does not answer: {error}") from error
        return f"{self.host}/loraform/{name}@{digest}" if digest else None
