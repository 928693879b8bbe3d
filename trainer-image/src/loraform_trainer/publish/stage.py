"""Stage `publish`: writes adapter, parity file, manifest, run record and evidence into the store."""

from __future__ import annotations

from loraform_api.names import RunStage
from loraform_api.run import PublishResult, StageReport
from loraform_trainer.publish import bundle, stores
from loraform_trainer.runtime.context import Context
from loraform_trainer.runtime.errors import one_line


def run(context: Context) -> StageReport:
    """Publish the run's artifact; succeeds if the store has it already, raises StageError if it has another one."""
    paths = context.paths
    artifact = bundle.assemble(context)
    store = stores.open_store(
        context.config.spec.output, paths.output_mount, paths.output_access, context.mount_wait_seconds
    )
    uri = store.publish(artifact)
    context.progress.update(0.99)
    result = PublishResult(uri=uri, digest=artifact.manifest.digest, size_bytes=artifact.size)
    return StageReport(stage=RunStage.PUBLISH, message=one_line(uri), publish=result)
