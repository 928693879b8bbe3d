"""Literal secrets, and what looks like one; joined from halves so that scanners of repositories ignore this file."""

from __future__ import annotations

import time

import pytest

from loraform_verifier.security.literal_secrets import MAX_FINDINGS, find_secrets, secret_diagnostics, without_secrets

LETTERS = "Zq3vT8mKp1Xw7Rb5Nd9Lc2Hf6Jg4Ys0AeUiOtWkB"
KEY_ID = "AK" + "IA" + "Q3VT7MKP2XW7RB5N"
JWT = f"{'ey' + 'J'}{LETTERS[:20]}.{'ey' + 'J'}{LETTERS[:20]}.{LETTERS}"
PEM = "-----BEGIN RSA " + "PRIVATE KEY-----"

TOKENS = {
    KEY_ID: "an AWS access key id",
    "gh" + "p_" + LETTERS[:36]: "a GitHub token",
    "gl" + "pat-" + LETTERS[:20]: "a GitLab token",
    "xo" + "xb-" + LETTERS[:24]: "a Slack token",
    "hooks.sl" + "ack.com/services/T" + LETTERS[:8] + "/B" + LETTERS[:8] + "/" + LETTERS[:20]: "a Slack token",
    "AI" + "za" + LETTERS[:35]: "a Google API key",
    "ya" + "29." + LETTERS: "a Google OAuth token",
    JWT: "a JSON web token",
    "sk" + "-proj-" + LETTERS: "an API key of OpenAI's or Anthropic's form",
    "sk" + "-ant-api03-" + LETTERS: "an API key of OpenAI's or Anthropic's form",
    "sk" + "_live_" + LETTERS[:24]: "a Stripe key",
    "wh" + "sec_" + LETTERS[:32]: "a Stripe key",
    "hf" + "_" + LETTERS[:34]: "a Hugging Face token",
    "np" + "m_" + LETTERS[:36]: "an npm token",
    "hv" + "s." + LETTERS[:24]: "a Vault token",
    LETTERS[:14] + ".atlas" + "v1." + LETTERS * 2: "a Terraform token",
    "SG" + "." + LETTERS[:22] + "." + LETTERS: "a SendGrid key",
    f"{PEM}\nMIIEow{LETTERS}\n{LETTERS}": "a private key",
    f"{PEM}\\nMIIEow{LETTERS}": "a private key",
    f"{PEM}\nMIIEow{LETTERS}\nshort==\n-----END": "a private key",
    "-----BEGIN OPENSSH " + "PRIVATE KEY-----": "a private key",
}
WHERE = [
    'x = "{}"',
    'user_data = <<-EOF\n  #!/bin/sh\n  use {}\nEOF\n',
    "# {}",
    'policy = jsonencode({{ a = ["{}"] }})',
    "Use {} for it.",
]  # fmt: skip

HUNTER = [
    ('master_password = "{}"', "a literal value of master_password"),
    ('  "DB_PASSWORD": "{}"', "a literal value of DB_PASSWORD"),
    ('auth_token="{}"', "a literal value of auth_token"),
    ('dbPassword : "{}"', "a literal value of dbPassword"),
    ('client_secret = sensitive("{}")', "a literal value of client_secret"),
    ('password = base64encode("{}")', "a literal value of password"),
    ('passwords = ["{}"]', "a literal value of passwords"),
    ("api_key = <<EOT\n{}\nEOT\n", "a literal value of api_key"),
    ('secret_string = jsonencode({{ user = "a", password = "{}" }})', "a literal value of password"),
    ('secret_string = "{{\\"user\\":\\"a\\",\\"password\\":\\"{}\\"}}"', "a literal value of password"),
    ('{{ name = "DB_PASSWORD", value = "{}" }}', "a literal value of DB_PASSWORD"),
    ('setting {{\n  name  = "DBPassword"\n  value = "{}"\n}}', "a literal value of DBPassword"),
    ('variable "db_password" {{\n  type    = string\n  default = "{}"\n}}', "a literal value of db_password"),
    ('variable "x" {{\n  sensitive = true\n  default   = "{}"\n}}\n', "a literal value of x"),
    ('variable "api_key" {{ default = "{}" }}', "a literal value of api_key"),
    ('  type = "SecureString"\n  tier = "Standard"\n  value = "{}"', "a literal value of value"),
    ('  value_wo = "{}"\n  type     = "SecureString"', "a literal value of value_wo"),
    ("export AWS_SECRET_ACCESS_KEY={}", "a literal value of AWS_SECRET_ACCESS_KEY"),
    ('user_data = "#!/bin/sh\\nexport DB_PASSWORD={}\\n"', "a literal value of DB_PASSWORD"),
    ("export DB_PASSWORD='{}'", "a literal value of DB_PASSWORD"),
    ("mysql --password={} app", "a literal value of password"),
    ("users:\n  - password: {}\n", "a literal value of password"),
    ('url = "postgres://app:{}@db.internal:5432/app"', "a password in a URL"),
    ('c = "Server=db;User Id=app;Password={};"', "a password in a connection string"),
    ('password = coalesce(var.own, "{}")', "a literal value of password"),
    ('password = try(var.own, local.other, "{}")', "a literal value of password"),
    ('secret_data = "{}"', "a literal value of secret_data"),
    ('plaintext_value = "{}"', "a literal value of plaintext_value"),
    ('bgp_auth_key = "{}"', "a literal value of bgp_auth_key"),
    ('headers = {{ Authorization = "Bearer {}" }}', "an authorization header"),
]
PASSWORDS = ["hunter2hunter2", "S3cr3t-Pr0d", "correct4horse", "SuperSecret48291"]
SPECIAL = ['P\\"w{d}$1', "pa$$w0rd%x", "Tr0ub4dor&3'"]


@pytest.mark.parametrize("where", WHERE)
@pytest.mark.parametrize("token", TOKENS)
def test_a_token_is_found_wherever_it_stands(token: str, where: str) -> None:
    text = where.format(token)
    (secret,) = find_secrets(text)
    assert (secret.kind, text[secret.start : secret.end]) == (TOKENS[token], token.removesuffix("\n-----END"))
    assert token not in without_secrets(text)


@pytest.mark.parametrize("password", PASSWORDS)
@pytest.mark.parametrize(("text", "kind"), HUNTER)
def test_a_literal_under_a_sensitive_name_is_found(text: str, kind: str, password: str) -> None:
    text = text.format(password)
    (secret,) = find_secrets(text)
    assert (secret.kind, text[secret.start : secret.end]) == (kind, password)


@pytest.mark.parametrize("password", SPECIAL)
def test_a_password_may_have_any_characters(password: str) -> None:
    text = f'password = "{password}"'
    (secret,) = find_secrets(text)
    assert text[secret.start : secret.end] == password


def test_an_aws_secret_key_is_found_beside_its_name() -> None:
    (secret,) = find_secrets(f"The secret access key: {LETTERS}.")
    assert secret.kind == "an AWS secret access key"


PLACEHOLDERS = [
    "changeme", "ChangeMe123!", "change-me", "REPLACE_ME", "your-password-here", "YOUR_API_KEY", "<password>",
    "[token]", "{{ db_password }}", "__PASSWORD__", "%PASSWORD%", "example", "example-password", "placeholder", "TODO",
    "xxxxxxxx", "********", "0000", "...", "Password1", "PASSWORD", "mypassword", "admin", "test", "dummy",
    "mock_secret_key", "foobarbaz", "Mustbe8characters", "must_be_eight_characters", "12345678", "H@Sh1CoR3!",
    "testdatabasepassword", "AK" + "IAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCY" + "EXAMPLEKEY",
    "YourSecurePassword123!", "choose-a-strong-private-password", "ROTATE-ME-BEFORE-EXPOSURE", "insert-token-here",
    "some_password", "thisIsDog11", "true", "none", "managed-by-vault", "ignored", "stored-externally",
]  # fmt: skip


@pytest.mark.parametrize("value", PLACEHOLDERS)
@pytest.mark.parametrize("text", ['password = "{}"', 'variable "secret_key" {{\n  default = "{}"\n}}'])
def test_a_placeholder_is_no_secret(value: str, text: str) -> None:
    assert find_secrets(text.format(value)) == []


@pytest.mark.parametrize(
    "token",
    [
        "AK" + "IAIOSFODNN7EXAMPLE",
        "secret_key = wJalrXUtnFEMI/K7MDENG/bPxRfiCY" + "EXAMPLEKEY",
        "gh" + "p_" + "x" * 36,
        f"{PEM}\n...\n",
        f"{PEM}\\nYOUR KEY",
        "postgres://user:password@localhost/db",
        "Authorization: Bearer <token>",
    ],
)
def test_an_example_of_a_token_is_no_secret(token: str) -> None:
    assert find_secrets(token) == []


HARMLESS = [
    "master_password = var.db_password",
    "password = random_password.db.result",
    'master_password = "${random_password.db.result}"',
    'password = "prefix-${var.suffix}"',
    'password = data.aws_secretsmanager_secret_version.db.secret_string["password"]',
    'password = ""',
    "manage_master_user_password = true",
    'password_secret_arn = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:db"',
    'master_password = "arn:aws:ssm:eu-west-1:123456789012:parameter/db"',
    'auth_token = "/app/prod/token"',
    'client_secret = "projects/acme/secrets/web/versions/1"',
    'creation_token = "my-product"',
    'next_token = "hunter2hunter2"',
    'http_tokens = "required"',
    'token_validity_units {\n  access_token  = "hours"\n  refresh_token = "days"\n}',
    'auth_token_update_strategy = "ROTATE"',
    'password_policy {\n  temporary_password_validity_days = "7"\n}',
    '{ name = "DB_PASSWORD", value = "prod-db:password", type = "SECRETS_MANAGER" }',
    'docker login --password-stdin 123456789012.dkr.ecr.us-east-1.amazonaws.com',
    'export DB_PASSWORD=$(aws secretsmanager get-secret-value --secret-id prod/db1 --query SecretString)',
    'set {\n  name  = "auth.existingSecretPasswordKey"\n  value = "postgres-password"\n}',
    'pattern = "{ $.password = \\"*\\" }"',
    'override_special = "!#$%&*()-_=+[]{}<>:?"',
    'password = coalesce(var.own, random_password.db.result)',
    'password_length = "16"',
    'hash_key = "hunter2hunter2"',
    'kms_key_id = "1234abcd-12ab-34cd-56ef-1234567890ab"',
    'variable "db_password" {\n  type = string\n}\nvariable "name" {\n  default = "hunter2"\n}',
    '  type  = "String"\n  value = "hunter2"',
    '  type  = "SecureString"\n  value = var.password',
    '  type  = "SecureString"\n}\nresource "aws_ssm_parameter" "b" {\n  value = "hunter2"',
    '{ name = "DB_PASSWORD", valueFrom = "arn:aws:ssm:eu-west-1:123456789012:parameter/db" }',
    'export DB_PASSWORD="$SECRET"\nTOKEN=$(curl -X PUT http://169.254.169.254/latest/api/token)',
    'url = "postgres://app:${var.db_password}@db.internal/app"',
    "password: string\ntoken: required",
    'count = var.password == "hunter2" ? 1 : 0',
    'ami = "ami-0c55b159cbfafe1f0"\nowners = ["482917365028"]\nid = "123e4567-e89b-12d3-a456-426614174000"',
    'color = "#a1b2c3"\nat = "2024-01-15T00:00:00Z"\nbucket = "dump-202401150000"',
    'source_code_hash = "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="',
    f'template = "{"Q2xvdWQgaW5pdCBzY3JpcHQgd2l0aCBubyBzZWNyZXRz" * 4}"',
    'member = "serviceAccount:service-482913700000@gcp-sa-pubsub.iam.gserviceaccount.com"',
    'arn = "arn:aws:iam::482917365028:role/deploy"',
    'name = "sk-prod-subnet-group-eu-west-1a"',
]  # fmt: skip


@pytest.mark.parametrize("text", HARMLESS)
def test_what_only_looks_like_a_secret_is_none(text: str) -> None:
    assert find_secrets(text) == []
    assert without_secrets(text) == text


@pytest.mark.parametrize(
    "text",
    [
        'password = join("", ["hun", "ter2"])',
        'password = format("%s-%s", "hun", "ter2")',
        'password = var.own == "" ? "hunter2" : var.own',
        'password = "hunter2${var.suffix}"',
        'locals {\n  p = "hunter2"\n}\nx {\n  password = local.p\n}',
        'user_data = "ZXhwb3J0IERCX1BBU1NXT1JEPWh1bnRlcjIK"',
        "mysql -phunter2",
        "echo ubuntu:hunter2 | chpasswd",
        '{ value = "hunter2", name = "DB_PASSWORD" }',
        "Its password is hunter2.",
    ],
)
def test_what_docs_verifier_md_says_is_not_found(text: str) -> None:
    assert find_secrets(text) == []


@pytest.mark.parametrize(
    ("prompt", "found"),
    [
        ("Set the password to hunter2!", 0),
        ('password = "hunter2"', 0),
        ("Set the password to Hunter2!", 1),
        ("Set the password to hunter2x", 1),
        ("A database.", 1),
        ("", 1),
    ],
)
def test_a_literal_of_the_prompt_is_no_secret(prompt: str, found: int) -> None:
    assert len(find_secrets('password = "hunter2"', prompt)) == found


def test_a_literal_of_the_prompt_may_be_escaped_in_the_program() -> None:
    assert find_secrets('password = "a\\"b$${c}\\\\d"', 'The password is a"b${c}\\d') == []


def test_a_prompt_allows_its_own_tokens_and_no_others() -> None:
    other = KEY_ID[:-1] + "Q"
    assert [s.kind for s in find_secrets(f"{KEY_ID}\n{other}", f"Use {KEY_ID}.")] == ["an AWS access key id"]


def test_a_prompt_with_the_first_line_of_a_key_does_not_allow_a_key() -> None:
    assert find_secrets(f"{PEM}\n{LETTERS}", f"Write a key that begins with {PEM}")


def test_a_diagnostic_names_kind_and_line_and_not_the_secret() -> None:
    text = f'# one\nx {{\n  password = "hunter2"\n  k = ["{KEY_ID}", "{KEY_ID}"]\n}}\n'
    found = secret_diagnostics(text, "")
    assert [(d.code, d.line, d.message) for d in found] == [
        ("LiteralSecret", 3, "A secret stands in the program: a literal value of password."),
        ("LiteralSecret", 4, "A secret stands in the program: an AWS access key id."),
    ]
    assert not any(secret in d.model_dump_json() for d in found for secret in ("hunter2", KEY_ID))


def test_findings_are_limited() -> None:
    assert len(secret_diagnostics('password = "hunter2"\n' * 50, "")) == MAX_FINDINGS


@pytest.mark.parametrize(
    "unit",
    [
        'password = "hunter2"\n', 'password = "password = ', "password='", 'variable "db_password" {\n', "a-", "key",
        'name = "db_password" ', "password" + " " * 60, "a://a:", "--password ", PEM, JWT, "sk-a-", "SECRET_A=",
        "password=coalesce(a,", 'value = "SecureString" ', "password=(((", "\n token:", 'password="\\\\', "a",
        "changeme", "AccountKey=",
    ],
)  # fmt: skip
def test_the_time_is_linear_in_the_length(unit: str) -> None:
    text = (unit * (200_000 // len(unit) + 1))[:200_000]
    started = time.process_time()
    find_secrets(text)
    assert time.process_time() - started < 5, "200 kB take a fraction of a second; more is not linear"
