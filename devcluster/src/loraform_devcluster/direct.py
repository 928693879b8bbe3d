"""The direct driver: starts the cluster on this machine step by step, shows its state, and removes it."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from loraform_devcluster import addons, components, config, credentials, files, network, pause
from loraform_devcluster.binaries import HOST_PACKAGES, Binaries, install
from loraform_devcluster.buildah import free_gigabytes
from loraform_devcluster.layout import Layout
from loraform_devcluster.processes import Daemon, Processes, command_lines, end
from loraform_devcluster.progress import Progress
from loraform_devcluster.shell import DevclusterError, run, succeeds

RESOLV = Path("/etc/resolv.conf")
ORDER = (
    "etcd",
    "registry",
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
    "containerd",
    "kubelet",
    "kube-proxy",
    "coredns",
    "provisioner",
)
"""Every process, in the order of starting; `down` goes backwards."""
BUILD_GIGABYTES, RUN_GIGABYTES = 12, 2


class DirectCluster:
    """The cluster of one state folder. Every step looks first and does only what is missing."""

    def __init__(self, layout: Layout, progress: Progress) -> None:
        self._layout = layout
        self._progress = progress
        self._binaries = Binaries(layout, progress)
        self._processes = Processes(layout)

    def up(self) -> None:
        """Bring the cluster up, or complete one that is partly up; raises DevclusterError saying what failed."""
        require_root()
        building = self._binaries.missing_builds()
        require_space(self._layout.cache, BUILD_GIGABYTES if building else RUN_GIGABYTES)
        if building:
            self._progress.note(
                f"first run on this machine: {len(building)} programs are built once (about 10 minutes on 2 cores)"
            )
        install(HOST_PACKAGES, self._progress)
        self._layout.state.mkdir(parents=True, exist_ok=True)
        with self._progress.step("network device and addresses"):
            network.ensure_network(self._layout.state)
        self._control_plane()
        self._node()
        self._progress.note(f"the cluster is up; export KUBECONFIG={self._layout.kubeconfig}")

    def _control_plane(self) -> None:
        layout, binaries = self._layout, self._binaries
        credentials.ensure_credentials(layout)
        self._ensure("etcd", lambda: components.etcd(layout, binaries))
        self.ensure_registry()
        self._ensure("kube-apiserver", lambda: components.api_server(layout, binaries))
        credentials.write_kubeconfigs(layout, config.SERVER, components.api_certificate(layout))
        self._ensure("kube-controller-manager", lambda: components.controller_manager(layout, binaries))
        self._ensure("kube-scheduler", lambda: components.scheduler(layout, binaries))

    def _node(self) -> None:
        layout, binaries = self._layout, self._binaries
        self._write_config()
        self._ensure("containerd", lambda: components.containerd(layout, binaries))
        self._load_pause()
        self._ensure("kubelet", lambda: components.kubelet(layout, binaries))
        self._ensure("kube-proxy", lambda: components.kube_proxy(layout, binaries))
        with self._progress.step("cluster DNS service and StorageClass"):
            command = components.kubectl(
                layout, binaries, "apply", "--server-side", "--force-conflicts", "--filename=-"
            )
            run(command, stdin=addons.manifests())
        self._ensure("coredns", lambda: components.coredns(layout, binaries))
        self._ensure("provisioner", lambda: components.provisioner(layout))

    def ensure_registry(self) -> None:
        """Start the loopback registry unless it runs."""
        self._ensure("registry", lambda: components.registry(self._layout, self._binaries))

    def _ensure(self, name: str, make: Callable[[], Daemon]) -> None:
        daemon = make()  # may build the program, which is a step of its own
        if self._processes.running(name) is None:
            with self._progress.step(f"start {name}"):
                self._processes.ensure(daemon)
        else:
            self._processes.ensure(daemon)

    def _write_config(self) -> None:
        layout = self._layout
        cni_bin = self._binaries.path("ptp").parent
        texts = {
            "containerd.toml": config.containerd_config(layout.node_images, layout.runtime, cni_bin, layout.config),
            f"registries/{config.REGISTRY}/hosts.toml": config.registry_hosts(),
            "cni/10-loraform.conflist": config.cni_conflist(layout.state),
            "kubelet.yaml": config.kubelet_config(layout.credentials, layout.containerd_socket, RESOLV),
            "kube-proxy.yaml": config.kube_proxy_config(credentials.component_kubeconfig(layout, "system:kube-proxy")),
            "Corefile": config.corefile(credentials.component_kubeconfig(layout, "loraform:coredns"), RESOLV),
        }
        for name, text in texts.items():
            files.write(layout.config / name, text)

    def _load_pause(self) -> None:
        ctr = components.ctr(self._layout, self._binaries)
        if config.PAUSE_IMAGE in run([*ctr, "images", "list", "--quiet"]).split():
            return
        with self._progress.step("load the pause image"):
            archive = self._layout.state / "pause.tar"
            pause.write_archive(self._binaries.path("pause"), config.PAUSE_IMAGE, archive)
            run([*ctr, "images", "import", archive])
            archive.unlink()

    def pull(self, references: Mapping[str, str]) -> None:
        """Make images of the loopback registry present on the node, so that their pods start at once."""
        ctr = components.ctr(self._layout, self._binaries)
        present = set(run([*ctr, "images", "list", "--quiet"]).split())
        for name, reference in references.items():
            if reference not in present:
                with self._progress.step(f"pull image {name} to the node"):
                    run([*ctr, "images", "pull", "--hosts-dir", self._layout.config / "registries", reference])

    def node_running(self) -> bool:
        """Return whether containerd runs, so that images can be put on the node."""
        return self._processes.running("containerd") is not None

    def status(self) -> bool:
        """Print every process with its pid, and the node; return whether all of it is up."""
        alive = {name: self._processes.running(name) for name in ORDER}
        for name, pid in alive.items():
            print(f"{name:<24} {'running, pid ' + str(pid) if pid else 'stopped'}")
        if alive["kube-apiserver"]:
            print(run(components.kubectl(self._layout, self._binaries, "get", "nodes", "--output=wide")).rstrip())
            print(f"kubeconfig: {self._layout.kubeconfig}")
        return all(alive.values())

    def kubeconfig(self) -> str:
        """Return the administrator's kubeconfig; raises DevclusterError while there is none."""
        if not self._layout.kubeconfig.exists():
            raise DevclusterError("there is no cluster yet; run `loraform-devcluster up`")
        return self._layout.kubeconfig.read_text()

    def down(self) -> None:
        """Remove processes, mounts, devices and state; the caches stay. Works as well on what a killed run left."""
        require_root()
        if not self._layout.state.exists():
            self._progress.note("there is no cluster to remove")
            return
        with self._progress.step("stop kubelet and pods"):
            for name in ("provisioner", "kubelet"):
                self._processes.stop(name)
            self._remove_pods()
        with self._progress.step("stop the other processes"):
            for name in reversed(ORDER):
                self._processes.stop(name)
            for pid in self._left_over():
                end(pid)
        with self._progress.step("remove mounts, devices and state"):
            network.unmount_below([self._layout.state, self._layout.runtime, self._layout.node_images])
            network.remove_network(self._layout.state)
            remove_cgroups()
            for folder in (self._layout.runtime, self._layout.state):
                shutil.rmtree(folder, ignore_errors=True)

    def _remove_pods(self) -> None:
        """Remove all containers through containerd, started again for it when it is gone."""
        if not (self._layout.config / "containerd.toml").exists():
            return
        self._processes.ensure(components.containerd(self._layout, self._binaries))
        ctr = components.ctr(self._layout, self._binaries)
        removals = (("tasks", ["delete", "--force"]), ("containers", ["delete"]), ("sandboxes", ["remove", "--force"]))
        for kind, remove in removals:
            table = run([*ctr, kind, "list"]).splitlines()[1:]
            names = [line.split()[0] for line in table if line.strip()]
            if names:
                succeeds([*ctr, kind, *remove, *names])

    def _left_over(self) -> list[int]:
        """Return the pids of shims of our containerd; a killed containerd does not end them."""
        socket = str(self._layout.containerd_socket)
        return [pid for pid, command in command_lines().items() if socket in command and "shim" in command[0]]


def require_root() -> None:
    """Raise DevclusterError unless this is root on Linux."""
    if sys.platform != "linux" or os.geteuid() != 0:
        raise DevclusterError(
            "the direct driver starts Kubernetes itself and needs root on Linux; "
            "run it with sudo, or name a cluster of yours with --context"
        )


def require_space(folder: Path, gigabytes: int) -> None:
    """Raise DevclusterError when the disk of `folder` has less free than is needed."""
    free = free_gigabytes(folder)
    if free < gigabytes:
        raise DevclusterError(
            f"{folder} has {free:.0f} GB free and {gigabytes} GB are needed: free some, or name another --cache"
        )


def remove_cgroups() -> None:
    """Remove the empty control groups that the kubelet made."""
    for root in Path("/sys/fs/cgroup").glob("**/kubepods"):
        for folder in sorted((p for p in root.rglob("*") if p.is_dir()), key=lambda p: len(p.parts), reverse=True):
            _remove_empty(folder)
        _remove_empty(root)


def _remove_empty(folder: Path) -> None:
    with contextlib.suppress(OSError):  # in use by a process that is ending; an empty group costs nothing
        folder.rmdir()
