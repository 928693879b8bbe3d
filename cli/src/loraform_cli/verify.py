"""Knows `loraform verify`: files in, the verifier library's verdicts out, as text for people or JSON for programs."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from loraform_api.verification import (
    Diagnostic,
    HousePolicy,
    Program,
    ProgramVerdict,
    Stage,
    VerifyRequest,
    VerifyResponse,
)
from loraform_verifier.isolation import IsolationError
from loraform_verifier.toolchain import ToolchainError, discover
from loraform_verifier.verify import RequestError, Verifier

ID_LENGTH = 200


class InputError(Exception):
    """What was given cannot be checked; the text names it and says what to change."""


def verify(programs: Sequence[Program], policy: HousePolicy | None, stages: Sequence[Stage]) -> VerifyResponse:
    """Check the programs. Raises InputError when that cannot be done as asked."""
    try:
        terraform = discover() if Stage.VALIDATE in stages else None
        request = VerifyRequest(programs=list(programs), stages=list(stages), policy=policy)
        return Verifier(terraform).verify(request)
    except ToolchainError as error:
        raise InputError(f"{error}, or leave Validate out of --stages") from error
    except ValidationError as error:
        raise InputError(f"{error.errors()[0]['loc'][0]}: {error.errors()[0]['msg']}") from error
    except (RequestError, IsolationError) as error:
        raise InputError(str(error)) from error


def default_stages(policy: HousePolicy | None, programs: Sequence[Program]) -> list[Stage]:
    """Return every stage that the programs can meet: Policy needs a policy, Intent a row that says what was asked."""
    intent = any(program.asked is not None for program in programs)
    return [
        Stage.PARSE,
        Stage.VALIDATE,
        *([] if policy is None else [Stage.POLICY]),
        *([Stage.INTENT] if intent else []),
    ]


def read_program(path: str) -> Program:
    """Read a file, a folder of .tf files as one program, or standard input (`-`)."""
    try:
        return Program(id=path[-ID_LENGTH:], text=_text(path))
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: {getattr(error, 'strerror', None) or error}") from error
    except ValidationError as error:
        raise InputError(f"{path}: {error.errors()[0]['msg']}") from error


def _text(path: str) -> str:
    if path == "-":
        return sys.stdin.read()
    if not Path(path).is_dir():
        return Path(path).read_text(encoding="utf-8")
    files = sorted(Path(path).glob("*.tf"))
    if not files:
        raise InputError(f"{path}: the folder holds no .tf file")
    return "\n".join(file.read_text(encoding="utf-8") for file in files)


def read_policy(path: Path) -> HousePolicy:
    """Read a house policy: the bare `{comment, tags}`, or an object that has one in `spec.policy`."""
    try:
        content: Any = yaml.safe_load(path.read_text(encoding="utf-8"))
        if isinstance(content, dict) and "spec" in content:
            content = content["spec"].get("policy")
        return HousePolicy.model_validate(content)
    except (OSError, UnicodeDecodeError, yaml.YAMLError, ValidationError, AttributeError) as error:
        raise InputError(f"--policy {path}: no house policy can be read: {error}") from error


def report(response: VerifyResponse) -> Iterator[str]:
    """Yield the verdicts as lines: one a program, then what was found in it."""
    for verdict in response.verdicts:
        words = " ".join(f"{r.stage}={_word(r.passed, r.inconclusive)}" for r in verdict.stages)
        yield f"{'passed' if verdict.passed else 'FAILED'}  {verdict.id}  {words}"
        yield from (f"        {line}" for line in _findings(verdict))
    passed = sum(verdict.passed for verdict in response.verdicts)
    tool = response.toolchain
    providers = "".join(f", {source} {version}" for source, version in tool.providers.items())
    yield f"{passed} of {len(response.verdicts)} passed in {response.seconds:.1f} s ({tool.terraform}{providers})"


def _word(passed: bool, inconclusive: bool) -> str:
    return "passed" if passed else "inconclusive" if inconclusive else "failed"


def _findings(verdict: ProgramVerdict) -> Iterator[str]:
    for result in verdict.stages:
        yield from (_finding(diagnostic) for diagnostic in result.diagnostics)


def _finding(diagnostic: Diagnostic) -> str:
    line = "" if diagnostic.line is None else f"line {diagnostic.line}: "
    hint = "" if diagnostic.hint is None else f" ({diagnostic.hint})"
    return f"{line}{diagnostic.code}: {diagnostic.message}{hint}"
