"""Provider processes that keep running between terraform runs and serve on a unix socket, confined like every child.

Starting the AWS provider costs more than verifying a program. `validate` does not configure a provider; each planning
run configures it again with region, tags and fake credentials. So no state of one run remains for the next.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from loraform_verifier.sandbox.isolation import Child, IsolationError, Limits, private_folder, raise_if_stopped
from loraform_verifier.terraform.toolchain import Provider, Terraform, child_environment

START_SECONDS = 60
MAX_RUNS = 200
"""Runs after which a provider is restarted, which bounds leaks."""
LIMITS = Limits(cpu=24 * 3600)
_ATTACH = re.compile(rb"TF_REATTACH_PROVIDERS='(\{.*\})'")


@dataclass(slots=True)
class _ProviderServer:
    """A running provider and the address that terraform needs to attach to it."""

    child: Child
    resources: ExitStack
    address: dict[str, Any]
    runs: int = 0

    @property
    def usable(self) -> bool:
        return self.runs < MAX_RUNS and not self.child.wait(0)


class ProviderServers:
    """The running providers of one toolchain, each started on first use. A context manager. Not thread-safe."""

    def __init__(self, terraform: Terraform) -> None:
        self._terraform = terraform
        self._servers: dict[str, _ProviderServer] = {}
        self._known: set[str] = set()
        """Local names of the providers that have run."""

    def environment(self, local_names: Iterable[str]) -> dict[str, str]:
        """Return the environment by which terraform attaches to the providers; start those that do not run.

        A provider that does not start is left out; terraform then starts it itself.
        """
        addresses = {}
        for name in sorted(local_names):
            provider = self._terraform.provider(name)
            server = self._running_server(provider) if provider else None
            if provider and server:
                server.runs += 1
                self._known.add(name)
                addresses[f"{self._terraform.registry}/{provider.source}"] = server.address
        return {"TF_REATTACH_PROVIDERS": json.dumps(addresses)} if addresses else {}

    def stopped(self) -> list[str]:
        """Return the local names of providers that ran and have to be started again."""
        return [name for name in sorted(self._known) if not self._is_running(name)]

    def drop(self) -> None:
        """Stop all providers, for example after a failed run; the next run starts new ones."""
        while self._servers:
            _, server = self._servers.popitem()
            server.resources.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.drop()

    def _is_running(self, name: str) -> bool:
        provider = self._terraform.provider(name)
        server = self._servers.get(provider.source) if provider else None
        return bool(server and server.usable)

    def _running_server(self, provider: Provider) -> _ProviderServer | None:
        server = self._servers.get(provider.source)
        if server and server.usable:
            return server
        if server:
            self._servers.pop(provider.source).resources.close()
        started = _start(provider)
        if started:
            self._servers[provider.source] = started
        return started


def _start(provider: Provider) -> _ProviderServer | None:
    """Start a provider in debug mode, in which it serves until it is killed; None if it does not start."""
    executables = sorted(provider.folder.glob("terraform-provider-*"))
    with ExitStack() as resources:
        home = resources.enter_context(private_folder())
        stdout = resources.enter_context((home / "stdout").open("w+b"))
        try:
            child = Child(
                [str(executables[0]), "-debug"],
                cwd=home,
                env=child_environment(home),
                readable=(provider.folder,),
                limits=LIMITS,
                stdout=stdout,
            )
        except (IsolationError, IndexError):
            return None
        resources.enter_context(child)
        address = _address(child, home / "stdout")
        return _ProviderServer(child, resources.pop_all(), address) if address else None


def _address(child: Child, stdout: Path) -> dict[str, Any] | None:
    """Wait for the provider to print its address; None if it ends or does not print it in time."""
    until = time.monotonic() + START_SECONDS
    while time.monotonic() < until:
        raise_if_stopped()
        if match := _ATTACH.search(stdout.read_bytes()):
            (address,) = json.loads(match[1]).values()
            return dict(address)
        if child.wait(0.02):  # it ended; otherwise this is the polling interval
            return None
    return None
