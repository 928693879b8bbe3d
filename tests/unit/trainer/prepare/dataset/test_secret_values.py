"""Secrets and harmless lookalikes, joined from halves so that secret scanners ignore this file."""

from __future__ import annotations

import pytest

from loraform_trainer.prepare.dataset.rows import TrainingRow
from loraform_trainer.prepare.dataset.secret_values import mask, secret_in

LETTERS = "Zq3vT8mKp1Xw7Rb5Nd9Lc2Hf6Jg4Ys0AeUiOtWkB"
KEY = "AK" + "IA" + "Q3VT7MKP2XW7RB5N"
SECRETS = {
    "an AWS access key id": KEY,
    "an AWS secret access key": "aws_secret_access_key = " + LETTERS,
    "a GitHub token": "gh" + "p_" + LETTERS[:36],
    "a GitLab token": "gl" + "pat-" + LETTERS[:20],
    "a Slack token": "xo" + "xb-" + LETTERS[:24],
    "a Google API key": "AI" + "za" + LETTERS[:35],
    "a JSON web token": f"{'ey' + 'J'}{LETTERS[:20]}.{'ey' + 'J'}{LETTERS[:20]}.{LETTERS}",
    "a private key": "-----BEGIN OPENSSH " + "PRIVATE KEY-----",
    "an account id": "arn:aws:iam::" + "482917" + "365028:root",
    "a literal value of master_password": 'master_password = "Hunter2!"',
    "a literal value of db_password": 'variable "db_password" {\n  type    = string\n  default = "hunter2"\n}',
    "a literal value of DB_PASSWORD": '"DB_PASSWORD": "hunter2"',
    "a literal value of auth_token": 'auth_token="abc"',
    "a literal value of value": '  type = "SecureString"\n  tier = "Standard"\n  value = "hunter2"',
    "a literal value of value_wo": '  value_wo = "hunter2"\n  type     = "SecureString"',
}
HARMLESS = [
    "AK" + "IAIOSFODNN7EXAMPLE",
    "secret_key = wJalrXUtnFEMI/K7MDENG/bPxRfiCY" + "EXAMPLEKEY",
    "arn:aws:iam::123456789012:root and 111122223333 and 000000000000",
    'owners = ["099720109477"]',
    "123e4567-e89b-12d3-a456-426614174000",
    "d8f1234567890123 and 1234567890123 and 0x123456789013 and v1.482917365028",
    "master_password = var.db_password",
    'master_password = "${random_password.db.result}"',
    'password = ""',
    'password_secret_arn = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:db"',
    'master_password = "arn:aws:ssm:eu-west-1:123456789012:parameter/db"',
    'variable "db_password" {\n  type = string\n}\nvariable "name" {\n  default = "a"\n}',
    '  type  = "String"\n  value = "eu-west-1"',
    '  type  = "SecureString"\n  value = var.password',
    '  type  = "SecureString"\n}\nresource "aws_ssm_parameter" "b" {\n  value = "eu-west-1"',
]


@pytest.mark.parametrize("kind", SECRETS)
def test_a_finding_names_the_secret_without_repeating_it(kind: str) -> None:
    row = TrainingRow("a:1", "Do it.", "", f"# first line\n{SECRETS[kind]}\n")
    finding = secret_in(row)
    assert finding is not None
    assert finding.startswith(kind)
    line = 4 if finding.startswith("a literal value of value in") else 2
    assert finding.endswith(f"in the response, line {line}")
    masked = mask(f"the verifier said: {SECRETS[kind]}.")
    for part in ("hunter2", "Hunter2!", '"abc"', LETTERS[:20], KEY, "OPENSSH", "365028"):
        assert part not in masked


@pytest.mark.parametrize("text", HARMLESS)
def test_harmless_lookalikes_are_no_findings(text: str) -> None:
    assert secret_in(TrainingRow("a:1", text, text, text)) is None
    assert mask(text) == text


def test_instruction_and_input_are_searched_too() -> None:
    finding = secret_in(TrainingRow("a:1", f"Use {KEY}.", "", "x"))
    assert finding == "an AWS access key id in the instruction, line 1"
    assert secret_in(TrainingRow("a:1", "Do.", KEY, "x")) == "an AWS access key id in the input, line 1"
