"""What Flux sources offer: archive and digest, as their status says when a run is rendered."""

from __future__ import annotations

from pydantic import ValidationError

from loraform_api.finetunejob import FineTuneJob
from loraform_api.run import FluxArtifact
from loraform_api.sources import DataSource
from loraform_operator.context import Context
from loraform_operator.kube import errors
from loraform_operator.kube.objects import Object


async def artifacts(ctx: Context, job: FineTuneJob) -> tuple[dict[str, FluxArtifact], tuple[str, ...]]:
    """Return the artifacts of the run's Flux sources by `<list>/<name>`, and what offers none."""
    lists: tuple[tuple[str, str, list[DataSource]], ...] = (
        ("sources", "spec.dataset.sources", list(job.spec.dataset.sources)),
        ("suites", "spec.evaluation.suites", list(job.spec.evaluation.suites)),
    )
    found: dict[str, FluxArtifact] = {}
    missing = []
    for short, field, sources in lists:
        for source in sources:
            reference = source.flux_source
            if reference is None:
                continue
            try:
                body = await ctx.cluster.get(reference.kind.value, job.metadata.namespace, reference.name)
            except errors.Forbidden:  # a chart without `flux.enabled`
                body = None
            artifact = artifact_of(body)
            if artifact is None:
                missing.append(f"{reference.kind} `{reference.name}` ({field}[{source.name}])")
            else:
                found[f"{short}/{source.name}"] = artifact
    return found, tuple(missing)


def artifact_of(body: Object | None) -> FluxArtifact | None:
    """Return what a source object offers; None when it is absent, has fetched nothing yet, or has no sha256 digest."""
    told = ((body or {}).get("status") or {}).get("artifact") or {}
    algorithm, _, digest = str(told.get("digest", "")).partition(":")
    if algorithm != "sha256":
        return None
    try:
        return FluxArtifact(url=told["url"], digest=digest, revision=told.get("revision", ""))
    except (KeyError, ValidationError):
        return None
