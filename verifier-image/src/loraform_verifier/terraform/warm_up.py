"""Starts providers before a request needs them, at the start and after one was stopped."""

from __future__ import annotations

from loraform_verifier.hcl.normalise import Normalised
from loraform_verifier.terraform.provider_server import ProviderServers
from loraform_verifier.terraform.toolchain import Terraform
from loraform_verifier.terraform.validate import Validator


class WarmUp:
    """Has each provider serve its schema once, which is most of what a first run takes."""

    def __init__(self, terraform: Terraform, servers: ProviderServers) -> None:
        self._servers = servers
        self._validator = Validator(terraform, servers=servers)
        self._names = [provider.type for provider in terraform.providers if terraform.provider(provider.type)]
        self._first = True

    def __call__(self) -> None:
        """Start all providers of the mirror at the first call, later those that ran and stopped.

        Raises IsolationError if children cannot be confined.
        """
        names = self._names if self._first else self._servers.stopped()
        self._first = False
        if names:
            text = "".join(f'resource "{name}_warm_up" "warm_up" {{\n}}\n' for name in names)
            self._validator.validate([Normalised({"main.tf": text.encode()}, frozenset(names))])
