"""Versions, stored as immutable ControllerRevisions: candidates, decisions and history. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from pydantic import ValidationError

from loraform_api import names
from loraform_api.finetunejob import FineTuneJob
from loraform_api.finetunejob_status import ArmName
from loraform_api.iacmodel import Decision, IaCModel, VersionRecord
from loraform_api.meta import find_condition
from loraform_api.names import Kind, RunStage
from loraform_operator.iacmodel.policies import Evidence, decide
from loraform_operator.kube.children import child
from loraform_operator.kube.errors import InvalidSpec, first_error
from loraform_operator.kube.objects import Object


def read_versions(revisions: Iterable[Object]) -> tuple[VersionRecord, ...]:
    """Return the records in ControllerRevisions, newest first; raises `InvalidSpec` for an unreadable one.

    Without it numbers would be given twice, and an older version could replace the live one.
    """
    records = []
    for revision in revisions:
        try:
            records.append(VersionRecord.model_validate(revision.get("data")))
        except ValidationError as error:
            raise InvalidSpec(
                f"ControllerRevision `{revision['metadata']['name']}` is unreadable: {first_error(error)}: another "
                "version of the operator wrote it; delete it, and create the FineTuneJob of its version again under "
                "another name"
            ) from error
    return tuple(sorted(records, key=lambda v: v.version, reverse=True))


def completion_time(job: FineTuneJob) -> str:
    """Return when the run was published; empty before that."""
    return next((s.completion_time for s in job.status.stages if s.name is RunStage.PUBLISH), "")


def is_candidate(job: FineTuneJob, model: str) -> bool:
    """Say whether the job succeeded for this model and its status has everything that a version needs."""
    reference, status = job.spec.model_ref, job.status
    succeeded = find_condition(status.conditions, "Succeeded")
    provenance = status.provenance
    return bool(
        reference is not None
        and reference.name == model
        and succeeded is not None
        and succeeded.status == "True"
        and status.artifact
        and status.evaluation
        and any(a.name is ArmName.CANDIDATE for a in status.evaluation.arms)
        and provenance
        and provenance.base_digest
        and provenance.template_hash
        and provenance.engine_dtype
    )


def undecided(
    jobs: Iterable[FineTuneJob], versions: Sequence[VersionRecord], model: str, live: str | None
) -> list[FineTuneJob]:
    """Return the candidates without a version, in order of completion.

    A job whose version was pruned must not be decided again. Pruning removes the oldest versions, and numbers have no
    other gaps: with a gap, candidates that completed before the oldest kept version were decided already.
    """
    decided = {v.job_uid for v in versions}
    kept = [v for v in versions if v.artifact_digest != live]
    pruned = bool(versions) and versions[0].version > len(versions)
    oldest = min((v.completion_time for v in kept or versions), default="") if pruned else ""
    waiting = (j for j in jobs if is_candidate(j, model) and j.metadata.uid not in decided)
    return sorted(
        (j for j in waiting if completion_time(j) >= oldest), key=lambda j: (completion_time(j), j.metadata.uid)
    )


def new_versions(
    model: IaCModel, candidates: Iterable[FineTuneJob], versions: Sequence[VersionRecord], live: VersionRecord | None
) -> tuple[VersionRecord, ...]:
    """Decide on `candidates` and return them as new versions, oldest first."""
    number = versions[0].version if versions else 0
    new: list[VersionRecord] = []
    for job in candidates:
        number += 1
        new.append(_record(model, job, number, live, (*versions, *new)))
    return tuple(new)


def _record(
    model: IaCModel, job: FineTuneJob, number: int, live: VersionRecord | None, before: Iterable[VersionRecord]
) -> VersionRecord:
    status = job.status
    assert status.evaluation and status.artifact and status.provenance  # noqa: S101 (`is_candidate` checked)
    assert status.provenance.base_digest and status.provenance.template_hash  # noqa: S101
    assert status.provenance.engine_dtype  # noqa: S101
    suite = status.evaluation.suite_digest
    evidence = Evidence(
        evaluation=status.evaluation,
        live_digest=live.artifact_digest if live else None,
        live_version=live.version if live else None,
        live_left_out=live is not None and _reads_otherwise(job, live),
        policy_in_force=bool(job.spec.policy or model.spec.policy),
        candidate_digest=status.artifact.digest,
        suite_decisions=1 + max((v.suite_decisions for v in before if suite and v.suite_digest == suite), default=0),
    )
    decision, message = decide(evidence, model.spec.promotion)
    return VersionRecord(
        version=number,
        job=job.metadata.name,
        job_uid=job.metadata.uid,
        completion_time=completion_time(job),
        base_model_uri=job.spec.base_model.storage_uri,
        base_digest=status.provenance.base_digest,
        template_hash=status.provenance.template_hash,
        artifact_uri=status.artifact.uri,
        artifact_digest=status.artifact.digest,
        rank=job.spec.lora.rank,
        method=job.spec.method,
        engine_dtype=status.provenance.engine_dtype,
        max_new_tokens=job.spec.evaluation.max_new_tokens,
        decision=decision,
        message=message[:1024],
        replaced_digest=evidence.live_digest,
        suite_digest=suite,
        suite_decisions=evidence.suite_decisions,
    )


def _reads_otherwise(job: FineTuneJob, live: VersionRecord) -> bool:
    """Say whether the prompt template has changed since the live version; a job from before then is not newer."""
    template = job.status.provenance and job.status.provenance.template_hash
    return template != live.template_hash and job.metadata.creation_timestamp > live.completion_time


def revision_name(model: IaCModel, version: VersionRecord) -> str:
    """Return the name of a version's ControllerRevision; it depends on the job only, so no job gets two versions."""
    return f"{model.metadata.name}-{names.short_hash(version.job_uid)}"


def revision(model: IaCModel, version: VersionRecord) -> Object:
    """Return the ControllerRevision that stores a version."""
    name = revision_name(model, version)
    return {
        **child(Kind.IAC_MODEL, model.metadata, "ControllerRevision", name, "version"),
        "revision": version.version,
        "data": version.model_dump(mode="json", by_alias=True, exclude_none=True),
    }


def expired(versions: Sequence[VersionRecord], limit: int, in_use: set[str]) -> list[VersionRecord]:
    """Return the versions beyond `revisionHistoryLimit`; keeps adapters in use and the newest accepted version."""
    target = newest_accepted(versions)
    others = [v for v in versions if v.artifact_digest not in in_use and v is not target]
    return others[limit:]


def newest_accepted(versions: Iterable[VersionRecord]) -> VersionRecord | None:
    """Return the version that should be live; `versions` are newest first."""
    return next((v for v in versions if v.decision is Decision.ACCEPTED), None)
