"""The driver for an existing cluster: it is changed only where a command says so."""

from __future__ import annotations

from loraform_devcluster.progress import Progress
from loraform_devcluster.shell import DevclusterError, run


class GivenCluster:
    """A cluster named by a kubeconfig context."""

    def __init__(self, context: str, progress: Progress) -> None:
        self._context = context
        self._progress = progress

    def _kubectl(self, *arguments: str) -> str:
        return run(["kubectl", "--context", self._context, "--request-timeout=15s", *arguments])

    def up(self) -> None:
        """Check that the cluster answers; nothing is installed. Raises DevclusterError when it does not."""
        with self._progress.step(f"reach the cluster of context {self._context}"):
            self._kubectl("get", "--raw", "/readyz")

    def down(self) -> None:
        """Refuse: a cluster that was not made here is not removed here."""
        raise DevclusterError(
            f"the cluster of context {self._context} was not made by devcluster, so it is not removed by it"
        )

    def status(self) -> bool:
        """Print the nodes; return whether the cluster answered."""
        print(self._kubectl("get", "nodes", "--output=wide").rstrip())
        return True

    def kubeconfig(self) -> str:
        """Return a kubeconfig with this context alone."""
        return self._kubectl("config", "view", "--minify", "--flatten", "--raw")
