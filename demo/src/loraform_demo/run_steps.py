"""The demo's steps: cluster, images, chart, data, job, decision; each printed and timed as a phase."""

from __future__ import annotations

from loraform_api.finetunejob import FineTuneJob
from loraform_api.iacmodel import Decision, IaCModel, VersionStatus
from loraform_cli.cluster import Cluster
from loraform_cli.object_state import ObjectState, is_true
from loraform_cli.watch import Watch
from loraform_demo import run_cluster, run_store
from loraform_demo.run_cluster import BUILD, OPERATOR_NAMESPACE, ClusterTarget
from loraform_demo.run_console import Phases
from loraform_demo.run_kube import DemoError, Kube
from loraform_demo.run_store import NAMESPACE

MODEL = "picloud"
JOB_DEADLINE, DECISION_DEADLINE = 2400.0, 600.0


class Demo:
    """One run of the demo on one cluster."""

    def __init__(self, phases: Phases, target: ClusterTarget) -> None:
        self.phases = phases
        self.target = target
        self.kube: Kube | None = None

    def stand_up(self) -> Kube:
        """Bring up cluster, images, operator and the user's data; each step finds what is already there."""
        BUILD.mkdir(exist_ok=True)
        with self.phases.phase("cluster", "A real Kubernetes cluster"):
            kube = self.kube = run_cluster.make_cluster(self.target)
        with self.phases.phase("images", "Images, from the repository's Dockerfiles"):
            images = run_cluster.load_images(self.target)
        with self.phases.phase("chart", "The operator, by its Helm chart"):
            run_cluster.install_chart(kube, images)
            self.phases.say(kube.run("get", "pods", f"--namespace={OPERATOR_NAMESPACE}").rstrip())
        with self.phases.phase("store", "Base model and data, copied to a volume that the user owns"):
            rows = run_store.make_data()
            copied = run_store.fill(kube, images["trainer"])
            self.phases.say(f"{copied / 2**20:.1f} MiB copied; rows: {rows}")
        return kube

    def run_job(self, kube: Kube, name: str) -> FineTuneJob:
        """Follow the job to its end and show the table of arms. Raises DemoError when it does not succeed."""
        cluster = Cluster(kube.kubeconfig, kube.context)
        with self.phases.phase("job", f"FineTuneJob {name}: prepare, train, evaluate, publish"):
            watch = Watch(lambda: cluster.job(NAMESPACE, name), self.phases.console)
            end = watch.until_done(JOB_DEADLINE)
            watch.print_result()
            require(end, f"finetunejob/{name}", JOB_DEADLINE)
        return cluster.job(NAMESPACE, name)

    def decision(self, kube: Kube, job: str) -> tuple[IaCModel, VersionStatus]:
        """Wait until the model has decided on the job's adapter, and serves it if it was accepted."""
        cluster = Cluster(kube.kubeconfig, kube.context)
        with self.phases.phase("promotion", f"IaCModel {MODEL}: the gate decides"):
            watch = Watch(lambda: cluster.model(NAMESPACE, MODEL), self.phases.console)
            end = watch.until_done(DECISION_DEADLINE, lambda model: decided(model, job))
            require(end, f"the decision of iacmodel/{MODEL}", DECISION_DEADLINE)
            model = cluster.model(NAMESPACE, MODEL)
            version = next(v for v in model.status.versions if v.job == job)
            self.phases.say(f"version {version.version}: {version.decision}: {version.message}")
        return model, version


def decided(model: IaCModel, job: str) -> ObjectState:
    """Say whether the model has decided on the job's adapter; an accepted one must also answer."""
    version = next((v for v in model.status.versions if v.job == job), None)
    if version is None:
        return ObjectState.RUNNING
    serves = model.status.live_version == version.version and is_true(model, "Ready")
    return ObjectState.SUCCESS if serves or version.decision is not Decision.ACCEPTED else ObjectState.RUNNING


def require(end: ObjectState, what: str, seconds: float) -> None:
    """Raise DemoError unless `end` is success."""
    if end is ObjectState.FAILURE:
        raise DemoError(f"{what} failed")
    if end is ObjectState.RUNNING:
        raise DemoError(f"{what} was not there after {seconds:.0f} s")
