"""Hostile programs inside the verifier of a restricted pod: refused or bounded, and the container is not restarted."""

from __future__ import annotations

import json
from typing import Any

from loraform_api import names
from loraform_demo.run_kube import Kube
from loraform_demo.run_store import NAMESPACE

# The verifier listens on the pod's loopback alone, so it is asked from inside its container.
ASK = """
import json, sys
from loraform_api.verification import Program, Stage, VerifyRequest
from loraform_verifier.http.blocking import verify
programs = [Program(id=name, text=text) for name, text in json.loads(sys.argv[1]).items()]
stages = [Stage.PARSE, Stage.VALIDATE, Stage.PLAN, Stage.SECURITY]
print(verify("http://127.0.0.1:8085", VerifyRequest(programs=programs, stages=stages)).model_dump_json())
"""
DENIED = {
    "token": 'output "x" {\n  value = file("/var/run/secrets/kubernetes.io/serviceaccount/token")\n}\n',
    "metadata": 'data "http" "x" {\n  url = "http://169.254.169.254/latest/meta-data/"\n}\n',
    "state": 'data "terraform_remote_st\\u0061te" "x" {\n  backend = "local"\n  config = {\n    path = "/x"\n  }\n}\n',
    "command": 'resource "terraform_data" "x" {\n  provisioner "local-exec" {\n    command = "id"\n  }\n}\n',
}
BOMB = {"memory": 'locals {\n  a = format("%1500000000s", "x")\n}\noutput "a" {\n  value = local.a\n}\n'}
GOOD = {"good": 'resource "aws_vpc" "ok" {\n  cidr_block = "10.0.0.0/16"\n}\n'}


def gateway_pod(kube: Kube) -> dict[str, Any]:
    return kube.items("pods", NAMESPACE, "-l", f"{names.LABEL_COMPONENT}=gateway")[0]


def verifier_of(pod: dict[str, Any]) -> dict[str, Any]:
    status: dict[str, Any] = next(
        s for s in pod["status"]["initContainerStatuses"] if s["name"] == names.CONTAINER_VERIFIER
    )
    return status


def test_hostile_programs_in_a_restricted_pod(demo: dict[str, Any], kube: Kube) -> None:
    before = gateway_pod(kube)
    name = before["metadata"]["name"]
    texts = json.dumps({**DENIED, **BOMB, **GOOD})
    container = ["-n", NAMESPACE, "-c", names.CONTAINER_VERIFIER, name, "--", "python", "-c", ASK, texts]
    answer = json.loads(kube.run("exec", *container, timeout=600))
    found = {v["id"]: [d["code"] for s in v["stages"] for d in s["diagnostics"]] for v in answer["verdicts"]}
    assert {program: found[program][-1:] for program in DENIED} == {program: ["BlockedByPolicy"] for program in DENIED}
    assert found["memory"][-1] in ("Timeout", "TerraformFailed")
    assert found["good"] == []
    assert verifier_of(kube.items("pods", NAMESPACE, "-l", f"{names.LABEL_COMPONENT}=gateway")[0]) == verifier_of(
        before
    )
