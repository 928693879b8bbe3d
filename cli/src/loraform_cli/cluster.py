"""Knows how to read one custom resource from a cluster; the only module here that sees the Kubernetes client."""

from __future__ import annotations

from typing import Any

import urllib3.exceptions
from kubernetes import client, config

from loraform_api.finetunejob import FineTuneJob
from loraform_api.iacmodel import IaCModel
from loraform_api.names import GROUP, VERSION, Kind


class ClusterError(Exception):
    """Something the user can act on; printed without a traceback."""


class Unreachable(Exception):  # noqa: N818 (a state, not a mistake)
    """The API server did not answer; asking again may help."""


SHORT_NAMES = {"ftj": Kind.FINE_TUNE_JOB, "iacm": Kind.IAC_MODEL}


def parse_reference(text: str) -> tuple[Kind, str]:
    """Read `finetunejob/NAME` (or plural, short or qualified form); raises ValueError saying what is allowed."""
    kind_word, _, name = text.partition("/")
    word = kind_word.lower().partition(".")[0]
    kind = SHORT_NAMES.get(word) or next((k for k in Kind if word in (k.value.lower(), k.plural)), None)
    if kind is None or not name:
        raise ValueError(f"'{text}' is neither 'finetunejob/NAME' nor 'iacmodel/NAME'")
    return kind, name


class Cluster:
    """One cluster of a kubeconfig, and the namespace that its context names."""

    def __init__(self, kubeconfig: str | None = None, context: str | None = None) -> None:
        try:
            self._api = client.CustomObjectsApi(config.new_client_from_config(kubeconfig, context))
            contexts, active = config.list_kube_config_contexts(kubeconfig)
        except config.ConfigException as error:
            raise ClusterError(f"no usable kubeconfig: {error}. Set KUBECONFIG or give --kubeconfig") from error
        chosen = next((c for c in contexts if c["name"] == context), active)
        self.namespace: str = chosen["context"].get("namespace") or "default"

    def job(self, namespace: str, name: str) -> FineTuneJob:
        """Fetch one FineTuneJob. Raises Unreachable when a later try may help, ClusterError when not."""
        return FineTuneJob.model_validate(self._read(Kind.FINE_TUNE_JOB, namespace, name))

    def model(self, namespace: str, name: str) -> IaCModel:
        """Fetch one IaCModel; raises as `job` does."""
        return IaCModel.model_validate(self._read(Kind.IAC_MODEL, namespace, name))

    def _read(self, kind: Kind, namespace: str, name: str) -> Any:
        try:
            return self._api.get_namespaced_custom_object(
                GROUP, VERSION, namespace, kind.plural, name, _request_timeout=10
            )
        except client.ApiException as error:
            raise refusal(error.status, kind, namespace, name) from error
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise Unreachable(str(error)) from error


def refusal(status: int | None, kind: Kind, namespace: str, name: str) -> ClusterError | Unreachable:
    """Turn the API server's refusal into an error that says what to do."""
    what = f"{kind.value.lower()} '{name}' in namespace '{namespace}'"
    if status == 404:
        return ClusterError(f"{what} does not exist; `kubectl get {kind.plural} -A` lists what does")
    if status in (401, 403):
        return ClusterError(f"you may not read {what}: the API server answered {status}; ask for the viewer role")
    return Unreachable(f"the API server answered {status}")
