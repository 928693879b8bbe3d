"""Runs a command, and says what failed."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

TAIL = 25
"""Lines of output that a failure shows."""


class DevclusterError(Exception):
    """Something the user can act on; printed without a traceback."""


def run(
    command: Sequence[str | Path],
    *,
    log: Path | None = None,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    stdin: str | None = None,
) -> str:
    """Run `command` and return what it wrote to stdout; with `log`, all output goes to that file instead.

    Raises DevclusterError with the end of the output when the command fails or does not exist.
    """
    arguments = [str(word) for word in command]
    full_env = {**os.environ, **(env or {})}
    try:
        if log is None:
            done = subprocess.run(
                arguments, capture_output=True, text=True, env=full_env, cwd=cwd, input=stdin, check=False
            )
            stdout, shown = done.stdout, done.stdout + done.stderr
        else:
            log.parent.mkdir(parents=True, exist_ok=True)
            with log.open("a") as sink:
                done = subprocess.run(
                    arguments,
                    stdout=sink,
                    stderr=subprocess.STDOUT,
                    text=True,
                    env=full_env,
                    cwd=cwd,
                    input=stdin,
                    check=False,
                )
            stdout, shown = "", tail(log)
    except FileNotFoundError as missing:
        raise DevclusterError(f"cannot run {arguments[0]}: {missing.strerror}") from missing
    if done.returncode != 0:
        end = "\n".join(shown.splitlines()[-TAIL:])
        raise DevclusterError(f"{' '.join(arguments[:4])} … failed with exit code {done.returncode}:\n{end}")
    return stdout


def succeeds(command: Sequence[str | Path]) -> bool:
    """Run `command` for its exit status only; a missing program counts as failure."""
    try:
        run(command)
    except DevclusterError:
        return False
    return True


def tail(log: Path, lines: int = TAIL) -> str:
    """Return the last lines of a log file, or an empty string when there is none."""
    try:
        return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])
    except FileNotFoundError:
        return ""
