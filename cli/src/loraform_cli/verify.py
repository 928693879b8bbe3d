"""Command `loraform verify`: verifies programs or a suite in this process and prints the verdicts."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from pydantic import ValidationError

from loraform_api.verification import Diagnostic, ProgramVerdict, Stage, VerifyRequest, VerifyResponse
from loraform_cli.inputs import InputError, first_error, read_policy, read_program, read_text
from loraform_cli.suite import counts, json_lines, read_suite
from loraform_verifier.sandbox.isolation import IsolationError
from loraform_verifier.schema.compact import SchemaError
from loraform_verifier.terraform.provider_server import ProviderServers
from loraform_verifier.terraform.toolchain import (
    MIRROR_VARIABLE,
    MODULES_VARIABLE,
    TERRAFORM_VARIABLE,
    ToolchainError,
    discover,
)
from loraform_verifier.verify import WITH_TERRAFORM, RequestError, Verifier


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command's parser."""
    command = commands.add_parser(
        "verify",
        help="verify Terraform programs as evaluation does",
        description="Verify Terraform programs with the verifier that evaluation and serving use. "
        "Exit status: 0 all passed, 1 some failed, 2 they could not be verified.",
    )
    command.add_argument(
        "paths", nargs="*", metavar="PATH", help="a .tf file, a folder (one program with its local modules) or '-'"
    )
    command.add_argument(
        "--suite",
        type=Path,
        metavar="FILE",
        help="file with a program in each row: JSON lines ('-': standard input) or IaC-Eval's CSV",
    )
    command.add_argument(
        "--field",
        default="response",
        help="field of a --suite row with the program; a dot selects a field of an object (default: %(default)s)",
    )
    command.add_argument("--policy", type=Path, help="YAML file: a house policy, or an object with `spec.policy`")
    command.add_argument(
        "--pack", type=Path, action="append", default=[], metavar="FILE", help="Rego module for Policy; may be repeated"
    )
    command.add_argument("--rewrite", action="store_true", help="apply the house policy first, and verify the result")
    command.add_argument(
        "--stages",
        type=read_stages,
        metavar="STAGE,…",
        help=f"stages to run, of {', '.join(Stage).lower()} (default: parse, validate, plan, policy, "
        "intent if rows have `asked` or `rego`)",
    )
    command.add_argument(
        "--terraform", metavar="FILE", help=f"terraform or tofu (default: ${TERRAFORM_VARIABLE}, PATH)"
    )
    command.add_argument("--mirror", metavar="FOLDER", help=f"unpacked provider mirror (default: ${MIRROR_VARIABLE})")
    command.add_argument("--modules", metavar="FOLDER", help=f"module mirror (default: ${MODULES_VARIABLE})")
    command.add_argument(
        "-o", "--output", choices=["text", "json"], default="text", help="output format; json of a suite is JSON lines"
    )


def read_stages(text: str) -> list[Stage]:
    """Parse `parse,Validate,…`; raises ArgumentTypeError with the allowed names."""
    known = {stage.lower(): stage for stage in Stage}
    names = [name.strip().lower() for name in text.split(",") if name.strip()]
    if not names or any(name not in known for name in names):
        raise argparse.ArgumentTypeError(f"{text!r}: allowed are {', '.join(known)}, separated by commas")
    return [known[name] for name in names]


def run(arguments: argparse.Namespace) -> int:
    """Verify files or a suite and print the verdicts; return the exit status."""
    suite: Path | None = arguments.suite
    if bool(arguments.paths) == (suite is not None):
        raise InputError("give either PATHs or --suite FILE")
    policy = None if arguments.policy is None else read_policy(arguments.policy)
    programs = read_suite(suite, arguments.field) if suite else [read_program(path) for path in arguments.paths]
    packs = [read_text(path, "--pack ") for path in arguments.pack]
    stages = {} if arguments.stages is None else {"stages": arguments.stages}
    try:
        request = VerifyRequest(programs=programs, policy=policy, packs=packs, rewrite=arguments.rewrite, **stages)
    except ValidationError as error:
        raise InputError(first_error(error)) from error
    if problem := _unchecked_policy(request):
        raise InputError(f"--policy {arguments.policy}: {problem}")
    response = verify(request, arguments)
    if not suite:
        verdicts = [_with_path(path, verdict) for path, verdict in zip(arguments.paths, response.verdicts, strict=True)]
        response = response.model_copy(update={"verdicts": verdicts})
    if arguments.output == "text":
        lines = [*report(response), *(counts(response.verdicts, request.stages) if suite else ())]
        lines += ["line numbers refer to the rewritten programs, which `-o json` shows"] if arguments.rewrite else []
        print("\n".join(map(_plain, lines)))
    else:
        print("\n".join(json_lines(response)) if suite else response.model_dump_json(by_alias=True, indent=2))
    return 0 if all(verdict.passed for verdict in response.verdicts) else 1


def _unchecked_policy(request: VerifyRequest) -> str | None:
    """Return why a part of the policy would not be checked, and what to do; None when all of it is."""
    if request.policy is None:
        return None
    if Stage.POLICY not in request.stages and not request.rewrite:
        return "only stage policy checks it; add policy to --stages"
    if Stage.POLICY in request.stages and request.policy.packs and not request.packs:
        return "its packs are not read from the cluster; give each as --pack FILE"
    return None


def _with_path(path: str, verdict: ProgramVerdict) -> ProgramVerdict:
    """Return the verdict of a single file with `path` in its findings."""
    if Path(path).is_dir():
        return verdict
    stages = []
    for stage in verdict.stages:
        diagnostics = [d.model_copy(update={"file": d.file and path}) for d in stage.diagnostics]
        stages.append(stage.model_copy(update={"diagnostics": diagnostics}))
    return verdict.model_copy(update={"stages": stages})


def verify(request: VerifyRequest, arguments: argparse.Namespace) -> VerifyResponse:
    """Verify the programs; raises InputError when toolchain or request do not allow it."""
    try:
        if not any(stage in request.stages for stage in WITH_TERRAFORM):
            return Verifier().verify(request)
        terraform = discover(arguments.terraform, arguments.mirror, arguments.modules)
        with ProviderServers(terraform) as servers, progress(sys.stderr) as beginning:
            return Verifier(terraform, servers=servers).verify(request, beginning=beginning)
    except ToolchainError as error:
        stages = ", ".join(s for s in WITH_TERRAFORM if s in request.stages)
        raise InputError(f"{error}, or leave {stages} out of --stages") from error
    except (RequestError, IsolationError, SchemaError) as error:
        raise InputError(str(error)) from error


@contextmanager
def progress(stream: TextIO) -> Iterator[Callable[[Stage, int], None]]:
    """Yield a progress callback that shows the running stage on a terminal, and clear the line at the end."""
    clear = "\r\x1b[K" if stream.isatty() else ""

    def show(stage: Stage, programs: int) -> None:
        if clear:
            print(f"{clear}{stage}: {programs} programs", end="", file=stream, flush=True)

    try:
        yield show
    finally:
        print(clear, end="", file=stream, flush=True)


def report(response: VerifyResponse) -> Iterator[str]:
    """Yield the verdicts as lines: one for each program, then its findings."""
    for verdict in response.verdicts:
        results = " ".join(f"{r.stage}={_word(r.passed, r.inconclusive)}" for r in verdict.stages)
        yield f"{'passed' if verdict.passed else 'FAILED'}  {verdict.id}  {results}"
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
    location = ":".join(str(part) for part in (diagnostic.file, diagnostic.line) if part is not None)
    hint = "" if diagnostic.hint is None else f" ({diagnostic.hint})"
    return f"{location}: {diagnostic.code}: {diagnostic.message}{hint}".removeprefix(": ")


def _plain(line: str) -> str:
    """Return the line with control characters escaped: programs and their names may have terminal sequences."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in line)
