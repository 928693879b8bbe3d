"""docs/clients.md has every field of OpenAI's requests as the gateway treats it."""

from __future__ import annotations

from pathlib import Path

from loraform_engine.sampling import MOST_CHOICES
from loraform_gateway.fields import EVERYWHERE, RULES, Api, FieldRule

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "clients.md").read_text()
NAMES = {Api.CHAT: "chat", Api.COMPLETIONS: "completions", Api.RESPONSES: "responses"}


def paths(rule: FieldRule) -> str:
    return "all" if rule.apis == EVERYWHERE else ", ".join(name for api, name in NAMES.items() if api in rule.apis)


def row(rule: FieldRule) -> str:
    """Return the row of a field in the table of those that are used, or of those at which only some values go."""
    return f"| `{rule.name}` | {paths(rule)} | {rule.says} |" + (f" {rule.why} |" if rule.why else "")


def test_every_field_that_is_used_or_free_is_in_the_first_table() -> None:
    table = "\n".join(["| Field | Paths | Allowed |", "|---|---|---|", *(row(rule) for rule in RULES if not rule.why)])
    print(table)
    assert table in PAGE


def test_every_other_field_is_in_the_second_table() -> None:
    head = ["| Field | Paths | Allowed | Why no other value |", "|---|---|---|---|"]
    table = "\n".join([*head, *(row(rule) for rule in RULES if rule.why)])
    print(table)
    assert table in PAGE


def test_the_page_says_how_many_choices_there_may_be() -> None:
    assert f"at most {MOST_CHOICES} choices" in PAGE
