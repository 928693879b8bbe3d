"""Runs kubectl and helm, as a user would; every call has a deadline."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SHOWN_LINES = 25


class DemoError(Exception):
    """What went wrong and what to do; printed without a traceback."""


def call(command: Sequence[str | Path], *, timeout: float, stdin: str | bytes | None = None) -> str:
    """Run a command to its end and return its output; raises DemoError with the end of what it wrote."""
    data = stdin.encode() if isinstance(stdin, str) else stdin
    arguments = [str(word) for word in command]
    shown = " ".join([Path(arguments[0]).name, *arguments[1:6]])
    try:
        done = subprocess.run(arguments, input=data, capture_output=True, timeout=timeout, check=False)
    except FileNotFoundError as error:
        raise DemoError(f"cannot run {arguments[0]}: put it on PATH") from error
    except subprocess.TimeoutExpired as error:
        raise DemoError(f"`{shown} …` did not end within {timeout:g} s") from error
    if done.returncode != 0:
        tail = (done.stdout + done.stderr).decode(errors="replace").splitlines()[-SHOWN_LINES:]
        raise DemoError("\n".join([f"`{shown} …` failed with exit status {done.returncode}:", *tail]))
    return done.stdout.decode(errors="replace")


@dataclass(frozen=True)
class Kube:
    """One cluster: where its tools and its kubeconfig lie. `context` None is the kubeconfig's current one."""

    kubectl: str
    helm: str
    kubeconfig: str | None = None
    context: str | None = None

    def kubectl_command(self, *arguments: str) -> list[str]:
        """Return a kubectl command line for this cluster."""
        config = [f"--kubeconfig={self.kubeconfig}"] if self.kubeconfig else []
        context = [f"--context={self.context}"] if self.context else []
        return [self.kubectl, *config, *context, *arguments]

    def run(self, *arguments: str, stdin: str | bytes | None = None, timeout: float = 60) -> str:
        """Run kubectl and return its output."""
        return call(self.kubectl_command(*arguments), stdin=stdin, timeout=timeout)

    def apply(self, *objects: dict[str, Any]) -> None:
        """Apply objects."""
        self.run("apply", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": objects}))

    def get(self, kind: str, namespace: str, name: str) -> dict[str, Any] | None:
        """Return one object, None when it does not exist."""
        text = self.run("get", kind, name, f"--namespace={namespace}", "--ignore-not-found", "--output=json")
        body: dict[str, Any] | None = json.loads(text) if text.strip() else None
        return body

    def items(self, kind: str, namespace: str, *arguments: str) -> list[dict[str, Any]]:
        """Return all objects of a kind; an empty list also where the cluster does not know the kind."""
        try:
            text = self.run("get", kind, f"--namespace={namespace}", "--output=json", *arguments)
        except DemoError:
            return []
        listed: list[dict[str, Any]] = json.loads(text)["items"]
        return listed

    def install(self, release: str, chart: Path, namespace: str, values: Path, timeout: int) -> None:
        """Install or upgrade a Helm release and wait until it serves."""
        arguments = ["upgrade", "--install", release, str(chart), "--create-namespace", f"--values={values}"]
        if self.context is None:  # a cluster of our own, where tests may have applied the CRDs before
            arguments += ["--take-ownership", "--force-conflicts"]
        self._helm(*arguments, "--wait", f"--timeout={timeout}s", f"--namespace={namespace}", timeout=timeout + 30)

    def uninstall(self, release: str, namespace: str) -> None:
        """Remove a Helm release where there is one."""
        self._helm("uninstall", release, f"--namespace={namespace}", "--ignore-not-found", "--wait", timeout=180)

    def _helm(self, *arguments: str, timeout: float) -> None:
        config = [f"--kubeconfig={self.kubeconfig}"] if self.kubeconfig else []
        context = [f"--kube-context={self.context}"] if self.context else []
        call([self.helm, *arguments, *config, *context], timeout=timeout)

    @contextmanager
    def forwarded(self, service: str, namespace: str, port: int) -> Iterator[str]:
        """Yield an address of this machine that leads to a port of a Service, or of what `kind/name` says."""
        target = service if "/" in service else f"service/{service}"
        arguments = (
            "port-forward",
            target,
            f":{port}",
            f"--namespace={namespace}",
            "--address=127.0.0.1",
        )
        process = subprocess.Popen(
            self.kubectl_command(*arguments), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        try:
            line = process.stdout.readline() if process.stdout else ""
            address = line.partition("Forwarding from ")[2].partition(" ")[0]
            if not address:
                raise DemoError(f"cannot reach {target} in {namespace} by port-forward: {line.strip()}")
            yield f"http://{address}"
        finally:
            process.terminate()
            process.wait(timeout=10)
