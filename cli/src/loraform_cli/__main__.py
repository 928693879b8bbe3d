"""Knows the command line: `loraform verify …` and `loraform watch …`; also the kubectl plugin `kubectl loraform`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from rich.console import Console

from loraform_api.finetunejob import FineTuneJob
from loraform_api.iacmodel import IaCModel
from loraform_api.names import Kind
from loraform_api.verification import Stage
from loraform_cli.cluster import Cluster, ClusterError, parse_reference
from loraform_cli.progress import Outcome
from loraform_cli.suite import counts, json_lines, read_suite
from loraform_cli.verify import InputError, default_stages, read_policy, read_program, report, verify
from loraform_cli.watch import Watch

USAGE_ERROR = 2


def parser() -> argparse.ArgumentParser:
    """Return the parser of all commands."""
    program = "kubectl loraform" if Path(sys.argv[0]).name.startswith("kubectl-") else "loraform"
    top = argparse.ArgumentParser(prog=program, description="Check Terraform programs, and follow Loraform's objects.")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_verify(commands)
    _add_watch(commands)
    return top


def _add_verify(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    command = commands.add_parser(
        "verify",
        help="check Terraform programs as the gate does",
        description="Check Terraform programs with the verifier that evaluation and serving use. "
        "Exit status: 0 all passed, 1 some failed, 2 the check could not be made.",
    )
    command.add_argument(
        "paths", nargs="*", metavar="PATH", help="a .tf file, a folder of .tf files (one program) or '-'"
    )
    command.add_argument("--suite", type=Path, metavar="FILE", help="JSONL file with a program in each row")
    command.add_argument(
        "--field",
        default="response",
        help="where in a row of --suite the program is; a dot steps into an object (default: %(default)s)",
    )
    command.add_argument("--policy", type=Path, help="YAML file: a house policy, or an object with `spec.policy`")
    command.add_argument(
        "--stages",
        nargs="+",
        type=Stage,
        choices=list(Stage),
        metavar="STAGE",
        help=f"stages to run: {', '.join(Stage)} (default: all that apply; Intent reads `asked` of a suite's rows)",
    )
    command.add_argument(
        "-o", "--output", choices=["text", "json"], default="text", help="form of the result; of a suite, JSON lines"
    )


def _add_watch(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    command = commands.add_parser(
        "watch",
        help="follow a FineTuneJob or an IaCModel until it is done",
        description="Follow one object. Exit status: 0 succeeded (or ready), 1 failed or timed out, 2 not readable.",
    )
    command.add_argument("reference", metavar="KIND/NAME", help="finetunejob/NAME or iacmodel/NAME")
    command.add_argument("-n", "--namespace", help="namespace (default: the context's)")
    command.add_argument("--kubeconfig", help="path of a kubeconfig (default: KUBECONFIG or ~/.kube/config)")
    command.add_argument("--context", help="context of the kubeconfig (default: the current one)")
    command.add_argument("--timeout", type=float, metavar="SECONDS", help="give up after this time (default: never)")


def run_verify(arguments: argparse.Namespace) -> int:
    """Check files or a suite and print the verdicts; return the exit status."""
    suite: Path | None = arguments.suite
    if bool(arguments.paths) == (suite is not None):
        raise InputError("give either PATHs or --suite FILE")
    policy = None if arguments.policy is None else read_policy(arguments.policy)
    programs = read_suite(suite, arguments.field) if suite else [read_program(path) for path in arguments.paths]
    stages = arguments.stages or default_stages(policy, programs)
    response = verify(programs, policy, stages)
    if arguments.output == "text":
        print("\n".join([*report(response), *(counts(response.verdicts, stages) if suite else ())]))
    else:
        print("\n".join(json_lines(response)) if suite else response.model_dump_json(by_alias=True, indent=2))
    return 0 if all(verdict.passed for verdict in response.verdicts) else 1


def run_watch(arguments: argparse.Namespace) -> int:
    """Follow the object; return the exit status."""
    kind, name = parse_reference(arguments.reference)
    cluster = Cluster(arguments.kubeconfig, arguments.context)
    namespace = arguments.namespace or cluster.namespace
    console = Console()
    if kind is Kind.FINE_TUNE_JOB:
        return follow(Watch(lambda: cluster.job(namespace, name), console), arguments.timeout)
    return follow(Watch(lambda: cluster.model(namespace, name), console), arguments.timeout)


def follow(watch: Watch[FineTuneJob] | Watch[IaCModel], timeout: float | None) -> int:
    """Watch until the end or `timeout`, print the result, and return the exit status."""
    end = watch.until_done(timeout)
    watch.print_result()
    return 0 if end is Outcome.SUCCESS else 1


def main(argv: list[str] | None = None) -> int:
    """Run one command; return its exit status."""
    arguments = parser().parse_args(argv)
    try:
        if arguments.command == "watch":
            return run_watch(arguments)
        return run_verify(arguments)
    except (ClusterError, InputError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return USAGE_ERROR
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
