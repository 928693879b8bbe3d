"""Finds secrets and AWS account ids in rows, which a model would memorise and reveal.

A finding names the kind of secret and its position, never the secret itself. The patterns are strict, because a match
drops a row; `runtime.errors` has broader ones for logs.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from loraform_trainer.prepare.dataset.rows import TrainingRow

DOCUMENTATION_ACCOUNTS = frozenset({
    "000000000000", "012345678901", "012345678910", "098765432109", "111111111111", "111122223333", "123456789012",
    "210987654321", "222222222222", "222233334444", "333333333333", "333344445555", "444455556666", "444444444444",
    "555555555555", "555566667777", "666666666666", "777777777777", "777788889999", "888888888888", "888899990000",
    "999999999999", "999988887777",
})  # fmt: skip
"""Account ids of AWS' documentation, and obviously invented ones."""
PUBLISHERS = frozenset({
    "099720109477", "125523088429", "127311923021", "136693071363", "137112412989", "309956199498", "591542846629",
    "602401143452", "679593333241", "763104351884", "801119661308", "013907871322", "410186602215", "917690137037",
})  # fmt: skip
"""Accounts that publish machine or container images (Canonical, Amazon, Debian, Red Hat, Windows, EKS, …)."""

_TOKEN_PATTERNS = (
    ("an AWS access key id", r"\b(?:AKIA|ASIA)(?!\w{9}EXAMPLE\b)[A-Z2-7]{16}\b"),
    (
        "an AWS secret access key",
        r"(?i:secret_?(?:access_?)?key)\W{1,8}(?![A-Za-z0-9/+]{30}EXAMPLEKEY)[A-Za-z0-9/+]{40}(?![A-Za-z0-9/+=])",
    ),
    ("a GitHub token", r"\b(?:gh[pousr]_[A-Za-z0-9]{36,255}|github_pat_[A-Za-z0-9_]{22,255})\b"),
    ("a GitLab token", r"\bgl(?:pat|dt|ptt|rt|cbt)-[A-Za-z0-9_-]{20,}"),
    ("a Slack token", r"\bxox[abeoprs]-[A-Za-z0-9-]{10,}|hooks\.slack\.com/services/T\w{5,}/B\w{5,}/\w{10,}"),
    ("a Google API key", r"\bAIza[A-Za-z0-9_-]{35}(?![A-Za-z0-9_-])"),
    ("a Google OAuth token", r"\bya29\.[A-Za-z0-9_-]{20,}"),
    ("a JSON web token", r"\beyJ[A-Za-z0-9_-]{8,}\.eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}"),
    ("a private key", r"-----BEGIN (?:[A-Z0-9]+ ){0,3}PRIVATE KEY(?: BLOCK)?-----"),
)  # fmt: skip
_SENSITIVE_NAME = (
    r"[\w-]{0,60}(?:password|passwd|passphrase|auth_token|api_key|access_token|secret_string|client_secret"
    r"|shared_key|secret_key)(?:_wo)?"
)
# A value with `${` is an expression; an ARN, path or alias refers to a secret that is stored elsewhere.
_LITERAL = r'"(?!(?:arn:|data:|/|alias/))(?=[^"$\\{}<]{1,200}")[^"]+"'
_PASSWORD = re.compile(rf'(?<![\w.-])"?(?P<name>{_SENSITIVE_NAME})"?\s{{0,40}}[=:]\s{{0,40}}{_LITERAL}', re.IGNORECASE)
_DEFAULT = re.compile(
    rf'\bvariable\s{{1,8}}"(?P<name>{_SENSITIVE_NAME})"\s{{0,8}}\{{[^{{}}]{{0,1000}}?\bdefault\s{{0,40}}=\s{{0,40}}{_LITERAL}',
    re.IGNORECASE,
)
_VALUE = rf"(?<!\w)(?P<name>value(?:_wo)?)\s{{0,40}}=\s{{0,40}}{_LITERAL}"
_LITERAL_PATTERNS = (
    _PASSWORD,
    _DEFAULT,
    re.compile(rf'"SecureString"[^{{}}]{{0,500}}?{_VALUE}'),  # aws_ssm_parameter, whose arguments may be in any order
    re.compile(rf'{_VALUE}[^{{}}]{{0,500}}?"SecureString"'),
)
_TOKEN_REGEXES = tuple((kind, re.compile(pattern)) for kind, pattern in _TOKEN_PATTERNS)
_HINTS = (
    "akia", "asia", "secret", "gh", "glpat", "gldt", "glptt", "glrt", "glcbt", "xox", "slack", "aiza", "ya29", "eyj",
    "private key", "pass", "token", "api_key", "shared_key",
    "securestring",
)  # fmt: skip
"""Lower-case substrings, one of which each secret contains; searching for them first is ten times faster."""
_ACCOUNT = re.compile(r"\d{12}(?![0-9A-Za-z_])(?<![0-9A-Za-z_.+]\d{12})(?<![0-9a-f]{4}-\d{12})")  # not a UUID's end


def secret_in(row: TrainingRow) -> str | None:
    """Return the kind and position of the first secret or real account id in a row; None without one."""
    for name, text in (("instruction", row.instruction), ("input", row.input), ("response", row.response)):
        for kind, start in _find_secrets(text):
            return f"{kind} in the {name}, line {text.count(chr(10), 0, start) + 1}"
    return None


def mask(text: str) -> str:
    """Return `text` with all that `secret_in` finds replaced by `…`."""
    for _, pattern in _TOKEN_REGEXES:
        text = pattern.sub("…", text)
    for pattern in _LITERAL_PATTERNS:
        text = pattern.sub(lambda match: f"{match['name']} = …", text)
    return _ACCOUNT.sub(lambda match: match[0] if _is_example(match[0]) else "…", text)


def _find_secrets(text: str) -> Iterator[tuple[str, int]]:
    lowered = text.lower()
    if any(hint in lowered for hint in _HINTS):
        for kind, pattern in _TOKEN_REGEXES:
            if match := pattern.search(text):
                yield kind, match.start()
        for pattern in _LITERAL_PATTERNS:
            if match := pattern.search(text):
                yield f"a literal value of {match['name']}", match.start("name")
    for match in _ACCOUNT.finditer(text):
        if not _is_example(match[0]):
            yield "an account id (12 digits, not one of AWS' documentation)", match.start()


def _is_example(account: str) -> bool:
    return account in DOCUMENTATION_ACCOUNTS or account in PUBLISHERS
