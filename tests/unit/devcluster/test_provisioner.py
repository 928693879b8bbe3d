from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from loraform_devcluster.addons import PROVISIONER, STORAGE_CLASS
from loraform_devcluster.provisioner import to_delete, wanted_volume

FOLDER = Path("/volumes")


def claim(**changes: Any) -> dict[str, Any]:
    annotations = {"volume.kubernetes.io/selected-node": "node-a"}
    return {
        "metadata": {"name": "data", "namespace": "team", "uid": "u1", "annotations": annotations},
        "spec": {
            "storageClassName": STORAGE_CLASS,
            "accessModes": ["ReadWriteOnce"],
            "resources": {"requests": {"storage": "1Gi"}},
        },
        "status": {"phase": "Pending"},
        **changes,
    }


def test_volume_is_bound_to_claim_and_node() -> None:
    volume = wanted_volume(claim(), FOLDER)
    assert volume is not None
    spec = volume["spec"]
    assert spec["local"] == {"path": "/volumes/pvc-u1"}
    assert (spec["claimRef"]["namespace"], spec["claimRef"]["uid"]) == ("team", "u1")
    expression = spec["nodeAffinity"]["required"]["nodeSelectorTerms"][0]["matchExpressions"][0]
    assert expression == {"key": "kubernetes.io/hostname", "operator": "In", "values": ["node-a"]}


@pytest.mark.parametrize(
    "changes",
    [
        {"metadata": {"name": "data", "namespace": "team", "uid": "u1"}},
        {"spec": {**claim()["spec"], "storageClassName": "other"}},
        {"spec": {**claim()["spec"], "volumeName": "pvc-u1"}},
        {"spec": {**claim()["spec"], "accessModes": ["ReadOnlyMany"]}},
        {"status": {"phase": "Bound"}},
        {"metadata": {**claim()["metadata"], "deletionTimestamp": "2026-01-01T00:00:00Z"}},
    ],
    ids=["no consumer yet", "other class", "has a volume", "read only", "bound", "going"],
)
def test_claims_that_wait_for_nothing_of_ours(changes: dict[str, Any]) -> None:
    assert wanted_volume(claim(**changes), FOLDER) is None


@pytest.mark.parametrize(
    ("provisioner", "phase", "policy", "expected"),
    [
        (PROVISIONER, "Released", "Delete", True),
        (PROVISIONER, "Bound", "Delete", False),
        (PROVISIONER, "Released", "Retain", False),
        ("somebody.else", "Released", "Delete", False),
    ],
)
def test_only_released_volumes_of_ours_go(provisioner: str, phase: str, policy: str, expected: bool) -> None:
    volume = {
        "metadata": {"annotations": {"pv.kubernetes.io/provisioned-by": provisioner}},
        "spec": {"persistentVolumeReclaimPolicy": policy},
        "status": {"phase": phase},
    }
    assert to_delete(volume) is expected
