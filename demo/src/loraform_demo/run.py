"""The demo from end to end: `python -m loraform_demo.run up | reject | down`. Each run starts anew."""

from __future__ import annotations

import argparse
import sys
import time
from typing import Any

import yaml
from rich.console import Console
from rich.syntax import Syntax

from loraform_api.finetunejob import FineTuneJob
from loraform_api.iacmodel import Decision, VersionStatus
from loraform_api.names import LABEL_JOB, LABEL_MODEL
from loraform_cli.cluster import ClusterError
from loraform_cli.object_state import condition_lines
from loraform_demo import run_ask, run_cluster, run_report, run_store
from loraform_demo.run_cluster import BUILD, OPERATOR_NAMESPACE, RELEASE, ROOT, ClusterTarget
from loraform_demo.run_console import Phases
from loraform_demo.run_diagnose import diagnosis
from loraform_demo.run_kube import DemoError, Kube
from loraform_demo.run_steps import MODEL, Demo
from loraform_demo.run_store import NAMESPACE

QUICKSTART = ROOT / "examples" / "quickstart"
JOB = "picloud-lora"
ASKED_PROMPTS = 3
METRIC_LINES = 20
DELETE_SECONDS = 180
JOBS, MODELS = "finetunejobs.loraform.dev", "iacmodels.loraform.dev"


def up(demo: Demo) -> None:
    """From nothing to a promoted adapter that answers; writes build/demo.json and build/demo-samples.jsonl."""
    kube = demo.stand_up()
    forget(kube, JOBS, MODELS)
    demo.phases.say(kube.run("apply", "-f", str(QUICKSTART)).rstrip())
    job = demo.run_job(kube, JOB)
    _, version = demo.decision(kube, JOB)
    if version.decision is not Decision.ACCEPTED:
        raise DemoError(f"the gate refused the adapter ({version.decision}): {version.message}")
    with demo.phases.phase("ask", "Prompts to the gateway, as any OpenAI client sends them"):
        answers = run_ask.answers(kube, MODEL, ASKED_PROMPTS)
        for answer in answers:
            show_answer(demo.phases, answer)
    with demo.phases.phase("metrics", "Metrics, through the operator's Service"):
        lines = run_ask.excerpt(run_ask.metrics(kube))
        demo.phases.say("\n".join(lines[:METRIC_LINES]))
    found = published_samples(kube, job)
    answered, prompts = run_report.distinct(found)
    result = run_report.figures(job, demo.phases.seconds)
    verdict = {"version": version.version, "decision": version.decision.value, "message": version.message}
    distinct = {"distinctPrompts": prompts, "distinctAnswers": answered}
    run_report.write(BUILD / "demo.json", {**result, **verdict, **distinct, **answers[0], "answers": answers})
    run_report.write(BUILD / "demo-samples.jsonl", found)
    last_screen(demo, kube, job, version, f"{answered} distinct answers to {prompts} distinct prompts")


def reject(demo: Demo) -> None:
    """Run the same job on responses permuted among prompts; an error unless the gate refuses its adapter."""
    kube = demo.stand_up()
    forget(kube, JOBS, selector=f"{SHUFFLED_LABEL}=true")
    kube.run("apply", "-f", str(QUICKSTART / "iacmodel.yaml"))
    manifest = shuffled_job(yaml.safe_load((QUICKSTART / "finetunejob.yaml").read_text()), int(time.time()))
    kube.apply(manifest)
    name = manifest["metadata"]["name"]
    job = demo.run_job(kube, name)
    model, version = demo.decision(kube, name)
    demo.phases.say("\n".join(condition_lines(model.status.conditions)))
    result = run_report.figures(job, demo.phases.seconds)
    verdict = {"version": version.version, "decision": version.decision.value, "message": version.message}
    run_report.write(BUILD / "demo-reject.json", {**result, **verdict, "liveVersion": model.status.live_version})
    if version.decision is Decision.ACCEPTED:
        raise DemoError("the gate accepted an adapter that was trained on shuffled responses")
    demo.phases.say(f"\nrefused, as it must be: {version.decision}: {version.message}")


SHUFFLED_LABEL = "loraform.dev/demo-shuffled"


def shuffled_job(manifest: dict[str, Any], number: int) -> dict[str, Any]:
    """Return the quickstart's job with another name and the shuffled rows; nothing else differs."""
    metadata = {**manifest["metadata"], "name": f"picloud-shuffled-{number}", "labels": {SHUFFLED_LABEL: "true"}}
    spec = manifest["spec"]
    source = spec["dataset"]["sources"][0]
    claim = {**source["persistentVolumeClaim"], "path": f"data/{run_store.SHUFFLED}"}
    dataset = {**spec["dataset"], "sources": [{**source, "persistentVolumeClaim": claim}]}
    return {**manifest, "metadata": metadata, "spec": {**spec, "dataset": dataset}}


def forget(kube: Kube, *kinds: str, selector: str = "") -> None:
    """Delete what an earlier run left, and wait until its pods are gone: a new run needs the processors."""
    for kind in kinds:
        chosen = [f"--selector={selector}"] if selector else ["--all"]
        words = [f"--namespace={NAMESPACE}", "--cascade=foreground", f"--timeout={DELETE_SECONDS}s"]
        kube.run("delete", kind, *chosen, *words, timeout=DELETE_SECONDS + 20)
    for label in (LABEL_JOB, LABEL_MODEL) if not selector else ():
        words = [f"--selector={label}", f"--namespace={NAMESPACE}", "--for=delete", f"--timeout={DELETE_SECONDS}s"]
        kube.run("wait", "pods", *words, timeout=DELETE_SECONDS + 20)


def show_answer(phases: Phases, answer: dict[str, Any]) -> None:
    """Print prompt, program and verdict; raises DemoError when the answer was not verified."""
    phases.say(f"\n> {answer['prompt']}\n")
    phases.console.print(Syntax(answer["answer"], "terraform", background_color="default"))
    told = answer["loraform"]
    stages = ", ".join(stage["stage"] for stage in told.get("stages", []) if stage["passed"])
    form = "as the model wrote it" if told.get("rawPassed") else "after the house-policy rewrite"
    phases.say(f"loraform: {told.get('verdict')}: {stages}; {form}; version {told.get('version')}")
    if not told.get("verified"):
        raise DemoError(f"the gateway's own verification did not pass this answer: {told}")


def published_samples(kube: Kube, job: FineTuneJob) -> list[dict[str, Any]]:
    """Return what each arm wrote, from the rows published beside the adapter."""
    if job.status.artifact is None:
        raise DemoError(f"finetunejob/{job.metadata.name} has no artifact")
    folder = job.status.artifact.uri.removeprefix(f"pvc://{run_store.CLAIM}/").rstrip("/")
    return run_report.samples(run_store.read(kube, f"{folder}/evaluation/rows.jsonl"))


def last_screen(demo: Demo, kube: Kube, job: FineTuneJob, version: VersionStatus, distinct: str) -> None:
    """Print the summary and what to try next."""
    say = demo.phases.say
    demo.phases.console.rule("[bold]Done", align="left")
    say(kube.run("get", "finetunejobs,iacmodels", f"--namespace={NAMESPACE}").rstrip())
    say(f"version {version.version} of {MODEL} is live: {version.message}")
    say(distinct)
    say("  ".join(f"{name} {seconds:.0f} s" for name, seconds in demo.phases.seconds.items()))
    export = f"export KUBECONFIG={kube.kubeconfig}" if kube.kubeconfig else f"kubectl config use-context {kube.context}"
    say(
        f"""
Figures: build/demo.json; every answer of every arm: build/demo-samples.jsonl. What to try next:
  .venv/bin/loraform verify --suite build/demo-samples.jsonl --field raw.Candidate \\
    --policy examples/quickstart/iacmodel.yaml     every answer, judged anew
  {export}
  kubectl -n {NAMESPACE} describe finetunejob {job.metadata.name}
  kubectl -n {NAMESPACE} get iacmodel {MODEL} -o yaml
  kubectl -n {NAMESPACE} port-forward service/{MODEL} 8000:80
  curl http://127.0.0.1:8000/v1/chat/completions -H 'Content-Type: application/json' \\
    -d '{{"model": "{MODEL}", "messages": [{{"role": "user", "content": "Create an SQS queue named otter-lake."}}]}}'
  make demo-reject     the same job on shuffled responses; the gate refuses it
  make demo-down       remove everything but the caches"""
    )


def down(demo: Demo) -> None:
    """Remove all but the caches: the whole devcluster, or in a given context what the demo put there."""
    if demo.target.context is None:
        run_cluster.devcluster("down", timeout=300)
        return
    kube = run_cluster.given_cluster(demo.target.context)
    forget(kube, JOBS, MODELS)
    kube.run("delete", "namespace", NAMESPACE, "--ignore-not-found", timeout=DELETE_SECONDS)
    kube.uninstall(RELEASE, OPERATOR_NAMESPACE)
    demo.phases.say("removed; the CRDs stay (`kubectl delete crd finetunejobs.loraform.dev iacmodels.loraform.dev`)")


def parser() -> argparse.ArgumentParser:
    """Return the parser of all commands."""
    top = argparse.ArgumentParser(prog="python -m loraform_demo.run", description="The main job on a real Kubernetes.")
    top.add_argument("command", choices=["up", "reject", "down"])
    top.add_argument("--context", help="use this kubeconfig context instead of a cluster of our own")
    top.add_argument("--registry", help="with --context: push images there, where its nodes can pull, e.g. ghcr.io/you")
    return top


def main(argv: list[str] | None = None) -> int:
    """Run one command; return its exit status."""
    arguments = parser().parse_args(argv)
    if arguments.context and arguments.command != "down" and not arguments.registry:
        parser().error("--context needs --registry: a cluster of yours cannot pull from this machine")
    phases = Phases(Console())
    demo = Demo(phases, ClusterTarget(arguments.context, arguments.registry))
    try:
        {"up": up, "reject": reject, "down": down}[arguments.command](demo)
    except (DemoError, ClusterError) as error:
        phases.say(f"\nfailed after {phases.total:.0f} s: {error}")
        if demo.kube is not None:
            phases.say("\n".join(["", "What the cluster says:", *diagnosis(demo.kube)]))
        return 1
    except KeyboardInterrupt:
        phases.say("\nstopped; run the same command again for a new run, or `make demo-down`")
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
