"""Objects that a custom resource owns: labels, owner reference, ownership check. Pure."""

from __future__ import annotations

from loraform_api import names
from loraform_api.meta import ObjectMeta
from loraform_api.names import Kind
from loraform_operator.kube.objects import Object, api_version

OWNER_LABELS = {Kind.FINE_TUNE_JOB: names.LABEL_JOB, Kind.IAC_MODEL: names.LABEL_MODEL}
"""Label that holds the owner's name, by the owner's kind."""


def child(owner_kind: Kind, owner: ObjectMeta, kind: str, name: str, component: str) -> Object:
    """Return API version, kind and metadata of an object that `owner` owns."""
    return {
        "apiVersion": api_version(kind),
        "kind": kind,
        "metadata": {
            "name": name,
            "namespace": owner.namespace,
            "labels": child_labels(owner_kind, owner, component),
            "ownerReferences": [_owner_reference(owner_kind, owner)],
        },
    }


def child_labels(owner_kind: Kind, owner: ObjectMeta, component: str) -> dict[str, str]:
    """Return the labels of an object that `owner` owns."""
    return {
        names.LABEL_NAME: "loraform",
        names.LABEL_COMPONENT: component,
        names.LABEL_PART_OF: "loraform",
        names.LABEL_MANAGED_BY: names.MANAGER,
        names.LABEL_OWNER_UID: owner.uid,
        OWNER_LABELS[owner_kind]: owner.name,
    }


def is_owned(obj: Object, owner_uid: str) -> bool:
    """Say whether label or owner reference name the owner; pods of a Job or Deployment only carry the label."""
    meta = obj["metadata"]
    labels, owners = meta.get("labels") or {}, meta.get("ownerReferences") or []
    return labels.get(names.LABEL_OWNER_UID) == owner_uid or any(o["uid"] == owner_uid for o in owners)


def _owner_reference(kind: Kind, owner: ObjectMeta) -> Object:
    return {
        "apiVersion": names.API_VERSION,
        "kind": kind.value,
        "name": owner.name,
        "uid": owner.uid,
        "controller": True,
        "blockOwnerDeletion": True,
    }
