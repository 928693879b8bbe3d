"""Tells which programs are written as `terraform fmt` writes: one process for all of them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from loraform_verifier.sandbox import isolation
from loraform_verifier.terraform.toolchain import Terraform, child_environment, write_cli_config

SECONDS = 120.0
_LISTED = re.compile(rb"^p(\d+)/(.+)$", re.MULTILINE)


class FormatError(RuntimeError):
    """`terraform fmt` gave no answer; the message says what it said."""


def unformatted(terraform: Terraform, programs: Sequence[Mapping[str, bytes]]) -> list[list[str]]:
    """Return for each program (its files by path) those files that `fmt` would change. All of them can be parsed."""
    found: list[list[str]] = [[] for _ in programs]
    with isolation.private_folder() as home:
        for index, files in enumerate(programs):
            for path, text in files.items():
                target = home / "programs" / f"p{index}" / path
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(text)
        write_cli_config(home)
        command = [str(terraform.binary), "fmt", "-list=true", "-write=false", "-recursive", "-no-color"]
        folder = home / "programs"
        folder.mkdir(exist_ok=True)
        readable = (*terraform.readable, home)
        finished = isolation.run(command, cwd=folder, env=child_environment(home), seconds=SECONDS, readable=readable)
    if finished.timed_out or finished.returncode < 0:
        raise FormatError("terraform fmt was stopped: it ran out of time or memory")
    for index, path in _LISTED.findall(finished.stdout):
        found[int(index)].append(path.decode())
    return found
