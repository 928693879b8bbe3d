"""Where a pod reaches the operator, as its mounted ConfigMap says."""

from __future__ import annotations

from loraform_api.meta import WireModel


class OperatorEndpoint(WireModel):
    """Content of `ENDPOINT_FILE`. It changes while a pod runs, so whoever sends reads it before each request."""

    url: str
    """URL of the custom resource's own path. Its host is an IP address: train and engine pods have no DNS."""
    server_name: str
    """DNS name of the operator's Service, which the certificate must have."""
    ca: str
    """PEM of the only CA to trust."""
