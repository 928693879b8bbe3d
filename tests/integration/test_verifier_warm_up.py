"""Providers run before the first request and again after one was stopped; both in nobody's time."""

from __future__ import annotations

from loraform_api.verification import VALIDITY, Program, VerifyRequest
from loraform_verifier.terraform.provider_server import ProviderServers
from loraform_verifier.terraform.toolchain import Terraform
from loraform_verifier.terraform.warm_up import WarmUp
from loraform_verifier.verify import Verifier

QUEUE = Program(id="a", text='resource "aws_sqs_queue" "q" {\n  name = "q"\n}\n')


def test_providers_run_before_the_first_request_and_again_after_they_were_stopped(terraform: Terraform) -> None:
    with ProviderServers(terraform) as servers:
        warm_up = WarmUp(terraform, servers)
        assert servers.stopped() == [], "none has run"
        warm_up()
        first = {name: server.child.process.pid for name, server in servers._servers.items()}
        assert "hashicorp/aws" in first
        warm_up()
        request = VerifyRequest(programs=[QUEUE], stages=list(VALIDITY))
        assert Verifier(terraform, servers=servers).verify(request).verdicts[0].passed
        assert {n: s.child.process.pid for n, s in servers._servers.items()} == first, "no start in a request's time"
        servers.drop()
        assert "aws" in servers.stopped()
        warm_up()
        assert servers.stopped() == []
