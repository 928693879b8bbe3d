"""Examples are valid for the operator's models, and have no field that it ignores."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from loraform_api.failures import FailureClass
from loraform_api.finetunejob import FineTuneJobSpec
from loraform_api.iacmodel import IaCModelSpec
from loraform_operator.iacmodel.gateway_options import service_port

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
SPECS = {"FineTuneJob": FineTuneJobSpec, "IaCModel": IaCModelSpec}
GOOD = sorted(path for path in EXAMPLES.rglob("*.yaml") if path.parent.name != "bad")
BAD = sorted((EXAMPLES / "bad").glob("*.yaml"))


def documents(path: Path) -> list[dict[str, Any]]:
    """Return all objects of a file."""
    return [document for document in yaml.safe_load_all(path.read_text()) if document]


def known(given: Any, read: Any) -> Any:
    """Return `given` without the fields that the model did not keep."""
    if isinstance(given, dict) and isinstance(read, dict):
        return {key: known(value, read[key]) for key, value in given.items() if key in read}
    if isinstance(given, list) and isinstance(read, list):
        return [known(one, other) for one, other in zip(given, read, strict=True)]
    return read


@pytest.mark.parametrize("path", GOOD, ids=lambda p: p.name)
def test_an_example_holds_only_what_the_operator_reads(path: Path) -> None:
    for document in documents(path):
        if document["kind"] in SPECS:
            spec = SPECS[document["kind"]].model_validate(document["spec"])
            assert known(document["spec"], spec.model_dump(mode="json", by_alias=True)) == document["spec"]


@pytest.mark.parametrize("path", BAD, ids=lambda p: p.name)
def test_a_bad_example_says_what_is_wrong_what_to_expect_and_what_to_do(path: Path) -> None:
    header = [line for line in path.read_text().splitlines() if line.startswith("# ")][:3]
    assert [line.split(":")[0] for line in header] == ["# wrong", "# expect", "# next"]
    expected = header[1].removeprefix("# expect: ")
    if not expected.startswith("refused: "):
        assert FailureClass(expected.split()[-1])


def test_there_are_ten_bad_examples() -> None:
    assert [path.name[:2] for path in BAD] == [f"{number:02}" for number in range(1, 11)]


def test_the_quickstart_is_in_the_namespace_of_its_claim() -> None:
    [namespace, claim] = documents(EXAMPLES / "store.yaml")
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    for path in (EXAMPLES / "quickstart").glob("*.yaml"):
        [example] = documents(path)
        assert example["metadata"]["namespace"] == claim["metadata"]["namespace"] == namespace["metadata"]["name"]


def test_ingress_and_route_lead_to_the_models_service() -> None:
    folder = EXAMPLES / "exposed"
    ([model], [ingress], [route]) = (
        documents(folder / f"{name}.yaml") for name in ("iacmodel", "ingress", "httproute")
    )
    name, number = service_port(IaCModelSpec.model_validate(model["spec"]).serving)
    (path,) = ingress["spec"]["rules"][0]["http"]["paths"]
    assert path["backend"]["service"] == {"name": model["metadata"]["name"], "port": {"name": name}}
    assert route["spec"]["rules"][0]["backendRefs"] == [{"name": model["metadata"]["name"], "port": number}]
    assert {d["metadata"]["namespace"] for d in (model, ingress, route)} == {"demo"}
