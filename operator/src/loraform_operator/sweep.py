"""Finds objects in the indexes that the API server no longer has.

kopf removes an object from its indexes when a watch reports the deletion. An object that was deleted while a watch was
disconnected, and then had to list again (410, a restarted API server), would stay in the index forever.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

from loraform_api.names import LABEL_MANAGED_BY, MANAGER, Kind
from loraform_operator.context import Cache, Key
from loraform_operator.kube.cluster import Cluster

log = logging.getLogger(__name__)


async def sweep(cluster: Cluster, cache: Cache, namespaces: Sequence[str]) -> set[Key]:
    """Drop deleted objects from `cache` and return their keys; lists each indexed kind once per namespace."""
    keys: set[Key] = set()
    for kind, owners in cache.owners_by_uid().items():  # read before the lists: later objects are not missing
        labels = None if kind in set(Kind) else f"{LABEL_MANAGED_BY}={MANAGER}"
        existing = {
            obj["metadata"]["uid"]
            for namespace in namespaces or (None,)
            for obj in await cluster.list(kind, namespace, labels=labels)
        }
        deleted = owners.keys() - existing
        if deleted:
            log.info("%d %s were deleted while a watch was disconnected", len(deleted), kind)
        cache.deleted_uids.update(deleted)
        keys.update(owners[uid] for uid in deleted)
    return keys
