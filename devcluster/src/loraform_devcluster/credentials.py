"""Credentials of the API server: static tokens for its clients, keys for service accounts and the kubelet."""

from __future__ import annotations

import base64
import secrets
from pathlib import Path

import yaml

from loraform_devcluster import files
from loraform_devcluster.layout import Layout
from loraform_devcluster.shell import run

NODE_NAME = "loraform-devcluster"

USERS: dict[str, tuple[str, ...]] = {
    "admin": ("system:masters",),
    "system:kube-controller-manager": (),
    "system:kube-scheduler": (),
    "system:kube-proxy": (),
    f"system:node:{NODE_NAME}": ("system:nodes",),
    "loraform:coredns": (),
}
"""User name to groups; RBAC's bootstrap roles know all but the last, which addons.py grants."""


def ensure_credentials(layout: Layout) -> None:
    """Write the token file, the service-account key pair and the kubelet's client CA, once per cluster."""
    folder = layout.credentials
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    tokens = folder / "tokens.csv"
    if not tokens.exists():
        rows = [f'{secrets.token_hex(16)},{user},{user},"{",".join(groups)}"' for user, groups in USERS.items()]
        files.write(tokens, "\n".join(rows) + "\n", mode=0o600)
    if not (folder / "service-account.pub").exists():
        run(["openssl", "genrsa", "-out", folder / "service-account.key", "2048"])
        run(
            ["openssl", "rsa", "-in", folder / "service-account.key", "-pubout", "-out", folder / "service-account.pub"]
        )
    if not (folder / "kubelet-client.crt").exists():
        _kubelet_client(folder)


def _kubelet_client(folder: Path) -> None:
    """Make the CA that the kubelet trusts and the API server's client certificate for logs, exec and port-forward."""
    ca_key, ca = folder / "kubelet-ca.key", folder / "kubelet-ca.crt"
    key, request = folder / "kubelet-client.key", folder / "kubelet-client.csr"
    new: list[str | Path] = ["openssl", "req", "-newkey", "rsa:2048", "-nodes"]
    run([*new, "-x509", "-days", "3650", "-subj", "/CN=devcluster-kubelet-ca", "-keyout", ca_key, "-out", ca])
    run([*new, "-subj", "/O=system:masters/CN=kube-apiserver", "-keyout", key, "-out", request])
    sign: list[str | Path] = ["openssl", "x509", "-req", "-days", "3650", "-CA", ca, "-CAkey", ca_key]
    run([*sign, "-CAcreateserial", "-in", request, "-out", folder / "kubelet-client.crt"])


def token(layout: Layout, user: str) -> str:
    """Return the bearer token of a user of USERS."""
    rows = (line.split(",") for line in (layout.credentials / "tokens.csv").read_text().splitlines())
    return next(row[0] for row in rows if row[1] == user)


def write_kubeconfigs(layout: Layout, server: str, ca: Path) -> None:
    """Write a kubeconfig for each user; the administrator's is the one for people and stands in the state folder."""
    for user in USERS:
        path = layout.kubeconfig if user == "admin" else component_kubeconfig(layout, user)
        files.write(path, kubeconfig(server, ca.read_text(), user, token(layout, user)), mode=0o600)


def component_kubeconfig(layout: Layout, user: str) -> Path:
    """Return where the kubeconfig of one of the cluster's own parts lies."""
    return layout.credentials / f"{user.replace(':', '-')}.kubeconfig"


def kubeconfig(server: str, ca: str, user: str, bearer: str) -> str:
    """Render a kubeconfig; the CA's text is inside, so the file can be copied anywhere."""
    name = "loraform-devcluster"
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": name, "cluster": {"server": server, "certificate-authority-data": _b64(ca)}}],
        "users": [{"name": user, "user": {"token": bearer}}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": user}}],
        "current-context": name,
    }
    return yaml.safe_dump(content, sort_keys=False)


def _b64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()
