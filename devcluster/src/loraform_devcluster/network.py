"""Makes and removes what the cluster needs in the kernel: a bridge, packet-filter tables, mounts."""

from __future__ import annotations

from pathlib import Path

from loraform_devcluster import config
from loraform_devcluster.shell import DevclusterError, run, succeeds

FORWARDING = Path("/proc/sys/net/ipv4/ip_forward")


def ensure_network(state: Path) -> None:
    """Make the node's device and address, allow forwarding, and load our packet-filter table."""
    device = config.NODE_DEVICE
    if not device_exists():
        run(["ip", "link", "add", device, "type", "bridge"])
    run(["ip", "address", "replace", f"{config.NODE_ADDRESS}/32", "dev", device])
    run(["ip", "link", "set", device, "up"])
    before = state / "ip_forward.before"
    if not before.exists():
        before.write_text(FORWARDING.read_text())
    FORWARDING.write_text("1")
    run(["nft", "-f", "-"], stdin=config.nft_table())


def remove_network(state: Path) -> None:
    """Remove all that ensure_network and kube-proxy made; links to pods go with the pods' network namespaces."""
    if device_exists():
        run(["ip", "link", "delete", config.NODE_DEVICE])
    for family, table in (("ip", config.NFT_TABLE), ("ip", "kube-proxy"), ("ip6", "kube-proxy")):
        succeeds(["nft", "delete", "table", family, table])
    before = state / "ip_forward.before"
    if before.exists():
        FORWARDING.write_text(before.read_text())


def device_exists() -> bool:
    """Return whether the node's device is there."""
    return succeeds(["ip", "link", "show", config.NODE_DEVICE])


def unmount_below(folders: list[Path]) -> None:
    """Unmount everything mounted in `folders`, deepest first; raises DevclusterError when something stays."""
    prefixes = tuple(f"{folder}/" for folder in folders)
    for attempt in range(3):
        targets = sorted((point for point in mount_points() if point.startswith(prefixes)), key=len, reverse=True)
        if not targets:
            return
        for target in targets:
            succeeds(["umount", target] if attempt == 0 else ["umount", "--lazy", target])
    left = [point for point in mount_points() if point.startswith(prefixes)]
    if left:
        raise DevclusterError(f"still mounted: {', '.join(left[:5])}")


def mount_points() -> list[str]:
    """Return every mount point of this machine."""
    return [line.split()[1].replace("\\040", " ") for line in Path("/proc/mounts").read_text().splitlines()]
