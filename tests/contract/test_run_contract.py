"""The run contract between operator and trainer: paths, stages, exit codes, reports."""

from __future__ import annotations

import ast
import importlib.util
import json
from pathlib import Path

import pytest

from loraform_api import names
from loraform_api.failures import ExitCode
from loraform_api.finetunejob import FineTuneJobSpec
from loraform_api.names import RunStage
from loraform_api.run import RunConfig, StageReport
from loraform_trainer.__main__ import MODULES
from loraform_trainer.runtime import stage_report
from loraform_trainer.runtime.context import Context
from loraform_trainer.runtime.paths import Paths
from loraform_trainer.runtime.progress import Progress


def spec() -> dict[str, object]:
    source = {"name": "rows", "configMap": {"name": "rows", "key": "rows.jsonl"}}
    return {
        "baseModel": {"storageUri": "pvc://models/tiny"},
        "dataset": {"sources": [source]},
        "evaluation": {"suites": [{**source, "name": "suite"}]},
        "output": {"storageUri": "pvc://artifacts/adapters"},
    }


def config() -> RunConfig:
    return RunConfig(
        namespace="team", name="job", uid="1", spec=FineTuneJobSpec.model_validate(spec()), images={},
        engine_dtype="float32",
    )  # fmt: skip


@pytest.mark.parametrize("stage", list(RunStage))
def test_every_stage_has_a_module_that_runs_it(stage: RunStage) -> None:
    """Read, not imported: training's import is that of torch."""
    module = importlib.util.find_spec(MODULES[stage])
    assert module is not None
    assert module.origin is not None
    tree = ast.parse(Path(module.origin).read_text())
    functions = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
    assert "run" in functions


def test_the_defaults_are_the_pods_mounts() -> None:
    paths = Paths()
    assert str(paths.run_config) == "/etc/loraform/run/run.json"
    assert str(paths.termination_log) == names.TERMINATION_LOG
    assert [str(p) for p in (paths.workspace, paths.base_mount, paths.output_mount, paths.live_mount)] == [
        names.WORKSPACE_DIR, names.BASE_MOUNT, names.OUTPUT_MOUNT, names.LIVE_MOUNT,
    ]  # fmt: skip
    assert str(paths.base) == "/workspace/base"  # the engine sidecar serves this folder
    assert str(paths.report(RunStage.TRAIN)) == "/workspace/reports/train.json"


def test_the_sidecars_are_where_the_operator_puts_them() -> None:
    context = Context(config(), Paths(), Progress(None))
    assert context.engine_url == f"http://127.0.0.1:{names.PORT_ENGINE}"
    assert context.verifier_url == f"http://127.0.0.1:{names.PORT_VERIFIER}"


def test_a_run_config_survives_its_config_map() -> None:
    """The trainer reads from the ConfigMap what the operator wrote."""
    written = config().model_dump_json(by_alias=True, exclude_none=True)
    assert RunConfig.model_validate_json(written) == config()
    assert "baseModel" in json.loads(written)["spec"]


def test_only_a_successful_report_marks_a_stage_as_done(tmp_path: Path) -> None:
    paths = Paths(workspace=tmp_path, termination_log=tmp_path / "log")
    stage_report.write(paths, StageReport(stage=RunStage.TRAIN, exit_code=ExitCode.TRAINER_ERROR, message="no"))
    assert stage_report.read(paths, RunStage.TRAIN) is None
    done = StageReport(stage=RunStage.TRAIN, message="12 steps")
    stage_report.write(paths, done)
    assert stage_report.read(paths, RunStage.TRAIN) == done
    assert StageReport.model_validate_json(paths.termination_log.read_text()) == done


def test_a_damaged_report_is_ignored(tmp_path: Path) -> None:
    paths = Paths(workspace=tmp_path, termination_log=tmp_path / "log")
    paths.report(RunStage.TRAIN).parent.mkdir()
    paths.report(RunStage.TRAIN).write_text('{"stage": "tr')
    assert stage_report.read(paths, RunStage.TRAIN) is None


def test_a_full_workspace_still_reports_to_the_kubelet(tmp_path: Path) -> None:
    (tmp_path / "reports").write_text("a file where the folder should be")
    paths = Paths(workspace=tmp_path, termination_log=tmp_path / "log")
    failed = StageReport(stage=RunStage.TRAIN, exit_code=ExitCode.WORKSPACE_FULL, message="full")
    stage_report.write(paths, failed)
    assert StageReport.model_validate_json(paths.termination_log.read_text()) == failed
