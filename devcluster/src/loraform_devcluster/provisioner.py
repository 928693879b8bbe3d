"""Provisions claims of our StorageClass as folders on this machine: PersistentVolumes with node affinity.

Run as `python -m loraform_devcluster.provisioner STATE`, one process per cluster.
"""

from __future__ import annotations

import shutil
import sys
import time
from pathlib import Path
from typing import Any

from loraform_devcluster.addons import PROVISIONER, STORAGE_CLASS
from loraform_devcluster.api import Api, ApiError
from loraform_devcluster.components import api_client
from loraform_devcluster.layout import CHECKOUT, Layout, default_cache

INTERVAL_SECONDS = 1.0
VOLUMES = "/api/v1/persistentvolumes"
PROVISIONED_BY = "pv.kubernetes.io/provisioned-by"
MODES = {"ReadWriteOnce", "ReadWriteOncePod", "ReadWriteMany"}
"""The cluster has one node, on which any number of pods may share a folder."""
SELECTED_NODE = "volume.kubernetes.io/selected-node"


def wanted_volume(claim: dict[str, Any], folder: Path) -> dict[str, Any] | None:
    """Return the PersistentVolume that a claim waits for, None when it is not ours or not due yet."""
    spec, meta = claim["spec"], claim["metadata"]
    node = meta.get("annotations", {}).get(SELECTED_NODE)
    due = node and not spec.get("volumeName") and claim.get("status", {}).get("phase") == "Pending"
    if spec.get("storageClassName") != STORAGE_CLASS or not due or "deletionTimestamp" in meta:
        return None
    if not MODES.issuperset(spec["accessModes"]):
        return None
    name = f"pvc-{meta['uid']}"
    hostname = {"key": "kubernetes.io/hostname", "operator": "In", "values": [node]}
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": name, "annotations": {PROVISIONED_BY: PROVISIONER}},
        "spec": {
            "capacity": {"storage": spec["resources"]["requests"]["storage"]},
            "accessModes": spec["accessModes"],
            "volumeMode": "Filesystem",
            "storageClassName": STORAGE_CLASS,
            "persistentVolumeReclaimPolicy": "Delete",
            "claimRef": {
                "apiVersion": "v1",
                "kind": "PersistentVolumeClaim",
                **{key: meta[key] for key in ("namespace", "name", "uid")},
            },
            "local": {"path": str(folder / name)},
            "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [hostname]}]}},
        },
    }


def to_delete(volume: dict[str, Any]) -> bool:
    """Return whether a volume of ours has lost its claim and is to go with its contents."""
    ours = volume["metadata"].get("annotations", {}).get(PROVISIONED_BY) == PROVISIONER
    spec = volume["spec"]
    released = volume.get("status", {}).get("phase") == "Released"
    return bool(ours and released and spec["persistentVolumeReclaimPolicy"] == "Delete")


def reconcile(api: Api, folder: Path) -> None:
    """Make the volumes that claims wait for, and delete those whose claim is gone."""
    for claim in api.get("/api/v1/persistentvolumeclaims")["items"]:
        volume = wanted_volume(claim, folder)
        if volume is None:
            continue
        path = Path(volume["spec"]["local"]["path"])
        path.mkdir(parents=True, exist_ok=True)
        path.chmod(0o777)  # any pod's user may write: on real clusters the volume's file system allows it by fsGroup
        try:
            api.request("POST", VOLUMES, volume)
            print(f"made {path.name} for {claim['metadata']['namespace']}/{claim['metadata']['name']}", flush=True)
        except ApiError as error:
            if error.status != 409:  # made a moment ago, the claim is not bound yet
                raise
    for volume in api.get(VOLUMES)["items"]:
        if to_delete(volume):
            shutil.rmtree(volume["spec"]["local"]["path"], ignore_errors=True)
            api.request("DELETE", f"{VOLUMES}/{volume['metadata']['name']}")
            print(f"deleted {volume['metadata']['name']}", flush=True)


def main() -> None:
    """Reconcile for ever; an API server that is away or refuses is asked again."""
    layout = Layout(CHECKOUT, default_cache(), Path(sys.argv[1]))
    while True:
        try:
            reconcile(api_client(layout), layout.volumes)
        except (ApiError, OSError) as error:
            print(f"will try again: {error}", flush=True)
        time.sleep(INTERVAL_SECONDS)


if __name__ == "__main__":
    main()
