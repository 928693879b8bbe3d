"""Reads the artifacts of Flux sources (URL and digest) when a run is rendered."""

from __future__ import annotations

from pydantic import ValidationError

from loraform_api.finetunejob import FineTuneJob
from loraform_api.run import FluxArtifact
from loraform_api.sources import DataSource
from loraform_operator.context import Context
from loraform_operator.kube import errors
from loraform_operator.kube.objects import Object


async def artifacts(ctx: Context, job: FineTuneJob) -> tuple[dict[str, FluxArtifact], tuple[str, ...]]:
    """Return the artifacts of the run's Flux sources by `<list>/<name>`, and the sources that have none."""
    lists: tuple[tuple[str, str, list[DataSource]], ...] = (
        ("sources", "spec.dataset.sources", list(job.spec.dataset.sources)),
        ("suites", "spec.evaluation.suites", list(job.spec.evaluation.suites)),
    )
    available: dict[str, FluxArtifact] = {}
    missing = []
    for short, field, sources in lists:
        for source in sources:
            reference = source.flux_source
            if reference is None:
                continue
            try:
                body = await ctx.cluster.get(reference.kind.value, job.metadata.namespace, reference.name)
            except errors.Forbidden:  # the chart value `flux.enabled` is off
                body = None
            artifact = artifact_of(body)
            if artifact is None:
                missing.append(f"{reference.kind} `{reference.name}` ({field}[{source.name}])")
            else:
                available[f"{short}/{source.name}"] = artifact
    return available, tuple(missing)


def artifact_of(body: Object | None) -> FluxArtifact | None:
    """Return the artifact of a source; None when the source or its artifact is missing, or has no sha256 digest."""
    artifact = ((body or {}).get("status") or {}).get("artifact") or {}
    algorithm, _, digest = str(artifact.get("digest", "")).partition(":")
    if algorithm != "sha256":
        return None
    try:
        return FluxArtifact(url=artifact["url"], digest=digest, revision=artifact.get("revision", ""))
    except (KeyError, ValidationError):
        return None
