"""Knows `loraform verify`: checks programs or a suite in this process and prints one verdict for each."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from pydantic import ValidationError

from loraform_api.verification import Diagnostic, ProgramVerdict, Stage, VerifyRequest, VerifyResponse
from loraform_cli.inputs import InputError, first_mistake, read_policy, read_program, read_text
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
        help="check Terraform programs as the gate does",
        description="Check Terraform programs with the verifier that evaluation and serving use. "
        "Exit status: 0 all passed, 1 some failed, 2 the check could not be made.",
    )
    command.add_argument(
        "paths", nargs="*", metavar="PATH", help="a .tf file, a folder (one program with its local modules) or '-'"
    )
    command.add_argument(
        "--suite",
        type=Path,
        metavar="FILE",
        help="a program in each row: JSON lines ('-': from standard input) or IaC-Eval's CSV",
    )
    command.add_argument(
        "--field",
        default="response",
        help="where in a row of --suite the program is; a dot steps into an object (default: %(default)s)",
    )
    command.add_argument("--policy", type=Path, help="YAML file: a house policy, or an object with `spec.policy`")
    command.add_argument(
        "--pack", type=Path, action="append", default=[], metavar="FILE", help="Rego module for Policy; may be repeated"
    )
    command.add_argument("--rewrite", action="store_true", help="put the house policy in first, and check the result")
    command.add_argument(
        "--stages",
        type=read_stages,
        metavar="STAGE,…",
        help=f"stages to run, of {', '.join(Stage).lower()} (default: the gate's: parse, validate, plan, "
        "policy where there is one or a pack, intent where rows ask for something)",
    )
    command.add_argument(
        "--terraform", metavar="FILE", help=f"terraform or tofu (default: ${TERRAFORM_VARIABLE}, PATH)"
    )
    command.add_argument("--mirror", metavar="FOLDER", help=f"unpacked provider mirror (default: ${MIRROR_VARIABLE})")
    command.add_argument("--modules", metavar="FOLDER", help=f"module mirror (default: ${MODULES_VARIABLE})")
    command.add_argument(
        "-o", "--output", choices=["text", "json"], default="text", help="form of the result; of a suite, JSON lines"
    )


def read_stages(words: str) -> list[Stage]:
    """Read `parse,Validate,…`; raises what argparse shows with the allowed names."""
    known = {stage.lower(): stage for stage in Stage}
    asked = [word.strip().lower() for word in words.split(",") if word.strip()]
    unknown = [word for word in asked if word not in known]
    if unknown or not asked:
        raise argparse.ArgumentTypeError(f"{words!r}: allowed are {', '.join(known)}, joined by commas")
    return [known[word] for word in asked]


def run(arguments: argparse.Namespace) -> int:
    """Check files or a suite and print the verdicts; return the exit status."""
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
        raise InputError(first_mistake(error)) from error
    for mistake in _unasked(request):
        raise InputError(f"--policy {arguments.policy}: {mistake}")
    response = verify(request, arguments)
    if not suite:
        verdicts = [_at(path, verdict) for path, verdict in zip(arguments.paths, response.verdicts, strict=True)]
        response = response.model_copy(update={"verdicts": verdicts})
    if arguments.output == "text":
        lines = [*report(response), *(counts(response.verdicts, request.stages) if suite else ())]
        lines += ["lines are those of the rewritten programs, which `-o json` shows"] if arguments.rewrite else []
        print("\n".join(map(_plain, lines)))
    else:
        print("\n".join(json_lines(response)) if suite else response.model_dump_json(by_alias=True, indent=2))
    return 0 if all(verdict.passed for verdict in response.verdicts) else 1


def _unasked(request: VerifyRequest) -> Iterator[str]:
    """Yield what of the policy nothing would ask, and how to ask it."""
    if request.policy is None:
        return
    if Stage.POLICY not in request.stages and not request.rewrite:
        yield "stage policy asks it, which --stages leaves out"
    if Stage.POLICY in request.stages and request.policy.packs and not request.packs:
        yield "its packs are not read here; give each as --pack FILE"


def _at(path: str, verdict: ProgramVerdict) -> ProgramVerdict:
    """Return the verdict with the findings of a single file at the path that it was given by."""
    if Path(path).is_dir():
        return verdict
    stages = []
    for stage in verdict.stages:
        found = [d.model_copy(update={"file": d.file and path}) for d in stage.diagnostics]
        stages.append(stage.model_copy(update={"diagnostics": found}))
    return verdict.model_copy(update={"stages": stages})


def verify(request: VerifyRequest, arguments: argparse.Namespace) -> VerifyResponse:
    """Check the programs. Raises InputError when that cannot be done as asked."""
    try:
        if not any(stage in request.stages for stage in WITH_TERRAFORM):
            return Verifier().verify(request)
        terraform = discover(arguments.terraform, arguments.mirror, arguments.modules)
        with ProviderServers(terraform) as servers, progress(sys.stderr) as beginning:
            return Verifier(terraform, servers=servers).verify(request, beginning=beginning)
    except ToolchainError as error:
        needing = ", ".join(s for s in WITH_TERRAFORM if s in request.stages)
        raise InputError(f"{error}, or leave {needing} out of --stages") from error
    except (RequestError, IsolationError, SchemaError) as error:
        raise InputError(str(error)) from error


@contextmanager
def progress(stream: TextIO) -> Iterator[Callable[[Stage, int], None]]:
    """Yield what shows a terminal the stage at work, and wipe that off at the end; a file or pipe is shown nothing."""
    wipe = "\r\x1b[K" if stream.isatty() else ""

    def show(stage: Stage, programs: int) -> None:
        if wipe:
            print(f"{wipe}{stage}: {programs} programs", end="", file=stream, flush=True)

    try:
        yield show
    finally:
        print(wipe, end="", file=stream, flush=True)


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
    place = ":".join(str(part) for part in (diagnostic.file, diagnostic.line) if part is not None)
    hint = "" if diagnostic.hint is None else f" ({diagnostic.hint})"
    return f"{place}: {diagnostic.code}: {diagnostic.message}{hint}".removeprefix(": ")


def _plain(line: str) -> str:
    """Return a line that a terminal only shows: programs and their names may hold its commands."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in line)
