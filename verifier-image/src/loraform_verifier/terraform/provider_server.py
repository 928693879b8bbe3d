"""Keeps providers running between terraform runs, over a unix socket, confined like every child.

Starting the AWS provider costs more than judging a program. To validate, a kept provider is not configured at all; each
planning run configures it anew, with a region, tags and an account that is none, so that nothing of one run stays for
the next.
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

from loraform_verifier.sandbox.isolation import Child, IsolationError, Limits, private_folder
from loraform_verifier.terraform.toolchain import Provider, Terraform, child_environment

START_SECONDS = 60
MAX_RUNS = 200
"""Then it makes way for a fresh one: what leaks, leaks no further."""
LIMITS = Limits(cpu=24 * 3600)
_ATTACH = re.compile(rb"TF_REATTACH_PROVIDERS='(\{.*\})'")


@dataclass(slots=True)
class _Kept:
    """A running provider and what terraform needs to find it."""

    child: Child
    resources: ExitStack
    address: dict[str, Any]
    runs: int = 0

    @property
    def usable(self) -> bool:
        return self.runs < MAX_RUNS and not self.child.wait(0)


class ProviderKeeper:
    """Starts providers when first used; a context manager that ends them. Not for several threads at once."""

    def __init__(self, terraform: Terraform) -> None:
        self._terraform = terraform
        self._kept: dict[str, _Kept] = {}

    def environment(self, local_names: Iterable[str]) -> dict[str, str]:
        """Return the variable by which a terraform run uses the kept providers, starting those that do not run.

        A provider that cannot be kept is left out; terraform then starts it for itself.
        """
        addresses = {}
        for name in sorted(local_names):
            provider = self._terraform.provider(name)
            kept = self._running(provider) if provider else None
            if provider and kept:
                kept.runs += 1
                addresses[f"{self._terraform.registry}/{provider.source}"] = kept.address
        return {"TF_REATTACH_PROVIDERS": json.dumps(addresses)} if addresses else {}

    def drop(self) -> None:
        """End all providers; the next run starts fresh ones. For when a run went wrong, and for the end."""
        while self._kept:
            _, kept = self._kept.popitem()
            kept.resources.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.drop()

    def _running(self, provider: Provider) -> _Kept | None:
        kept = self._kept.get(provider.source)
        if kept and kept.usable:
            return kept
        if kept:
            self._kept.pop(provider.source).resources.close()
        started = _start(provider)
        if started:
            self._kept[provider.source] = started
        return started


def _start(provider: Provider) -> _Kept | None:
    """Start a provider in its debugging mode, in which it serves until killed; None when it does not come up."""
    executables = sorted(provider.folder.glob("terraform-provider-*"))
    with ExitStack() as resources:
        home = resources.enter_context(private_folder())
        said = resources.enter_context((home / "stdout").open("w+b"))
        try:
            child = Child(
                [str(executables[0]), "-debug"],
                cwd=home,
                env=child_environment(home),
                readable=(provider.folder,),
                limits=LIMITS,
                stdout=said,
            )
        except (IsolationError, IndexError):
            return None
        resources.enter_context(child)
        address = _address(child, home / "stdout")
        return _Kept(child, resources.pop_all(), address) if address else None


def _address(child: Child, said: Path) -> dict[str, Any] | None:
    """Wait until the provider has written where it listens."""
    until = time.monotonic() + START_SECONDS
    while time.monotonic() < until:
        if match := _ATTACH.search(said.read_bytes()):
            (address,) = json.loads(match[1]).values()
            return dict(address)
        if child.wait(0.02):  # it ended; otherwise this is the pause between two looks
            return None
    return None
