"""Format checks with `terraform fmt`, one process for all programs."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from loraform_verifier.sandbox import isolation
from loraform_verifier.terraform.batch import was_stopped
from loraform_verifier.terraform.toolchain import Terraform, child_environment, write_cli_config

SECONDS = 120.0
_LISTED = re.compile(rb"^p(\d+)/(.+)$", re.MULTILINE)


class FormatError(RuntimeError):
    """`terraform fmt` did not finish."""


def unformatted(terraform: Terraform, programs: Sequence[Mapping[str, bytes]]) -> list[list[str]]:
    """Return for each program (text by path) the files that `fmt` would change. All files must parse."""
    changed: list[list[str]] = [[] for _ in programs]
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
    if was_stopped(finished) or finished.returncode < 0:
        raise FormatError("terraform fmt was stopped: it ran out of time or memory")
    for index, path in _LISTED.findall(finished.stdout):
        changed[int(index)].append(path.decode())
    return changed
