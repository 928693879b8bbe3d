"""Finds secrets and AWS account ids in rows, which a model would memorise and reveal.

Secrets are those that the verifier finds in answers. An account id is no secret in an answer, but a row that has one
tells whose it is. A finding names the kind and its place, never the value; `runtime.errors` has broader patterns for
logs.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from loraform_trainer.prepare.dataset.rows import TrainingRow
from loraform_verifier.security.literal_secrets import find_secrets, without_secrets

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

_IN_ADDRESS = re.compile(
    r"\barn:aws[a-z-]{0,20}:[a-z0-9-]{0,60}:[a-z0-9-]{0,60}:(?P<arn>\d{12})(?!\d)"
    r"|\b(?P<registry>\d{12})\.dkr\.ecr\.|\.amazonaws\.com(?:\.cn)?/(?P<queue>\d{12})/"
)
"""ARN, container registry and queue URL: here twelve digits are an account."""
_ALONE = re.compile(r"(?<![\w.+@/:-])\d{12}(?![\w@-])(?!\.\d)")
_NAMED_BEFORE = re.compile(
    r"(?<![a-z])(?:accounts?|owners?|principals?|identifiers|aws)(?:[_ ]?(?:ids?|numbers?))?[\"']?"
    r"(?:[\s\"'=:,\[(]|\d{12}|\b(?:is|with|id|number|no|and|or|of)\b)*$",
    re.IGNORECASE,
)
"""What stands before an account id that stands alone; other numbers of twelve digits are times or Google projects."""
MAX_BEFORE = 100
"""Characters before a number that may say that it is an account."""


def secret_in(row: TrainingRow) -> str | None:
    """Return the kind and position of the first secret or real account id in a row; None without one."""
    for name, text in (("instruction", row.instruction), ("input", row.input), ("response", row.response)):
        for kind, start in _findings(text):
            return f"{kind} in the {name}, line {text.count(chr(10), 0, start) + 1}"
    return None


def mask(text: str) -> str:
    """Return `text` with all that `secret_in` finds replaced by `…`."""
    text = without_secrets(text)
    for start, end in sorted(_accounts(text), reverse=True):
        text = f"{text[:start]}…{text[end:]}"
    return text


def _findings(text: str) -> Iterator[tuple[str, int]]:
    for secret in find_secrets(text):
        yield secret.kind, secret.start
    for start, _ in _accounts(text):
        yield "an account id (12 digits, not one of AWS' documentation)", start


def _accounts(text: str) -> Iterator[tuple[int, int]]:
    """Yield the spans of account ids that are neither the documentation's nor a publisher's."""
    spans = [match.span(match.lastgroup or 0) for match in _IN_ADDRESS.finditer(text)]
    spans += [
        match.span()
        for match in _ALONE.finditer(text)
        if _NAMED_BEFORE.search(text, max(0, match.start() - MAX_BEFORE), match.start())
    ]
    for start, end in spans:
        if text[start:end] not in DOCUMENTATION_ACCOUNTS | PUBLISHERS:
            yield start, end
