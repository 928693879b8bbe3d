"""Folders: the checkout, the cache that outlives a cluster, and the state of one cluster."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[3]
"""Root of the repository this package was started from."""

DEFAULT_STATE = Path("/var/lib/loraform-devcluster")


def default_cache() -> Path:
    """Return `${XDG_CACHE_HOME:-~/.cache}/loraform`: binaries and images, shared by all clones."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "loraform"


@dataclass(frozen=True)
class Layout:
    """The folders of one devcluster."""

    checkout: Path
    cache: Path
    state: Path

    @property
    def go_modules(self) -> Path:
        """The committed go.mod and go.sum files that pin what is built."""
        return self.checkout / "devcluster" / "go"

    @property
    def logs(self) -> Path:
        return self.state / "logs"

    @property
    def pids(self) -> Path:
        return self.state / "pids"

    @property
    def config(self) -> Path:
        return self.state / "config"

    @property
    def credentials(self) -> Path:
        return self.state / "credentials"

    @property
    def kubeconfig(self) -> Path:
        return self.state / "kubeconfig"

    @property
    def images(self) -> Path:
        """Machine-readable result of load-images: image name to reference with digest."""
        return self.state / "images.json"

    @property
    def volumes(self) -> Path:
        """Contents of the PersistentVolumes."""
        return self.state / "volumes"

    @property
    def node_images(self) -> Path:
        """containerd's content and snapshots; a cache, since every byte of it can be pulled again."""
        return self.cache / "node"

    @property
    def runtime(self) -> Path:
        """containerd's sockets and mounts, gone after a reboot."""
        return Path("/run/loraform-devcluster")

    @property
    def containerd_socket(self) -> Path:
        return self.runtime / "containerd.sock"
