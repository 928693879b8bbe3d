"""What `spec.serving` says about callers, as arguments, files, port and address of the gateway. Pure."""

from __future__ import annotations

from typing import NamedTuple

from loraform_api import names
from loraform_api.heartbeat import Authentication
from loraform_api.iacmodel import EndpointStatus, ServingSpec
from loraform_operator.iacmodel.observe import Observed
from loraform_operator.kube.objects import Object
from loraform_operator.pods.parts import secret_volume


class ServicePort(NamedTuple):
    """Port of the model's Service; its name is also the URL's scheme and the name of the container's port."""

    name: str
    number: int


def service_port(serving: ServingSpec) -> ServicePort:
    return ServicePort("https", 443) if serving.tls else ServicePort("http", 80)


def arguments(serving: ServingSpec) -> list[str]:
    """Return the arguments of the gateway's process."""
    limits, origins = serving.limits, serving.cors.allowed_origins if serving.cors else []
    return [
        *("--requests-in-flight", str(limits.requests_in_flight)),
        *("--tokens-in-flight", str(limits.tokens_in_flight)),
        *(["--api-keys", f"{names.API_KEYS_DIR}/{names.API_KEYS_FILE}"] if serving.api_key_secret_ref else []),
        *(["--tls", names.TLS_DIR] if serving.tls else []),
        *(word for origin in origins for word in ("--cors-origin", origin)),
    ]


def volumes(serving: ServingSpec) -> list[Object]:
    """Return the volumes of the gateway's Secrets, of which only fixed keys are mounted."""
    keys, tls = serving.api_key_secret_ref, serving.tls
    return [
        *([secret_volume("api-keys", keys.name, [names.API_KEYS_FILE])] if keys else []),
        *([secret_volume("tls", tls.secret_ref.name, [names.TLS_CERTIFICATE, names.TLS_KEY])] if tls else []),
    ]


def mounts(serving: ServingSpec) -> list[Object]:
    """Return the mounts of `volumes`."""
    folders = {"api-keys": names.API_KEYS_DIR, "tls": names.TLS_DIR}
    return [{"name": v["name"], "mountPath": folders[v["name"]], "readOnly": True} for v in volumes(serving)]


def endpoint_status(observed: Observed) -> EndpointStatus:
    """Return the address of the endpoint, and what it demands of callers."""
    meta, port = observed.model.metadata, service_port(observed.model.spec.serving)
    return EndpointStatus(
        url=f"{port.name}://{meta.name}.{meta.namespace}.svc/v1", authentication=_authentication(observed)
    )


def is_still_open(observed: Observed) -> bool:
    """Say whether a gateway of an earlier spec answers without a key, though the spec demands one."""
    return _authentication(observed) is not _demanded(observed.model.spec.serving)


def gateway_problem(observed: Observed) -> str:
    """Return why a gateway answers nobody, as it reported; empty when all can."""
    problems = (f"pod {beat.pod}: {beat.problem}" for beat in observed.gateways.values() if beat.problem)
    return next(problems, "")


def _demanded(serving: ServingSpec) -> Authentication:
    return Authentication.API_KEY if serving.api_key_secret_ref else Authentication.OPEN


def _authentication(observed: Observed) -> Authentication:
    """Return what the spec demands, but `Open` while a gateway of an earlier spec demands nothing."""
    is_open = any(beat.authentication is Authentication.OPEN for beat in observed.gateways.values())
    return Authentication.OPEN if is_open else _demanded(observed.model.spec.serving)
