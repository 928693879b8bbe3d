"""Paths of a stage's input and output files. The defaults are the pod's mounts; tests and local runs set others."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from loraform_api import artifact, names
from loraform_api.names import RunStage


@dataclass(frozen=True)
class Paths:
    """The mounts of a stage; the properties are files and folders of the run's workspace."""

    run_config: Path = Path(names.RUN_DIR) / names.RUN_CONFIG_FILE
    workspace: Path = Path(names.WORKSPACE_DIR)
    base_mount: Path = Path(names.BASE_MOUNT)
    output_mount: Path = Path(names.OUTPUT_MOUNT)
    live_mount: Path = Path(names.LIVE_MOUNT)
    sources_mount: Path = Path(names.SOURCES_MOUNT)
    suites_mount: Path = Path(names.SUITES_MOUNT)
    packs_mount: Path = Path(names.PACKS_MOUNT)
    base_access: Path = Path(names.BASE_ACCESS_MOUNT)
    output_access: Path = Path(names.OUTPUT_ACCESS_MOUNT)
    cache: Path = Path(names.CACHE_MOUNT)
    termination_log: Path = Path(names.TERMINATION_LOG)

    @property
    def base(self) -> Path:
        """The run's own copy of the base model."""
        return self.workspace / names.BASE_FOLDER

    @property
    def live(self) -> Path:
        """The run's own copy of the live adapter."""
        return self.workspace / "live"

    @property
    def adapter(self) -> Path:
        """The trained adapter and its parity file."""
        return self.workspace / "adapter"

    @property
    def candidates(self) -> Path:
        """Folders `step-<n>` with the adapters of the last checkpoints, when several are compared."""
        return self.workspace / "candidates"

    @property
    def checkpoints(self) -> Path:
        """Checkpoints to resume training from."""
        return self.workspace / "checkpoints"

    @property
    def downloads(self) -> Path:
        """Downloaded source and suite files; removed when `prepare` ends."""
        return self.workspace / "downloads"

    @property
    def train_rows(self) -> Path:
        """Token ids of the training rows (an Arrow stream)."""
        return self.workspace / "data" / "train.arrow"

    @property
    def validation_rows(self) -> Path:
        """Token ids of the validation rows (an Arrow stream)."""
        return self.workspace / "data" / "validation.arrow"

    @property
    def suite_rows(self) -> Path:
        """Rows of all evaluation suites, without their references (JSON lines)."""
        return self.workspace / "data" / "suite.jsonl"

    @property
    def dataset_report(self) -> Path:
        """How many rows were kept and dropped, and why (JSON)."""
        return self.workspace / artifact.DATASET_REPORT_FILE

    @property
    def selection_rows(self) -> Path:
        """Prompts of the validation rows on which checkpoints are compared (JSON lines)."""
        return self.workspace / "data" / "selection.jsonl"

    @property
    def selection(self) -> Path:
        """The chosen checkpoint; exists once one was chosen."""
        return self.workspace / "evaluation" / "selection.json"

    @property
    def model(self) -> Path:
        """The merged model of a run with `output.merge`."""
        return self.workspace / artifact.MODEL_FOLDER

    @property
    def baseline_answers(self) -> Path:
        """Answers of the base model (JSON lines); written by stage `baseline`, which only merged models need."""
        return self.workspace / "evaluation" / "baseline.jsonl"

    @property
    def evaluation_answers(self) -> Path:
        """Journal of the generated answers (JSON lines), from which another pod of the stage goes on."""
        return self.workspace / "evaluation" / "answers.jsonl"

    @property
    def evaluation_rows(self) -> Path:
        """Verdicts of each suite row (JSON lines)."""
        return self.workspace / "evaluation" / "rows.jsonl"

    @property
    def evaluation_samples(self) -> Path:
        """Sampled answers for pass@k (JSON lines)."""
        return self.workspace / artifact.EVALUATION_SAMPLES_FILE

    @property
    def evaluation_reflexion(self) -> Path:
        """Repair rounds of the Reflexion measurement (JSON lines)."""
        return self.workspace / artifact.EVALUATION_REFLEXION_FILE

    @property
    def evaluation_report(self) -> Path:
        """The evaluation report (JSON)."""
        return self.workspace / artifact.EVALUATION_REPORT_FILE

    @property
    def evaluation_page(self) -> Path:
        """The evaluation report as an HTML page."""
        return self.workspace / artifact.EVALUATION_PAGE_FILE

    @property
    def training_log(self) -> Path:
        """Metrics of each logged training step (JSON lines)."""
        return self.workspace / artifact.TRAINING_LOG_FILE

    def report(self, stage: RunStage) -> Path:
        """The report of a finished stage, which also marks it as finished (JSON)."""
        return self.workspace / "reports" / f"{stage}.json"
