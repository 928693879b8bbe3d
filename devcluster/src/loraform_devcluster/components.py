"""The command line and the readiness check of every process of the cluster."""

from __future__ import annotations

import ssl
import sys
import urllib.request
from collections.abc import Callable
from pathlib import Path

from loraform_devcluster import config, files
from loraform_devcluster.api import Api
from loraform_devcluster.binaries import Binaries
from loraform_devcluster.credentials import NODE_NAME, component_kubeconfig, token
from loraform_devcluster.layout import Layout
from loraform_devcluster.processes import Daemon
from loraform_devcluster.shell import succeeds

Command = list[str | Path]
ETCD = "http://127.0.0.1:12379"
FIRST = ("nice", "-n", "-10")
"""The API server and its store run before pods: training on every core must not make clients time out."""


def serves(url: str) -> Callable[[], bool]:
    """Return a check that a loopback address answers 200; who serves there is ours, so its certificate says nothing."""
    unverified = ssl._create_unverified_context()  # noqa: S323

    def check() -> bool:
        try:
            with urllib.request.urlopen(url, timeout=2, context=unverified) as answer:  # noqa: S310
                return bool(answer.status == 200)
        except OSError:
            return False

    return check


def api_client(layout: Layout) -> Api:
    """Return an administrator's client; the API server must have written its certificate."""
    return Api(config.SERVER, api_certificate(layout), token(layout, "admin"))


def api_certificate(layout: Layout) -> Path:
    """Return the API server's self-signed certificate, which is also the cluster's CA for pods."""
    return layout.credentials / "apiserver" / "apiserver.crt"


def etcd(layout: Layout, binaries: Binaries) -> Daemon:
    peer = "http://127.0.0.1:12380"
    command: Command = [
        *FIRST,
        binaries.path("etcd"),
        f"--data-dir={layout.state / 'etcd'}",
        f"--listen-client-urls={ETCD}",
        f"--advertise-client-urls={ETCD}",
        f"--listen-peer-urls={peer}",
        f"--initial-advertise-peer-urls={peer}",
        f"--initial-cluster=default={peer}",
        "--unsafe-no-fsync",  # a development cluster may lose its last second, and disks are slow
        "--log-level=warn",
    ]
    return Daemon("etcd", command, serves(f"{ETCD}/health"))


def registry(layout: Layout, binaries: Binaries) -> Daemon:
    """The loopback registry; it serves images also while no cluster is up."""
    path = layout.config / "registry.yaml"
    files.write(path, config.registry_config(layout.cache / "registry"))
    command: Command = [binaries.path("docker-registry"), "serve", path]
    return Daemon("registry", command, serves(f"http://{config.REGISTRY}/v2/"))


def api_server(layout: Layout, binaries: Binaries) -> Daemon:
    keys = layout.credentials
    issuer = "https://kubernetes.default.svc.cluster.local"
    command: Command = [
        *FIRST,
        binaries.path("kube-apiserver"),
        f"--etcd-servers={ETCD}",
        f"--bind-address={config.NODE_ADDRESS}",
        f"--advertise-address={config.NODE_ADDRESS}",
        f"--cert-dir={api_certificate(layout).parent}",
        f"--service-cluster-ip-range={config.SERVICE_CIDR}",
        f"--token-auth-file={keys / 'tokens.csv'}",
        f"--service-account-issuer={issuer}",
        f"--service-account-key-file={keys / 'service-account.pub'}",
        f"--service-account-signing-key-file={keys / 'service-account.key'}",
        f"--kubelet-client-certificate={keys / 'kubelet-client.crt'}",
        f"--kubelet-client-key={keys / 'kubelet-client.key'}",
        "--kubelet-preferred-address-types=InternalIP",
        "--authorization-mode=Node,RBAC",
        "--enable-admission-plugins=NodeRestriction",
        "--allow-privileged=true",
        "--endpoint-reconciler-type=lease",
        "--event-ttl=2h",
    ]

    def ready() -> bool:
        return api_certificate(layout).exists() and api_client(layout).healthy()

    return Daemon("kube-apiserver", command, ready, 120)


def controller_manager(layout: Layout, binaries: Binaries) -> Daemon:
    own = component_kubeconfig(layout, "system:kube-controller-manager")
    command: Command = [
        binaries.path("kube-controller-manager"),
        f"--kubeconfig={own}",
        f"--authentication-kubeconfig={own}",
        f"--authorization-kubeconfig={own}",
        f"--root-ca-file={api_certificate(layout)}",
        f"--service-account-private-key-file={layout.credentials / 'service-account.key'}",
        "--use-service-account-credentials=true",
        "--leader-elect=false",
        "--bind-address=127.0.0.1",
    ]

    def ready() -> bool:  # its first fruit: the default service account, without which no pod is admitted
        return succeeds(kubectl(layout, binaries, "get", "serviceaccount", "default", "--namespace=default"))

    return Daemon("kube-controller-manager", command, ready)


def scheduler(layout: Layout, binaries: Binaries) -> Daemon:
    own = component_kubeconfig(layout, "system:kube-scheduler")
    command: Command = [
        binaries.path("kube-scheduler"),
        f"--kubeconfig={own}",
        f"--authentication-kubeconfig={own}",
        f"--authorization-kubeconfig={own}",
        "--leader-elect=false",
        "--bind-address=127.0.0.1",
    ]
    return Daemon("kube-scheduler", command, serves("https://127.0.0.1:10259/healthz"))


def containerd(layout: Layout, binaries: Binaries) -> Daemon:
    names = ("containerd", "containerd-shim-runc-v2", "runc")
    search = [str(binaries.path(name).parent) for name in names]
    command: Command = [binaries.path("containerd"), "--config", layout.config / "containerd.toml", "--log-level=warn"]
    path = ":".join([*search, "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"])

    def ready() -> bool:
        return succeeds([*ctr(layout, binaries), "version"])

    return Daemon("containerd", command, ready, env={"PATH": path})


def kubelet(layout: Layout, binaries: Binaries) -> Daemon:
    command: Command = [
        binaries.path("kubelet"),
        f"--config={layout.config / 'kubelet.yaml'}",
        f"--kubeconfig={component_kubeconfig(layout, f'system:node:{NODE_NAME}')}",
        f"--root-dir={layout.state / 'kubelet'}",
        f"--cert-dir={layout.credentials / 'kubelet'}",
        f"--hostname-override={NODE_NAME}",
        f"--node-ip={config.NODE_ADDRESS}",
        "--v=1",
    ]

    def ready() -> bool:
        node = kubectl(layout, binaries, "wait", "node", NODE_NAME, "--for=condition=Ready", "--timeout=5s")
        return succeeds(node)

    return Daemon("kubelet", command, ready, 120)


def kube_proxy(layout: Layout, binaries: Binaries) -> Daemon:
    command: Command = [binaries.path("kube-proxy"), f"--config={layout.config / 'kube-proxy.yaml'}"]
    return Daemon("kube-proxy", command, serves("http://127.0.0.1:10256/healthz"))


def coredns(layout: Layout, binaries: Binaries) -> Daemon:
    command: Command = [binaries.path("coredns"), "-conf", layout.config / "Corefile"]
    return Daemon("coredns", command, serves("http://127.0.0.1:10055/ready"))


def provisioner(layout: Layout) -> Daemon:
    command: Command = [sys.executable, "-m", "loraform_devcluster.provisioner", layout.state]
    source = str(Path(__file__).resolve().parents[1])
    return Daemon("provisioner", command, lambda: True, env={"PYTHONPATH": source})


def kubectl(layout: Layout, binaries: Binaries, *arguments: str) -> list[str | Path]:
    """Return a kubectl command line for the administrator."""
    return [binaries.path("kubectl"), f"--kubeconfig={layout.kubeconfig}", *arguments]


def ctr(layout: Layout, binaries: Binaries) -> list[str | Path]:
    """Return the start of a ctr command line for the kubelet's namespace of containerd."""
    return [binaries.path("ctr"), "--address", layout.containerd_socket, "--namespace", "k8s.io"]
