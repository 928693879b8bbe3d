"""Finds what the indexes hold and the API server does not have any more.

kopf takes an object out of its indexes when a watch tells of the deletion. What was deleted while a watch was away and
then had to list everything again (410, a restarted API server) stays there for ever.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

from loraform_api.names import LABEL_MANAGED_BY, MANAGER, Kind
from loraform_operator.context import Cache, Key
from loraform_operator.kube.cluster import Cluster

log = logging.getLogger(__name__)


async def sweep(cluster: Cluster, cache: Cache, namespaces: Sequence[str]) -> set[Key]:
    """Let `cache` forget what is gone; return whose it was. One list for each kind that is held, in each namespace."""
    lost: set[Key] = set()
    for kind, held in cache.held().items():  # as it was before the lists: what is made meanwhile is not missing
        labels = None if kind in set(Kind) else f"{LABEL_MANAGED_BY}={MANAGER}"
        there = {
            obj["metadata"]["uid"]
            for namespace in namespaces or (None,)
            for obj in await cluster.list(kind, namespace, labels=labels)
        }
        gone = held.keys() - there
        if gone:
            log.info("%d %s went while a watch was away", len(gone), kind)
        cache.gone.update(gone)
        lost.update(held[uid] for uid in gone)
    return lost
