"""Each wall alone, with the one before it taken away: what the filter, the limits and the mirror stop by themselves."""

from __future__ import annotations

import json
import re
import resource
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from loraform_api.verification import Program, Stage, VerifyRequest
from loraform_devcluster.binaries import install
from loraform_devcluster.progress import Progress
from loraform_operator.pods.parts import verifier_container
from loraform_verifier.hcl.normalise import Normalised
from loraform_verifier.sandbox import isolation
from loraform_verifier.terraform.batch import was_stopped
from loraform_verifier.terraform.provider_server import ProviderServers
from loraform_verifier.terraform.toolchain import Provider, Terraform, child_environment
from loraform_verifier.terraform.validate import Validator
from loraform_verifier.terraform.workspace import lay_out_alone
from loraform_verifier.verify import Verifier

from ..listening import Listeners
from .conftest import Planted

CONFINED = {"NoNewPrivs": "1", "Seccomp": "2"}
VPC = 'resource "aws_vpc" "x" {\n  cidr_block = "10.0.0.0/16"\n}\n'
REMOTE_STATE = """%s {
  backend = "local"
  config = {
    path = "%s"
  }
}
output "x" {
  value = data.terraform_remote_state.x.outputs
}
"""
# It speaks no plugin protocol: terraform starts it, and what it could do is done by then.
FAKE_PROVIDER = """#!{python}
import os, signal, socket
def attempt(name, action):
    try:
        action()
    except OSError as error:
        return f"{{name}}: {{type(error).__name__}}"
    return f"{{name}}: done"
def send():
    socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"fake provider", ("127.0.0.1", {port}))
told = [attempt("udp", send), attempt("tcp", lambda: socket.create_connection(("127.0.0.1", {port}))),
        attempt("leave the group", os.setsid)]
read, write = os.pipe()
if os.fork() == 0:
    os.close(read)
    told.append(f"forked in the group: {{os.getpgrp() == os.getpgid(os.getppid())}}")
    told += [f"{{name}}" for name in sorted(os.environ) if "planted-" in os.environ[name]]
    with open("{told}.new", "w") as file:
        file.write("\\n".join(told + [str(os.getpid())]))
    os.rename("{told}.new", "{told}")
    os.closerange(0, 3)
    os.close(write)
    signal.pause()
os.close(write)
os.read(read, 1)
"""


THIEF = """#!/bin/sh
echo ran > told
read -r line < {secret}
echo "$line" >> told
"""


def status_of(text: str) -> dict[str, str]:
    fields = dict(re.findall(r"^(\w+):\s+(\d+)$", text, re.MULTILINE))
    return {name: fields[name] for name in CONFINED}


def wrapped(executable: Path, into: Path, told: Path) -> Path:
    """Write a script that tells the status of its process, which a program keeps when it becomes another."""
    into.write_text(
        "#!/bin/sh\n"
        f'while IFS= read -r line; do printf "%s\\n" "$line"; done < /proc/self/status > {told}\n'
        f'exec {executable} "$@"\n'
    )
    into.chmod(0o755)
    return into


def raw(text: str) -> Normalised:
    """Return a program for terraform as it is: no denial, nothing blanked."""
    return Normalised({"main.tf": text.encode()}, frozenset())


def planned(terraform: Terraform, folder: Path, program: Normalised) -> isolation.Finished:
    lay_out_alone(folder, terraform, program)
    command = [str(terraform.binary), "plan", "-input=false", "-no-color", "-lock=false"]
    return isolation.run(command, cwd=folder, env=child_environment(folder), seconds=120, readable=terraform.readable)


def said(finished: isolation.Finished) -> str:
    """Return what a terraform wrote for its reader, without its line breaks."""
    return " ".join((finished.stdout + finished.stderr).decode().replace("|", " ").split())


@pytest.fixture
def unwalled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take the wall around files away: as on a kernel without Landlock."""
    monkeypatch.setattr(isolation, "landlock", lambda: 0)


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    place = tmp_path / "program"
    place.mkdir()
    return place


@pytest.mark.usefixtures("unwalled")  # the scripts tell of themselves outside the run's folder
def test_terraform_and_the_provider_that_it_starts_are_confined(terraform: Terraform, tmp_path: Path) -> None:
    aws = terraform.provider("aws")
    if aws is None:
        pytest.skip("the mirror has no hashicorp/aws")
    (executable,) = aws.folder.glob("terraform-provider-*")
    mirror = tmp_path / aws.folder.name
    mirror.mkdir()
    wrapped(executable, mirror / executable.name, tmp_path / "provider")
    binary = wrapped(terraform.binary, tmp_path / "terraform", tmp_path / "binary")
    watched = replace(terraform, binary=binary, providers=(replace(aws, folder=mirror),))
    request = VerifyRequest(programs=[Program(id="x", text=VPC)], stages=[Stage.VALIDATE])
    (verdict,) = Verifier(watched, Validator(watched)).verify(request).verdicts
    assert verdict.passed, verdict
    assert status_of((tmp_path / "binary").read_text()) == CONFINED
    assert status_of((tmp_path / "provider").read_text()) == CONFINED


def test_a_kept_provider_is_confined_while_it_lives(terraform: Terraform) -> None:
    with ProviderServers(terraform) as keeper:
        addresses = json.loads(keeper.environment(["aws"])["TF_REATTACH_PROVIDERS"])
        assert addresses
        for address in addresses.values():
            assert status_of(Path(f"/proc/{address['Pid']}/status").read_text()) == CONFINED


@pytest.mark.usefixtures("unwalled")  # it could neither start nor tell: see the test of the thief below
def test_a_provider_of_the_programs_own_is_never_started_for_it_is_not_in_the_mirror(
    terraform: Terraform, listeners: Listeners, planted: Planted, tmp_path: Path
) -> None:
    told = tmp_path / "told"
    mirror = tmp_path / terraform.providers[0].folder.name
    mirror.mkdir()
    fake = mirror / "terraform-provider-evil_v1.0.0"
    fake.write_text(FAKE_PROVIDER.format(python=sys.executable, port=listeners.port, told=told))
    fake.chmod(0o755)
    request = VerifyRequest(
        programs=[Program(id="x", text='resource "evil_thing" "x" {\n}\n')], stages=[Stage.VALIDATE]
    )
    (verdict,) = Verifier(terraform).verify(request).verdicts
    assert [d.code for d in verdict.stages[0].diagnostics] == ["ProviderMissing"]
    assert not told.exists()
    # In the mirror it would run: absence is the wall. Even then the others stand.
    infested = replace(terraform, providers=(Provider("hashicorp", "evil", "1.0.0", mirror),))
    (verdict,) = Verifier(infested).verify(request).verdicts
    assert not verdict.passed
    *found, forked = told.read_text().splitlines()
    assert found == [
        "udp: PermissionError", "tcp: PermissionError", "leave the group: PermissionError", "forked in the group: True",
    ]  # fmt: skip
    assert not running(int(forked))
    assert planted.mark not in verdict.model_dump_json()


def running(pid: int) -> bool:
    """Say whether a process still runs: neither gone nor a zombie that waits for its new parent."""
    try:
        return not re.search(r"^State:\s+[ZX]", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    except (FileNotFoundError, ProcessLookupError):
        return False


@pytest.mark.parametrize("block", ['data "terraform_remote_state" "x"', 'data "terraform_remote_st\\u0061te" "x"'])
def test_without_the_denial_a_plan_would_show_a_local_state(
    terraform: Terraform, planted: Planted, folder: Path, block: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The reason for the rules about this data source and about escapes in labels: where Landlock is missing, no other
    # wall stands here.
    if isolation.landlock():
        walled = planned(terraform, folder, raw(REMOTE_STATE % (block, planted.file)))
        assert planted.mark.encode() not in walled.stdout + walled.stderr
        assert walled.returncode == 1
        assert "permission denied" in said(walled)
        shutil.rmtree(folder)
        folder.mkdir()
    monkeypatch.setattr(isolation, "landlock", lambda: 0)
    finished = planned(terraform, folder, raw(REMOTE_STATE % (block, planted.file)))
    assert planted.mark.encode() in finished.stdout


@pytest.mark.parametrize("walled", [True, False])
def test_a_provider_that_terraform_starts_is_walled_in_with_it(
    terraform: Terraform, planted: Planted, tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, walled: bool
) -> None:
    if not walled:
        monkeypatch.setattr(isolation, "landlock", lambda: 0)
    elif not isolation.landlock():
        pytest.skip("the kernel lacks Landlock")
    mirror = tmp_path / terraform.providers[0].folder.name
    mirror.mkdir()
    thief = mirror / "terraform-provider-evil_v1.0.0"
    thief.write_text(THIEF.format(secret=planted.file))
    thief.chmod(0o755)
    infested = replace(terraform, providers=(Provider("hashicorp", "evil", "1.0.0", mirror),))
    lay_out_alone(folder, infested, Normalised({"main.tf": b'resource "evil_thing" "x" {\n}\n'}, frozenset({"evil"})))
    command = [str(terraform.binary), "validate"]
    isolation.run(command, cwd=folder, env=child_environment(folder), seconds=120, readable=infested.readable)
    told = (folder / "told").read_text()
    assert told.startswith("ran")
    assert (planted.mark in told) is not walled


def test_without_the_denial_the_filter_stops_remote_state(
    terraform: Terraform, listeners: Listeners, folder: Path
) -> None:
    text = (
        'data "terraform_remote_state" "x" {\n  backend = "http"\n  config = {\n    address = "http://127.0.0.1:%d"\n'
    )
    finished = planned(terraform, folder, raw(text % listeners.port + "    retry_max = 0\n  }\n}\n"))
    assert finished.returncode == 1
    assert b"operation not permitted" in finished.stderr
    assert listeners.heard() == []


@pytest.mark.parametrize("kind", ["external", "http", "local_file"])
def test_without_the_denial_the_mirror_stops_other_data(terraform: Terraform, folder: Path, kind: str) -> None:
    finished = planned(terraform, folder, raw(f'data "{kind}" "x" {{\n}}\n'))
    assert finished.returncode == 1
    assert f"hashicorp/{kind.partition('_')[0]}: required by this configuration but no version" in said(finished)


def test_the_listeners_would_hear_a_child_without_the_filter(listeners: Listeners, folder: Path) -> None:
    code = (
        f"import socket; a = ('127.0.0.1', {listeners.port})\n"
        "socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'datagram', a)\n"
        "socket.create_connection(a).sendall(b'stream')\n"
    )
    for filtered, heard in ((True, []), (False, [b"tcp stream", b"udp datagram"])):
        isolation.run(
            [sys.executable, "-c", code], cwd=folder, env={}, seconds=60, readable=isolation.PYTHON, filtered=filtered
        )
        assert listeners.heard() == heard


@pytest.mark.parametrize("width", [700_000_000, 1_500_000_000])
def test_a_bomb_ends_at_its_memory_and_leaves_the_pod_alive(terraform: Terraform, folder: Path, width: int) -> None:
    lay_out_alone(folder, terraform, raw(f'locals {{\n  a = format("%{width}s", "x")\n}}\n'))
    command = [str(terraform.binary), "validate", "-json"]
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
    readable = terraform.readable
    finished = isolation.run(command, cwd=folder, env=child_environment(folder), seconds=120, readable=readable)
    assert finished.returncode == 2
    assert was_stopped(finished)
    # Terraform at its worst, an idle provider and the verifier itself share what the container is granted.
    granted = verifier_container("image", None)["resources"]["limits"]["memory"]
    assert granted.endswith("Gi")
    spare = int(granted[:-2]) * 1024 * isolation.MIB - 1024 * isolation.MIB
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024 < max(before + 1, spare)


def test_the_kernel_sees_no_socket_but_unix_ones(terraform: Terraform, folder: Path) -> None:
    install({"strace": "strace"}, Progress())
    lay_out_alone(folder, terraform, Normalised({"main.tf": VPC.encode()}, frozenset({"aws"})))
    code = (
        "import sys; from pathlib import Path; from loraform_verifier.sandbox import isolation\n"
        "from loraform_verifier.terraform import toolchain\n"
        "home = Path(sys.argv[2])\n"
        "env = toolchain.child_environment(home)\n"
        "readable = [Path(name) for name in sys.argv[3:]]\n"
        "done = isolation.run([sys.argv[1], 'validate'], cwd=home, env=env, seconds=100, readable=readable)\n"
        "sys.exit(done.returncode)\n"
    )
    trace = folder / "trace"
    traced = ["strace", "-f", "--seccomp-bpf", "-qq", "-e", "trace=socket,socketpair,connect", "-o", str(trace)]
    places = [str(place) for place in (terraform.binary, folder, *terraform.readable)]
    subprocess.run([*traced, sys.executable, "-c", code, *places], check=True, timeout=120)
    calls = [line.split(maxsplit=1)[1] for line in trace.read_text().splitlines()]
    assert any(re.match(r"connect\(\d+, \{sa_family=AF_UNIX", call) for call in calls)  # terraform to its provider
    opened = [c for c in calls if re.match(r"socket(pair)?\(", c) and "AF_UNIX" not in c and "EPERM" not in c]
    connected = [c for c in calls if c.startswith("connect(") and "AF_UNIX" not in c]
    assert (opened, connected) == ([], [])
