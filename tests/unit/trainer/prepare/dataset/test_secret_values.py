"""Secrets and account ids in rows, joined from halves so that scanners of repositories ignore this file."""

from __future__ import annotations

import pytest

from loraform_trainer.prepare.dataset.rows import TrainingRow
from loraform_trainer.prepare.dataset.secret_values import mask, secret_in

KEY = "AK" + "IA" + "Q3VT7MKP2XW7RB5N"
ACCOUNT = "482917" + "365028"
FOUND = {
    KEY: "an AWS access key id",
    'master_password = "Hunter2!"': "a literal value of master_password",
    f"arn:aws:iam::{ACCOUNT}:root": "an account id",
    f"arn:aws-cn:s3:::x arn:aws:sns:eu-west-1:{ACCOUNT}:t": "an account id",
    f"{ACCOUNT}.dkr.ecr.eu-west-1.amazonaws.com/app": "an account id",
    f"https://sqs.eu-west-1.amazonaws.com/{ACCOUNT}/jobs": "an account id",
    f'account_id = "{ACCOUNT}"': "an account id",
    f'owners = ["099720109477", "{ACCOUNT}"]': "an account id",
    f'identifiers = [\n    "{ACCOUNT}",\n  ]': "an account id",
    f'Principal = {{ AWS = "{ACCOUNT}" }}': "an account id",
    f"Share it with AWS account {ACCOUNT}.": "an account id",
    f"The account ID is {ACCOUNT}": "an account id",
    f"Use accounts 111122223333 and {ACCOUNT}": "an account id",
}
HARMLESS = [
    "arn:aws:iam::123456789012:root and account 111122223333 and owners 000000000000",
    'owners = ["099720109477"]',
    "account 123e4567-e89b-12d3-a456-426614174000",
    "d8f1234567890123 and 1234567890123 and 0x123456789013 and v1.482917365028",
    'member = "serviceAccount:service-482913700000@gcp-sa-pubsub.iam.gserviceaccount.com"',
    'project = "482913700000"',
    'name = "projects/482913700000/secrets/web"',
    'bucket = "dump-202401150000"',
    'created = "202401150000"',
    "Snapshot it at 202401150000",
    "sha256:482917365028482917365028 and 482917365028abcdef",
    'password = "changeme"',
    'password = "REPLACE_ME"',
    'password = "your-password-here"',
]


@pytest.mark.parametrize("text", FOUND)
def test_a_finding_names_the_secret_without_repeating_it(text: str) -> None:
    finding = secret_in(TrainingRow("a:1", "Do it.", "", f"# first line\n{text}\n"))
    assert finding is not None
    assert finding.startswith(FOUND[text])
    assert finding.endswith(f"in the response, line {3 if text.startswith('identifiers') else 2}")
    masked = mask(f"the verifier said: {text}.")
    assert not any(part in masked for part in ("Hunter2!", KEY, ACCOUNT))


@pytest.mark.parametrize("text", HARMLESS)
def test_harmless_lookalikes_are_no_findings(text: str) -> None:
    assert secret_in(TrainingRow("a:1", text, text, text)) is None
    assert mask(text) == text


def test_instruction_and_input_are_searched_too() -> None:
    finding = secret_in(TrainingRow("a:1", f"Use {KEY}.", "", "x"))
    assert finding == "an AWS access key id in the instruction, line 1"
    assert secret_in(TrainingRow("a:1", "Do.", KEY, "x")) == "an AWS access key id in the input, line 1"


def test_a_secret_that_the_instruction_names_is_still_one_in_a_row() -> None:
    row = TrainingRow("a:1", "Set the password to Hunter2!", "", 'password = "Hunter2!"')
    assert secret_in(row) == "a literal value of password in the response, line 1"
