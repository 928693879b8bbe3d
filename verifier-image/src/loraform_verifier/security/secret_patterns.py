"""The forms in which a secret stands in a text: tokens of known services, and literals under a sensitive name.

Each pattern has the group `value`, or those of `LITERAL`. Every repetition is bounded or ends at the first character
that it cannot contain, so that the time to search a text is linear in its length.
"""

from __future__ import annotations

import re

_BREAK = r"(?:\s|\\[nr]){0,40}"
"""What stands between the lines of a key, also of one that is written as a string."""

TOKENS = tuple(
    (kind, hints, re.compile(pattern))
    for kind, hints, pattern in (
        ("an AWS access key id", ("akia", "asia"), r"\b(?P<value>(?:AKIA|ASIA)[A-Z2-7]{16})\b"),
        (
            "an AWS secret access key",
            ("secret",),
            r"(?i:secret[-_ ]?(?:access[-_ ]?)?key)\W{1,8}(?P<value>[A-Za-z0-9/+]{40})(?![A-Za-z0-9/+=])",
        ),
        (
            "a GitHub token",
            ("ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat_"),
            r"\b(?P<value>gh[pousr]_[A-Za-z0-9]{36,255}|github_pat_[A-Za-z0-9_]{22,255})\b",
        ),
        (
            "a GitLab token",
            ("glpat-", "gldt-", "glptt-", "glrt-", "glcbt-"),
            r"\b(?P<value>gl(?:pat|dt|ptt|rt|cbt)-[A-Za-z0-9_-]{20,255})",
        ),
        (
            "a Slack token",
            ("xox", "hooks.slack.com"),
            r"\b(?P<value>xox[abeoprs]-[A-Za-z0-9-]{10,255}|hooks\.slack\.com/services/T\w{5,60}/B\w{5,60}/\w{10,60})",
        ),
        ("a Google API key", ("aiza",), r"\b(?P<value>AIza[A-Za-z0-9_-]{35})(?![A-Za-z0-9_-])"),
        ("a Google OAuth token", ("ya29.",), r"\b(?P<value>ya29\.[A-Za-z0-9_-]{20,255})"),
        (
            "a JSON web token",
            ("eyj",),
            r"\b(?P<value>eyJ[A-Za-z0-9_-]{8,4000}+\.eyJ[A-Za-z0-9_-]{8,4000}+\.[A-Za-z0-9_-]{8,4000}+)",
        ),
        (
            "an API key of OpenAI's or Anthropic's form",
            ("sk-",),
            r"(?<![\w-])(?P<value>sk-(?=[a-zA-Z_-]{0,80}\d)(?=[a-z0-9_-]{0,80}[A-Z])[A-Za-z0-9_-]{20,255})",
        ),
        ("a Stripe key", ("k_live_", "whsec_"), r"\b(?P<value>(?:[sr]k_live|whsec)_[A-Za-z0-9]{16,255})"),
        ("a Hugging Face token", ("hf_",), r"\b(?P<value>hf_[A-Za-z0-9]{30,60})\b"),
        ("an npm token", ("npm_",), r"\b(?P<value>npm_[A-Za-z0-9]{36})\b"),
        ("a Vault token", ("hvs.", "hvb."), r"\b(?P<value>hv[sb]\.[A-Za-z0-9_-]{24,255})"),
        ("a Terraform token", (".atlasv1.",), r"\b(?P<value>[A-Za-z0-9]{14}\.atlasv1\.[A-Za-z0-9_-]{40,255})"),
        ("a SendGrid key", ("sg.",), r"\b(?P<value>SG\.[A-Za-z0-9_-]{16,64}\.[A-Za-z0-9_-]{16,64})"),
        (
            "a private key",
            ("private key-----", "private key block-----"),
            r"(?P<value>-----BEGIN (?:[A-Z0-9]{1,20} ){0,3}PRIVATE KEY(?: BLOCK)?-----"
            rf"(?!{_BREAK}(?:[.<\[…]|x{{3}}|(?i:your|example|insert|replace)))"
            rf"(?:{_BREAK}[A-Za-z0-9+/=]{{24,76}}){{0,200}}+(?:{_BREAK}[A-Za-z0-9+/=]{{1,76}}(?={_BREAK}-----END))?)",
        ),
        (
            "a password in a URL",
            ("://",),
            r"\b[a-z][a-z0-9+.-]{1,20}://[^\s:/@\"'$<>{}\\]{0,64}:(?P<value>[^\s@/\"'$<>{}\\]{3,200})@",
        ),
        (
            "a password in a connection string",
            ("password=", "pwd=", "accountkey=", "sharedaccesskey="),
            r"(?i)[;?&](?:password|pwd|accountkey|sharedaccesskey)=(?P<value>[^;&\"'\s$<>{}\\]{3,200})",
        ),
        (
            "an authorization header",
            ("bearer ", "basic "),
            r"(?i:authorization)\W{1,8}(?i:bearer|basic) (?P<value>[A-Za-z0-9._~+/=-]{8,2000})",
        ),
    )
)
"""Kind, lower-case texts of which one stands in each match (searching for them first is ten times faster), pattern."""

SENSITIVE_HINTS = ("pass", "pwd", "token", "secret", "key", "plaintext", "sensitive", "securestring")
"""Lower-case texts, of which one stands in each text that holds a literal under a sensitive name."""
_SENSITIVE = re.compile(
    r"(?:passwords?|passwd|passphrase|(?:^|[_.-])(?:pass|pwd)|db[_-]?pwd"
    r"|^token|(?:auth|access|api|bearer|refresh|session|bot|oauth|registration|github|gitlab|slack|vault|secret)[_-]?token"
    r"|api[_-]?keys?|auth[_-]?key|secret[_-]?(?:string|data|binary)|plaintext[_-]?value|shared[_-]?key|secret[_-]?(?:access[_-]?)?key|account[_-]?(?:access[_-]?)?key"
    r"|(?:client|app|application|shared|webhook|jwt|consumer|signing|session|cookie|auth)[_-]?secret)(?:_wo)?$"
)
_DECIDED_ELSEWHERE = re.compile(
    r"arn:|data:|alias/|kms:|ssm:|vault:|op://|secretsmanager:|projects/|[~/]|\.{1,2}/|https?://"
    r"|\$\{|\$\(|%\{|\$[A-Za-z_]\w*$|[{\[]|\{\{|@Microsoft\.KeyVault|(?:var|local|data|module|each|random_\w+|aws_\w+)\."
)
"""How a value begins that only names where a secret is, or that holds assignments of its own (JSON)."""

_SPACE = r"[ \t]{0,60}"
_CALLS = (
    r"(?:(?:sensitive|nonsensitive|tostring|trimspace|chomp|base64encode|urlencode|upper|lower)?\([ \t]{0,9}){0,3}"
    r"(?:(?:coalesce|try)\([ \t]{0,9}(?:[\w.-]{1,99},[ \t]{0,9}){1,3})?"
    r"(?:\[\s{0,60})?"
)
_TEXT = (
    r'(?:\\"(?P<escaped>[^"\\\n]{1,2000})\\"'  # JSON in a text
    r'|"(?P<double>(?:[$%]{2}\{|\\.|[^"\\$%\n]|[$%](?!\{)){1,2000})"'
    r"|'(?P<single>[^'\\\n]{1,2000})')"
)
_HEREDOC = r"<<[-~]?(?P<marker>\w{1,40})\n(?P<heredoc>[^\n]{1,2000})\n\s{0,60}(?P=marker)\b"
LITERAL = rf"{_CALLS}(?:{_TEXT}|{_HEREDOC})"
_BARE = r"(?P<bare>[^\s\"'$`\\;&|<>(){}\[\],]{6,200})"
"""Without quotes only what has a letter and a digit counts: without quotes most values are words or references."""
_START = r"(?:(?<![\w.$\\-])|(?<=\\[nrt]))"
_NAME = rf"{_START}(?P<name>[A-Za-z_][\w.-]{{0,99}}+)"

ASSIGNMENTS = tuple(
    re.compile(pattern)
    for pattern in (
        rf"{_NAME}(?:\\?[\"'])?{_SPACE}(?:=>|=(?![=~])|:(?!:))(?={_SPACE}{LITERAL})",
        rf"\bname[\"']?{_SPACE}[=:]{_SPACE}\"(?P<name>[\w.-]{{1,100}})\",?\s{{0,60}}\"?value\"?{_SPACE}[=:]{_SPACE}{LITERAL}",
        rf"--(?P<name>[a-z][a-z-]{{2,60}})(?:=|[ \t]{{1,9}})(?:{_TEXT}|{_BARE})",
        rf"{_START}(?P<name>[A-Z][A-Z0-9_]{{2,60}}+)={_BARE}",
        rf"(?m:^)[ \t]{{0,60}}(?:-[ \t]+)?(?P<name>[A-Za-z_][\w.-]{{0,99}}+):[ \t]{{1,9}}{_BARE}[ \t]{{0,60}}(?m:$)",
    )
)
"""Forms of a name with its value: HCL and JSON, pairs of `name` and `value`, options, environment, YAML. The first
looks ahead only, because its value may be a text with assignments of its own."""

VARIABLE = re.compile(rf"\bvariable{_SPACE}\"(?P<name>[\w-]{{1,100}})\"{_SPACE}\{{")
DEFAULT = re.compile(rf"\bdefault{_SPACE}={_SPACE}{LITERAL}")
MARKED_SENSITIVE = re.compile(rf"\bsensitive{_SPACE}={_SPACE}true\b")
_VALUE = rf"(?<!\w)(?P<name>value(?:_wo)?){_SPACE}={_SPACE}{LITERAL}"
SECURE_STRINGS = (
    re.compile(rf'"SecureString"[^{{}}]{{0,500}}?{_VALUE}'),  # aws_ssm_parameter, whose arguments may be in any order
    re.compile(rf'{_VALUE}[^{{}}]{{0,500}}?"SecureString"'),
)


def is_sensitive(name: str) -> bool:
    """Return whether an argument, variable or key of this name holds a secret."""
    return _SENSITIVE.search(name.lower()) is not None


def is_decided_elsewhere(value: str) -> bool:
    """Return whether a value refers to a secret (ARN, path, `$VAR`), or holds assignments of its own (JSON)."""
    return _DECIDED_ELSEWHERE.match(value) is not None
