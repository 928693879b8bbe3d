"""One FineTuneJob over twenty thousand rows, whole, on the tiny base."""

from __future__ import annotations

import json

import pytest

from loraform_demo.corpus import dataset_rows
from loraform_demo.make_data import dataset_json
from loraform_demo.run_kube import Kube
from loraform_demo.run_store import write

from .runs import few_rows, phase_is, small_job, wait

ROWS = 20_000


@pytest.mark.slow
def test_a_run_over_twenty_thousand_rows(kube: Kube) -> None:
    name = "many-rows"
    lines = "".join(json.dumps(row) + "\n" for row in dataset_json(dataset_rows(ROWS, seed=7)))
    write(kube, "data/many-rows.jsonl", lines)
    kube.apply(few_rows(name))
    body = small_job(name)
    body["spec"]["dataset"]["sources"][0]["persistentVolumeClaim"]["path"] = "data/many-rows.jsonl"
    body["spec"]["checkpoint"] = {"everySteps": 100}
    kube.apply(body)
    status = wait(kube, name, phase_is("Succeeded"), 3600)
    counts = {row["name"]: row["rows"] for row in status["dataset"]["rows"]}
    print(f"\n{counts} {status['training']} {status['stages']}")
    dropped = sum(rows for filter_, rows in counts.items() if filter_ not in ("Read", "Train", "Validation"))
    assert counts["Read"] == ROWS
    assert counts["Train"] + counts["Validation"] + dropped == ROWS
    assert counts["Validation"] == 500
