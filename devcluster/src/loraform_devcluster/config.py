"""Configuration files of the cluster's processes, as text; addresses and names of the cluster."""

from __future__ import annotations

import json
from pathlib import Path

import yaml

from loraform_devcluster.credentials import NODE_NAME

NODE_ADDRESS = "198.51.100.1"
"""The node's own address (TEST-NET-2, so nobody's), on a bridge device of ours: pods reach host processes by it."""
NODE_DEVICE = "loraform0"
SERVER = f"https://{NODE_ADDRESS}:6443"
SERVICE_CIDR = "10.96.0.0/16"
POD_CIDR = "10.88.0.0/24"
DNS_SERVICE = "10.96.0.10"
DNS_PORT = 10053
"""CoreDNS runs on the host beside whatever serves port 53 there; the kube-dns Service maps the port."""
REGISTRY = "127.0.0.1:5000"
PAUSE_IMAGE = "localhost/pause:1"
NFT_TABLE = "loraform_devcluster"


def containerd_config(root: Path, runtime: Path, cni_bin: Path, config: Path) -> str:
    """Render containerd's config.toml: our pause image and CNI folders, no OOM scores that need CAP_SYS_RESOURCE."""
    return f"""version = 3
root = "{root}"
state = "{runtime}"
[grpc]
  address = "{runtime}/containerd.sock"
[ttrpc]
  address = "{runtime}/containerd.sock.ttrpc"
[plugins."io.containerd.cri.v1.images"]
  snapshotter = "overlayfs"
  discard_unpacked_layers = true
  [plugins."io.containerd.cri.v1.images".pinned_images]
    sandbox = "{PAUSE_IMAGE}"
  [plugins."io.containerd.cri.v1.images".registry]
    config_path = "{config}/registries"
[plugins."io.containerd.cri.v1.runtime"]
  restrict_oom_score_adj = true
  netns_mounts_under_state_dir = true
  [plugins."io.containerd.cri.v1.runtime".cni]
    bin_dirs = ["{cni_bin}"]
    conf_dir = "{config}/cni"
  [plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
    [plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc.options]
      SystemdCgroup = false
"""


def registry_hosts() -> str:
    """Render hosts.toml: the loopback registry speaks plain HTTP."""
    return f'server = "http://{REGISTRY}"\n[host."http://{REGISTRY}"]\n  capabilities = ["pull", "resolve"]\n'


def cni_conflist(state: Path) -> str:
    """Render the pod network: routed point-to-point links, so Services work without the kernel's br_netfilter."""
    ipam = {"type": "host-local", "subnet": POD_CIDR, "dataDir": str(state / "cni"), "routes": [{"dst": "0.0.0.0/0"}]}
    plugin = {"type": "ptp", "ipMasq": False, "ipam": ipam}
    return json.dumps({"cniVersion": "1.0.0", "name": "loraform", "plugins": [plugin]}, indent=2)


def kubelet_config(credentials: Path, socket: Path, resolv: Path) -> str:
    """Render the KubeletConfiguration for a node whose disk and cgroups belong to somebody else."""
    content = {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": NODE_ADDRESS,
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": str(credentials / "kubelet-ca.crt")},
        },
        "authorization": {"mode": "Webhook"},
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": "/",
        "failCgroupV1": False,
        "failSwapOn": False,
        "enforceNodeAllocatable": [],
        "containerRuntimeEndpoint": f"unix://{socket}",
        "clusterDNS": [DNS_SERVICE],
        "clusterDomain": "cluster.local",
        "resolvConf": str(resolv),
        "evictionHard": {"memory.available": "100Mi", "nodefs.available": "1%", "imagefs.available": "1%"},
        "imageGCHighThresholdPercent": 100,
        "imageGCLowThresholdPercent": 99,
        "makeIPTablesUtilChains": False,
        "serializeImagePulls": False,
        "syncFrequency": "10s",
        "nodeStatusUpdateFrequency": "4s",
    }
    return yaml.safe_dump(content, sort_keys=False)


def kube_proxy_config(kubeconfig: Path) -> str:
    """Render the KubeProxyConfiguration: nftables, on the node's address only."""
    content = {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": "nftables",
        "clientConnection": {"kubeconfig": str(kubeconfig)},
        "clusterCIDR": POD_CIDR,
        "hostnameOverride": NODE_NAME,
        "healthzBindAddress": "127.0.0.1:10256",
        "metricsBindAddress": "127.0.0.1:10249",
        "nodePortAddresses": [f"{NODE_ADDRESS}/32"],
        "conntrack": {"maxPerCore": 0},
    }
    return yaml.safe_dump(content, sort_keys=False)


def corefile(kubeconfig: Path, resolv: Path) -> str:
    """Render CoreDNS's Corefile: the cluster's names from the API, the rest from the host's resolvers if it has any."""
    forward = f"forward . {resolv}" if "nameserver" in resolv.read_text() else ""
    return f""".:{DNS_PORT} {{
    bind {NODE_ADDRESS}
    errors
    health 127.0.0.1:10054
    ready 127.0.0.1:10055
    kubernetes cluster.local in-addr.arpa ip6.arpa {{
        kubeconfig {kubeconfig}
        pods insecure
        fallthrough in-addr.arpa ip6.arpa
    }}
    {forward}
    cache 30
}}
"""


def registry_config(storage: Path) -> str:
    """Render the loopback registry's configuration."""
    content = {
        "version": 0.1,
        "log": {"level": "warn"},
        "storage": {"filesystem": {"rootdirectory": str(storage)}, "delete": {"enabled": True}},
        "http": {"addr": REGISTRY},
    }
    return yaml.safe_dump(content, sort_keys=False)


def nft_table() -> str:
    """Render our packet-filter table: what pods send beyond the machine leaves under the host's address."""
    return f"""table ip {NFT_TABLE}
delete table ip {NFT_TABLE}
table ip {NFT_TABLE} {{
    chain postrouting {{
        type nat hook postrouting priority srcnat + 1; policy accept;
        ip saddr {POD_CIDR} ip daddr != {POD_CIDR} masquerade
    }}
}}
"""
