"""A published adapter: its files, digest and manifest."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Annotated

from pydantic import Field

from loraform_api.meta import Sha256, WireModel

ADAPTER_CONFIG = "adapter_config.json"
ADAPTER_WEIGHTS = "adapter_model.safetensors"
ADAPTER_FILES = (ADAPTER_CONFIG, ADAPTER_WEIGHTS)
PARITY_FILE = "parity.json"
MODEL_FOLDER = "model"
"""The merged model of a run with `output.merge`: config.json, tokenizer and safetensors."""
MANIFEST_FILE = "manifest.json"
RUN_FILE = "run.json"
"""The RunConfig and the stages' reports."""
EVALUATION_ROWS_FILE = "evaluation/rows.jsonl"
EVALUATION_SAMPLES_FILE = "evaluation/samples.jsonl"
"""The sampled answers behind pass@k."""
EVALUATION_REFLEXION_FILE = "evaluation/reflexion.jsonl"
"""Repairs and sampled answers of each row that Reflexion repaired."""
EVALUATION_REPORT_FILE = "reports/evaluation.json"
EVALUATION_PAGE_FILE = "reports/evaluation.html"
DATASET_REPORT_FILE = "reports/dataset.json"
"""Rows kept, and rows dropped by each check."""
TRAINING_LOG_FILE = "reports/training.jsonl"
"""Loss and learning rate by step."""
EVIDENCE_FILES = (
    EVALUATION_SAMPLES_FILE,
    EVALUATION_REFLEXION_FILE,
    EVALUATION_REPORT_FILE,
    EVALUATION_PAGE_FILE,
    DATASET_REPORT_FILE,
    TRAINING_LOG_FILE,
)
"""Files that a run may have written beside its rows; a published artifact has those that exist."""


class Manifest(WireModel):
    """`manifest.json` of an artifact folder."""

    digest: Sha256
    """The adapter's digest (`adapter_digest`): its identity in status, routes and engines."""
    template_hash: Sha256
    base_digest: Sha256
    files: Annotated[dict[str, Sha256], Field(min_length=1, max_length=256)]
    """sha256 of every other file of the folder, by relative path."""


def adapter_digest(sha256_by_name: Mapping[str, str]) -> str:
    """Return the digest of an adapter from the sha256 of its files; raises KeyError without one of `ADAPTER_FILES`."""
    lines = "".join(f"{name}:{sha256_by_name[name]}\n" for name in sorted(ADAPTER_FILES))
    return hashlib.sha256(lines.encode()).hexdigest()
