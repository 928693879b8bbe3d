"""Reconciles a FineTuneJob with an API server in memory (tests/integration has the real one)."""

from __future__ import annotations

import copy
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from loraform_api.names import Kind, RunStage, stage_job_name
from loraform_operator.context import Cache, Context, Endpoint, Key
from loraform_operator.endpoint.heartbeats import HeartbeatStore
from loraform_operator.endpoint.progress_store import ProgressStore
from loraform_operator.finetunejob.observe import OPERATOR_FILE
from loraform_operator.finetunejob.reconcile import reconcile
from loraform_operator.kube import errors
from loraform_operator.queue import GONE
from loraform_operator.settings import load_settings
from loraform_operator.waits import LONGEST_POLL, Waits

CASES = Path(__file__).parents[3] / "cases" / "finetunejob"
KEY = Key(Kind.FINE_TUNE_JOB, "team-a", "style")
UID = "7d3c5a10-0000-4000-8000-000000000001"
PREPARE = stage_job_name("style", UID, RunStage.PREPARE)


class MemoryCluster:
    """Objects by kind and name; refuses the kinds in `refused`, and records writes."""

    def __init__(self, job: dict[str, Any]) -> None:
        self.job = job
        self.objects: dict[tuple[str, str], dict[str, Any]] = {}
        self.refused: dict[str, errors.ClusterError] = {}
        self.writes: list[str] = []
        self.events: list[str] = []
        for claim in ("models", "store"):
            self.objects["PersistentVolumeClaim", claim] = {
                "kind": "PersistentVolumeClaim",
                "metadata": {"name": claim},
            }

    async def get(self, kind: str, namespace: str, name: str) -> dict[str, Any] | None:
        if kind == KEY.kind:
            return copy.deepcopy(self.job) or None
        return self.objects.get((kind, name))

    async def list(self, kind: str, namespace: str, **_: Any) -> list[dict[str, Any]]:
        return [o for (k, _), o in self.objects.items() if k == kind]

    async def apply(self, obj: dict[str, Any], observed: dict[str, Any] | None) -> None:
        await self.create(obj)

    async def create(self, obj: dict[str, Any]) -> None:
        if obj["kind"] in self.refused:
            raise self.refused[obj["kind"]]
        self.writes.append(obj["kind"])
        created = copy.deepcopy(obj)
        created["metadata"] |= {"uid": f"uid-{obj['metadata']['name']}", "creationTimestamp": "2026-11-24T10:00:10Z"}
        self.objects[obj["kind"], obj["metadata"]["name"]] = created

    async def delete(self, kind: str, namespace: str, name: str, uid: str) -> None:
        self.writes.append(f"delete {kind}")
        del self.objects[kind, name]

    async def write_status(self, obj: dict[str, Any], status: dict[str, Any]) -> None:
        if "status" in self.refused:
            raise self.refused["status"]
        self.writes.append("status")
        self.job["status"] = status

    async def record(self, obj: dict[str, Any], note: Any) -> None:
        self.events.append(note.reason)


def _owned(model: dict[str, Any]) -> list[dict[str, Any]]:
    return [{**c, "metadata": {"uid": c["kind"], **c["metadata"]}} for c in model["children"]]


class World:
    def __init__(self) -> None:
        self.job = yaml.safe_load((CASES / "01-first-visit" / "input.yaml").read_text())
        self.cluster = MemoryCluster(self.job)
        self.indexed: list[dict[str, Any]] = [self.job]
        self.models: dict[Key, dict[str, Any]] = {}
        self.now = datetime(2026, 11, 24, 10, 0, 20, tzinfo=UTC)
        self.waits = Waits(share=lambda: 0.0)

    async def step(self) -> float | None:
        """Reconcile once, with complete indexes."""
        children = [o for o in self.cluster.objects.values() if "ownerReferences" in o["metadata"]]
        context = Context(
            settings=load_settings(CASES / "settings.yaml"),
            cluster=self.cluster,  # type: ignore[arg-type]
            cache=Cache(
                {KEY: copy.deepcopy(self.indexed), **{key: [model] for key, model in self.models.items()}},
                {KEY: children, **{key: _owned(model) for key, model in self.models.items()}},
            ),
            endpoint=Endpoint("https://10.96.7.7:9443", "loraform.system.svc", "CA\n", ("10.96.7.7",), "system"),
            events=self.cluster,  # type: ignore[arg-type]
            progress=ProgressStore(),
            heartbeats=HeartbeatStore(timedelta(seconds=15)),
            routes={},
            clock=lambda: self.now,
            waits=self.waits,
        )
        try:
            return await reconcile(context, KEY)
        except errors.Waiting as wait:
            return wait.after

    async def settle(self) -> list[str]:
        """Reconcile until nothing is written; return all writes."""
        writes: list[str] = []
        for _ in range(10):
            self.cluster.writes.clear()
            await self.step()
            writes += self.cluster.writes
            if not self.cluster.writes:
                return writes
        raise AssertionError(f"does not settle: {writes}")

    def condition(self, type_: str) -> dict[str, Any]:
        return next((c for c in self.job["status"]["conditions"] if c["type"] == type_), {})


@pytest.fixture
def world() -> World:
    return World()


async def test_reconciling_settles_with_each_object_created_once(world: World) -> None:
    writes = await world.settle()
    created = sorted(w for w in writes if w != "status")
    expected = [
        "ConfigMap",
        "ConfigMap",
        "Job",
        "NetworkPolicy",
        "NetworkPolicy",
        "PersistentVolumeClaim",
        "ServiceAccount",
    ]
    assert created == expected
    assert world.cluster.events == ["Pending"]


@pytest.mark.parametrize("kind", ["ConfigMap", "PersistentVolumeClaim", "Job", "NetworkPolicy"])
async def test_a_refused_object_is_reported_and_created_later(world: World, kind: str) -> None:
    world.cluster.refused[kind] = errors.Forbidden("exceeded quota: team-a", 403)
    pause = None
    for _ in range(3):
        pause = await world.step()
    ready = world.condition("Ready")
    assert (ready["reason"], pause) == ("PodsNotCreated", 10)
    assert "exceeded quota: team-a" in ready["message"]
    world.cluster.refused.clear()
    await world.settle()
    assert world.condition("Ready")["reason"] == "Pending"
    assert ("Job", PREPARE) in world.cluster.objects


async def polls(world: World, count: int) -> list[float]:
    """Return the pauses of so many polls in a row."""
    pauses = []
    for _ in range(count):
        pause = await world.step()
        assert pause is not None
        pauses.append(pause)
        world.now += timedelta(seconds=pause)
    return pauses


async def test_a_run_that_waits_for_a_claim_is_polled_less_and_less(world: World) -> None:
    store = world.cluster.objects.pop(("PersistentVolumeClaim", "store"))
    assert await polls(world, 7) == [10, 10, 20, 40, 80, 160, LONGEST_POLL]
    world.cluster.objects["PersistentVolumeClaim", "store"] = store
    world.cluster.refused["Job"] = errors.Forbidden("exceeded quota: team-a", 403)
    assert await polls(world, 2) == [10, 10], "it waits for something else now"
    world.job["metadata"]["generation"] += 1
    assert await polls(world, 1) == [10], "it was edited"


async def test_a_deleted_child_is_created_again(world: World) -> None:
    await world.settle()
    for kind in ("NetworkPolicy", "ServiceAccount", "Job"):
        for name in [k for k in world.cluster.objects if k[0] == kind]:
            del world.cluster.objects[name]
    writes = await world.settle()
    assert sorted(writes) == ["Job", "NetworkPolicy", "NetworkPolicy", "ServiceAccount"]


async def test_an_invalid_spec_stalls(world: World) -> None:
    world.job["spec"]["lora"] = {"rank": "many"}
    assert await world.step() is None
    stalled = world.condition("Stalled")
    assert (stalled["status"], stalled["reason"]) == ("True", "InvalidSpec")
    assert stalled["message"].startswith("spec.lora.rank: ")
    world.cluster.writes.clear()
    await world.step()
    assert world.cluster.writes == []


async def test_a_conflict_posts_no_event_and_is_retried(world: World) -> None:
    world.cluster.refused["status"] = errors.Conflict("changed", 409)
    with pytest.raises(errors.Conflict):
        await world.step()
    assert world.cluster.events == []
    world.cluster.refused.clear()
    await world.settle()
    assert world.cluster.events == ["Pending"]


async def test_a_stage_is_recorded_before_its_job_is_deleted(world: World) -> None:
    await world.settle()
    job = world.cluster.objects["Job", PREPARE]
    pod = yaml.safe_load((CASES / "17-prepared" / "observed.yaml").read_text())["pods"][0]
    pod["metadata"]["ownerReferences"] = [{"uid": UID}]
    world.cluster.objects["Pod", pod["metadata"]["name"]] = pod
    done = {"type": "Complete", "status": "True", "lastTransitionTime": "2026-11-24T10:05:00Z"}
    job["status"] = {"startTime": "2026-11-24T10:01:00Z", "conditions": [done]}
    world.cluster.refused["status"] = errors.Conflict("changed", 409)
    with pytest.raises(errors.Conflict):
        await world.step()
    assert ("Job", PREPARE) in world.cluster.objects
    world.cluster.refused.clear()
    await world.settle()
    assert [s["name"] for s in world.job["status"]["stages"]] == ["prepare"]
    assert ("Job", PREPARE) not in world.cluster.objects
    assert ("Job", stage_job_name("style", UID, RunStage.TRAIN)) in world.cluster.objects


async def test_a_deleted_object_gets_no_resync(world: World) -> None:
    world.indexed = []
    assert await world.step() == GONE


async def test_nothing_is_created_for_an_object_that_is_only_in_the_index(world: World) -> None:
    world.cluster.job = {}
    assert await world.step() == GONE
    assert world.cluster.writes == []


async def test_an_object_created_again_with_the_same_name_gets_its_own_run(world: World) -> None:
    before = copy.deepcopy(world.job)
    world.job["metadata"]["uid"] = "7d3c5a10-0000-4000-8000-000000000002"
    world.indexed = [before, world.job]
    await world.settle()
    jobs = [name for kind, name in world.cluster.objects if kind == "Job"]
    assert jobs == [stage_job_name("style", world.job["metadata"]["uid"], RunStage.PREPARE)]


def run_of_an_older_operator(world: World) -> None:
    """Let the stored run lack what this operator writes."""
    (run,) = (o for o in world.cluster.objects.values() if OPERATOR_FILE in o.get("data", {}))
    facts = json.loads(run["data"][OPERATOR_FILE])
    del facts["engine"]
    run["data"][OPERATOR_FILE] = json.dumps(facts)


async def test_a_run_that_an_older_operator_rendered_stalls_and_says_what_to_do(world: World) -> None:
    await world.settle()
    run_of_an_older_operator(world)
    assert await world.step() is None
    message = world.condition("Stalled")["message"]
    assert message.startswith("ConfigMap `style-8498776f-run` is unreadable: engine: Field required: ")
    assert message.endswith("delete the FineTuneJob, and create it again under another name")
    world.cluster.writes.clear()
    await world.step()
    assert world.cluster.writes == []


async def test_a_finished_run_keeps_its_status_whatever_an_older_operator_wrote(world: World) -> None:
    await world.settle()
    run_of_an_older_operator(world)
    world.job["status"] = yaml.safe_load((CASES / "26-succeeded-run-is-cleared" / "status.yaml").read_text())
    before = copy.deepcopy(world.job["status"])
    await world.step()
    assert world.job["status"] == before


async def test_a_model_with_a_version_of_an_older_operator_stalls_its_new_runs(world: World) -> None:
    model = yaml.safe_load((CASES / "49-live-version-of-another-number-type" / "observed.yaml").read_text())["model"]
    del model["children"][1]["data"]["engineDtype"]
    model["metadata"]["uid"] = "model-uid"
    world.job["spec"]["modelRef"] = {"name": "terraform"}
    world.models = {Key(Kind.IAC_MODEL, "team-a", "terraform"): model}
    assert await world.step() is None
    message = world.condition("Stalled")["message"]
    assert message.startswith("spec.modelRef: IaCModel `terraform`, its route or a version of it is unreadable: ")
    assert "engineDtype: Field required" in message
