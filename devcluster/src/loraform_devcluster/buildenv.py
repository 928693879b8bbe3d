"""Passes a machine's package index, proxy and CA to a build as secrets, never as part of an image."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path

PASSED = (
    "PIP_INDEX_URL",
    "PIP_EXTRA_INDEX_URL",
    "PIP_TRUSTED_HOST",
    "PIP_DEFAULT_TIMEOUT",
    "UV_DEFAULT_INDEX",
    "UV_INDEX",
    "UV_INDEX_URL",
    "UV_EXTRA_INDEX_URL",
    "UV_INSECURE_HOST",
    "UV_HTTP_TIMEOUT",
    "http_proxy",
    "https_proxy",
    "no_proxy",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
)
CA_VARIABLES = ("SSL_CERT_FILE", "PIP_CERT", "REQUESTS_CA_BUNDLE")
CA_IN_BUILD = "/run/secrets/ca"


def ca_bundle(environment: Mapping[str, str]) -> Path | None:
    """Return the CA bundle that this machine's package clients use, None when they use their own."""
    named = (Path(environment[name]) for name in CA_VARIABLES if environment.get(name))
    return next((path for path in named if path.is_file()), None)


def exports(environment: Mapping[str, str]) -> str:
    """Render the shell lines that the Dockerfiles read from the secret `env`."""
    values = {name: environment[name] for name in PASSED if environment.get(name)}
    if ca_bundle(environment):
        values |= {"SSL_CERT_FILE": CA_IN_BUILD, "PIP_CERT": CA_IN_BUILD}
    return "".join(f"export {name}={shlex.quote(value)}\n" for name, value in values.items())


def secret_options(environment: Mapping[str, str], folder: Path) -> list[str]:
    """Write the secret `env` into `folder` and return the options of `buildah build` that offer the secrets."""
    path = folder / "env"
    path.touch(mode=0o600)
    path.write_text(exports(environment))
    options = ["--secret", f"id=env,src={path}"]
    bundle = ca_bundle(environment)
    return [*options, "--secret", f"id=ca,src={bundle}"] if bundle else options
