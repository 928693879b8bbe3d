"""Rego in its confined child: what policies may do, and that a bad one costs only itself."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from loraform_verifier import security
from loraform_verifier.hcl.configuration import single_file
from loraform_verifier.hcl.normalise import normalise
from loraform_verifier.rego.evaluate import PolicyKind, PolicyQuery, PolicyResult, evaluate
from loraform_verifier.terraform.plan import Planner
from loraform_verifier.terraform.plan_json import as_json
from loraform_verifier.terraform.plannable import plannable
from loraform_verifier.terraform.toolchain import Terraform

SUITE = Path(__file__).resolve().parents[3] / "shared/data/iac-eval-dev.jsonl"
SOUND = "package a\n\ndefault ok = false\n\nok { input.on }"
REGEX_BOMB = 'package a\n\nok := regex.match("(a+)+$", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa!")'
MEMORY_BOMB = (
    "package a\n\nimport rego.v1\n\n"
    + 'x0 := "0123456789abcdef"\n'
    + "".join(f'x{n + 1} := concat("", [x{n}, x{n}, x{n}, x{n}])\n' for n in range(14))
    + "ok := count(x14) > 0\n"
)


def intents(*policies: str, plan: Any = None, each: float = 5) -> list[PolicyResult]:
    return evaluate(
        [PolicyQuery(PolicyKind.INTENT, (policy,), as_json(plan or {"on": True})) for policy in policies], each=each
    )


def codes(answers: list[PolicyResult]) -> list[str | None]:
    return [answer.undecided.code if answer.undecided else None for answer in answers]


def test_old_and_new_syntax_say_the_same() -> None:
    new = "package a\n\nimport rego.v1\n\ndefault ok := false\n\nok if input.on"
    assert [a.passed for a in intents(SOUND, new)] == [True, True]
    assert [a.unmet for a in intents(SOUND, new, plan={"on": False})] == [("ok",), ("ok",)]


@pytest.mark.parametrize(
    ("policy", "words"),
    [
        ("package a\n\nheld_out {", "this is unclosed"),
        ("package a\n\nok := count(input.held_out[_].y)", "Invalid bracket argument"),
        ("package a\n\nf(held_out) := f(held_out)\n\nok := f(1)", "Recursion detected"),
        ("package a\n\nok := 1\n\nok := 2", "multiple outputs"),
        ("", ""),
    ],
)
def test_a_policy_that_cannot_be_evaluated_is_undecided_in_the_engines_words(policy: str, words: str) -> None:
    (answer,) = intents(policy)
    assert answer.undecided
    assert answer.undecided.code in ("RegoInvalid", "RegoWithoutVerdict")
    assert words in answer.undecided.message
    assert "held_out" not in answer.undecided.message


CIDR = """package main

import rego.v1

# net.cidr_contains( of a comment is no call
deny contains cidr if {
  some cidr in input.cidrs
  not net.cidr_contains("10.0.0.0/8", cidr)
}
"""


def pack(*texts: str, plan: Any = None) -> PolicyResult:
    (answer,) = evaluate([PolicyQuery(PolicyKind.PACK, texts, as_json(plan or {}))])
    return answer


def message(answer: PolicyResult) -> str:
    assert answer.undecided
    assert answer.undecided.code == "RegoInvalid"
    return answer.undecided.message


def test_a_call_of_a_built_in_that_the_engine_lacks_is_invalid_and_not_undefined() -> None:
    """`not` of an undefined call would deny what is allowed, without it what is forbidden would pass."""
    lacking = "net.cidr_contains is a built-in that the engine lacks"
    assert message(pack(CIDR, plan={"cidrs": ["10.1.0.0/16"]})) == (
        f"The policy cannot be evaluated: {lacking} (line 8)."
    )
    assert f"{lacking} (line 8 of module 2, package main)" in message(pack("package fine\n\nx := 1", CIDR))


@pytest.mark.parametrize(
    "call",
    ["json.match_schema({}, {})", 'strings.render_template("", {})', 'http.send({"url": ""})', "rego.metadata.rule()"],
)
def test_every_built_in_that_the_engine_lacks_is_named(call: str) -> None:
    (answer,) = intents(f"package a\n\nok {{ {call} }}")
    assert f"{call.partition('(')[0]} is a built-in" in message(answer)


def test_functions_of_a_policys_own_and_built_ins_that_fail_are_not_lacking() -> None:
    own = 'package lib.net\n\nimport rego.v1\n\ncidr_contains(a, b) if startswith(b, "10.")\n'
    calling = CIDR.replace("import rego.v1\n", "import rego.v1\n\nimport data.lib.net\n")
    assert [f.msg for f in pack(own, calling, plan={"cidrs": ["10.1.0.0/16", "8.8.8.0/24"]}).findings] == ["8.8.8.0/24"]
    assert pack('package a\n\ndeny["x"] { to_number("abc") > 1 }').passed


def test_an_error_names_its_module_and_line() -> None:
    broken = "package cost\n\nx := 1\n\ndeny[x] { x = ] }\n"
    assert message(pack(broken)).endswith("Invalid assignment operator (line 5).")
    assert "Invalid assignment operator (line 5 of module 2, package cost)" in message(pack(SOUND, broken, SOUND))
    brackets = f"package a\n# {'é' * 40}\nok := count(input.held_out[_].y)"
    assert message(intents(brackets)[0]).endswith("Invalid bracket argument (line 3).")


def test_a_policy_that_hangs_is_stopped_and_the_others_are_answered() -> None:
    assert codes(intents(SOUND, REGEX_BOMB, SOUND, each=1)) == [None, "RegoTimeout", None]


def test_a_policy_that_hangs_on_every_plan_is_given_up() -> None:
    started = time.monotonic()
    questions = [PolicyQuery(PolicyKind.INTENT, (REGEX_BOMB,), as_json({"n": n})) for n in range(50)]
    assert codes(evaluate(questions, each=1)) == ["RegoTimeout"] * 50
    assert time.monotonic() - started < 30


def test_a_policy_that_eats_memory_is_stopped_and_the_others_are_answered() -> None:
    lost = codes(intents(SOUND, MEMORY_BOMB, SOUND, each=20))
    assert (lost[0], lost[2]) == (None, None)
    assert lost[1] in ("RegoCrashed", "RegoTimeout")


def test_time_is_counted_for_each_question_and_not_for_all_of_a_policy() -> None:
    questions = [
        PolicyQuery(PolicyKind.PACK, security.rules(), as_json({"n": n})) for n in range(400)
    ]  # each takes some 6 ms
    assert codes(evaluate(questions, each=1)) == [None] * 400


def test_a_batch_ends_in_time() -> None:
    answers = evaluate(
        [PolicyQuery(PolicyKind.INTENT, (REGEX_BOMB,), b"{}"), PolicyQuery(PolicyKind.INTENT, (SOUND,), b"{}")],
        seconds=1,
    )
    assert codes(answers) == ["RegoTimeout", "RegoTimeout"]


@pytest.mark.parametrize(
    "call",
    ['http.send({"method": "get", "url": "http://127.0.0.1"})', 'net.lookup_ip_addr("localhost")'],
)
def test_nothing_is_reached_from_a_policy(call: str) -> None:
    (answer,) = intents(f"package a\n\nok {{ {call} }}")
    assert not answer.passed


def test_a_policy_sees_no_environment_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LORAFORM_SECRET", "s3cret")
    pack = "package a\n\nimport rego.v1\n\ndeny contains name if some name, _ in opa.runtime().env"
    (answer,) = evaluate([PolicyQuery(PolicyKind.PACK, (pack,), b"{}")])
    assert {finding.msg for finding in answer.findings} <= {"HOME", "TMPDIR", "PATH", "LANG", "LC_CTYPE"}


@pytest.mark.parametrize("text", ['a"b', "a\nb", "a\\b", "é\u2028", '{"Action": "*"}', "\ud800"])
def test_any_text_of_a_plan_comes_through(text: str) -> None:
    pack = "package a\n\nimport rego.v1\n\ndeny contains input.text"
    (answer,) = evaluate([PolicyQuery(PolicyKind.PACK, (pack,), as_json({"text": text}))])
    assert [finding.msg for finding in answer.findings] == [text.replace("\ud800", "?")]


def test_policies_see_each_plan_and_answers_keep_their_order() -> None:
    pack = "package main\n\ndeny[msg] { input.n > 1; msg := sprintf(`n is %d`, [input.n]) }"
    questions = [
        PolicyQuery(asks, (policy,), as_json({"n": n, "on": n > 1}))
        for n in range(4)
        for asks, policy in ((PolicyKind.INTENT, SOUND), (PolicyKind.PACK, pack))
    ]
    answers = evaluate(questions)
    assert [a.passed for a in answers[::2]] == [False, False, True, True]
    assert [[f.msg for f in a.findings] for a in answers[1::2]] == [[], [], ["n is 2"], ["n is 3"]]


def test_policies_of_a_human_suite_know_their_own_program(terraform: Terraform) -> None:
    if not SUITE.exists():
        pytest.skip("the development suite does not lie beside the checkout")
    planner = Planner(terraform)
    rows = [json.loads(line) for line in SUITE.read_text().splitlines()]
    programs = [single_file(row["reference"]) for row in rows]
    plans = [outcome.plan_json or b"{}" for outcome in planner.plan([plannable(c, normalise(c)) for c in programs])]
    policies = [(row["rego"],) for row in rows]
    questions = [PolicyQuery(PolicyKind.INTENT, p, plan) for p, plan in zip(policies, plans, strict=True)]
    questions += [
        PolicyQuery(PolicyKind.INTENT, p, plan) for p, plan in zip(policies, plans[61:] + plans[:61], strict=True)
    ]
    answers = evaluate(questions)
    assert [r["id"] for r, answer in zip(rows, answers[: len(rows)], strict=True) if not answer.passed] == []
    assert [r["id"] for r, answer in zip(rows, answers[len(rows) :], strict=True) if answer.passed] == []
