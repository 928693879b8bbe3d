"""Reads custom resources from a cluster; the only module of the CLI that imports the Kubernetes client."""

from __future__ import annotations

from typing import Any

import urllib3.exceptions
from kubernetes import client, config

from loraform_api.finetunejob import FineTuneJob
from loraform_api.iacmodel import IaCModel
from loraform_api.names import GROUP, VERSION, Kind


class ClusterError(Exception):
    """An error that the user can fix; printed without a traceback."""


class Unreachable(Exception):  # noqa: N818 (a state, not an error)
    """The API server did not answer; a retry may help."""


SHORT_NAMES = {"ftj": Kind.FINE_TUNE_JOB, "iacm": Kind.IAC_MODEL}


def parse_reference(text: str) -> tuple[Kind, str]:
    """Parse `finetunejob/NAME` (or plural, short or qualified form); raises ValueError that says what is allowed."""
    resource, _, name = text.partition("/")
    resource = resource.lower().partition(".")[0]
    kind = SHORT_NAMES.get(resource) or next((k for k in Kind if resource in (k.value.lower(), k.plural)), None)
    if kind is None or not name:
        raise ValueError(f"'{text}' is neither 'finetunejob/NAME' nor 'iacmodel/NAME'")
    return kind, name


class Cluster:
    """A cluster of the kubeconfig, and its context's namespace."""

    def __init__(self, kubeconfig: str | None = None, context: str | None = None) -> None:
        try:
            self._api = client.CustomObjectsApi(config.new_client_from_config(kubeconfig, context))
            contexts, active = config.list_kube_config_contexts(kubeconfig)
        except config.ConfigException as error:
            raise ClusterError(f"no usable kubeconfig: {error}. Set KUBECONFIG or give --kubeconfig") from error
        chosen = next((c for c in contexts if c["name"] == context), active)
        self.namespace: str = chosen["context"].get("namespace") or "default"

    def job(self, namespace: str, name: str) -> FineTuneJob:
        """Read one FineTuneJob; raises Unreachable when a retry may help, otherwise ClusterError."""
        return FineTuneJob.model_validate(self._read(Kind.FINE_TUNE_JOB, namespace, name))

    def model(self, namespace: str, name: str) -> IaCModel:
        """Read one IaCModel; raises as `job` does."""
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
    """Return the error for a status of the API server, with what to do."""
    resource = f"{kind.value.lower()} '{name}' in namespace '{namespace}'"
    if status == 404:
        return ClusterError(f"{resource} does not exist; `kubectl get {kind.plural} -A` lists the existing ones")
    if status in (401, 403):
        return ClusterError(f"you may not read {resource}: the API server answered {status}; ask for the viewer role")
    return Unreachable(f"the API server answered {status}")
