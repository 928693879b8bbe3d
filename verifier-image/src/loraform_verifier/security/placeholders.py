"""Tells values that stand for a secret, such as "changeme", from values that may be one."""

from __future__ import annotations

import re

MAX_DIGITS = 4
"""Digits in a row that may follow a placeholder's words, as in "changeme2024"; a counted row (12345…) may be longer."""

_WORDS = (
    "passwords", "secrets", "tokens", "keys", "credentials", "values", "users", "password", "passwd",
    "passphrase", "pass", "pwd", "secret", "token", "apikey", "key", "credential", "auth", "access", "client",
    "api", "changeme", "changeit", "changethis", "change", "replace", "placeholder", "example", "sample", "dummy",
    "demo", "test", "testing", "mock", "fake", "foobar", "foo", "bar", "baz", "qux", "lorem", "ipsum", "todo",
    "tbd", "fixme", "insert", "enter", "fill", "update", "provide", "generate", "generated", "your", "own", "my",
    "the", "this", "that", "here", "with", "value", "string", "text", "data", "default", "temporary", "temp",
    "initial", "none", "null", "nil", "true", "false", "enabled", "disabled", "required", "optional", "must",
    "be", "to", "from", "in", "of", "for", "and", "or", "me", "it", "is", "not", "do", "use", "set", "elsewhere",
    "please", "new", "old", "some", "any", "random", "unused", "redacted", "hidden", "masked", "removed",
    "omitted", "ignored", "managed", "rotated", "stored", "externally", "vault", "by", "seconds",
    "minutes", "hours", "days", "sensitive", "eight", "chars", "characters", "charaters", "minimum", "length", "least",
    "long", "administrator", "admin", "root", "username", "user", "name", "database", "db", "rds", "mysql",
    "postgresql", "postgres", "redshift", "master", "main", "app", "prod", "production", "dev", "development", "stage",
    "staging", "local", "localstack", "variable", "var",
)  # fmt: skip
"""Words of which placeholders are made, and what stands beside them in one."""
_SAMPLES = frozenset({
    "barbut8chars", "thisisdog11", "h@sh1cor3!", "4-v3ry-53cr37-p455w0rd", "p@ssw0rd", "p@ssw0rd1234!", "p@ssword1234!",
    "p@$$w0rd1234!", "akiaiosfodnn7example", "anaccesskey", "asecretkey", "avoid-plaintext-passwords", "chang3me!",
})  # fmt: skip
"""Passwords and keys of the documentation of AWS, of Terraform and its providers, in lower case."""

_WORD = re.compile("|".join(sorted(_WORDS, key=len, reverse=True)))
_BETWEEN = re.compile(
    rf"[\W_]|(?<!\d)\d{{1,{MAX_DIGITS}}}(?!\d)|(?<!\d)0?12345(?:6(?:7(?:8(?:90?)?)?)?)?(?!\d)|(?<![a-z])an?(?![a-z])"
)
_REPEATED = re.compile(r"(.)\1*")
_BRACKETED = re.compile(r"<[^<>]*>|\[[^\[\]]*\]|\{\{.*\}\}|\(\(.*\)\)|__.*__|%[^%]*%|\*+.*\*+", re.DOTALL)
_SAYS_SO = re.compile(
    r"^(?:your|choose|insert)|example|placeholder|(?:change|replace|rotate)[-_ ]?me|redacted|x{6}|\*{3}|\.{3}|…",
    re.IGNORECASE,
)


def is_placeholder(value: str) -> bool:
    """Return whether a value stands for a secret, and so is none itself.

    It is made of a placeholder's words alone, with punctuation and few digits ("changeme", "Your-Password-1"); or says
    what it is ("AKIAIOSFODNN7EXAMPLE"); or stands in brackets ("<password>"); or repeats one character; or is a sample
    of the documentation ("foobarbaz", "H@Sh1CoR3!").
    """
    lowered = value.strip().lower()
    if not lowered or lowered in _SAMPLES or _REPEATED.fullmatch(lowered) or _BRACKETED.fullmatch(lowered):
        return True
    return _SAYS_SO.search(value) is not None or _is_made_of_words(lowered)


def _is_made_of_words(lowered: str) -> bool:
    rest, words = _WORD.subn(" ", lowered)
    return _BETWEEN.sub("", rest) == "" and (words > 0 or len(lowered) > MAX_DIGITS)
