"""What ordinary clients get of the gateway, as docs/clients.md says."""

from __future__ import annotations

import json
import subprocess

import pytest

from loraform_gateway.fields import Api, rules_of

from .bodies import STOP, SYSTEM
from .conftest import CLIENTS, ENVIRONMENT, ROOT, Row

PAGE = ROOT / "docs" / "clients.md"
COLUMNS = ("list", "retrieve", "chat", "system", "turns", "stream", "async", "stop", "n", "wrong key", "cancelled")
EXPECTED = {"list": "listed", "retrieve": "found", "stream": "streamed", "n": "2 choices"}
"""Words of what is no plain answer; the errors are each client's own."""
OWN_ERRORS = ("wrong key", "cancelled")
REFUSALS = {"tools mode": "refused: tool_choice", "JSON mode": "refused: response_format"}
NAMES = [client.name for client in CLIENTS]


def rows(table: dict[str, Row]) -> list[str]:
    """Return the table of the page."""
    lines = ["| Client | " + " | ".join(COLUMNS) + " |", "|" + "---|" * (len(COLUMNS) + 1)]
    for name, row in table.items():
        lines.append("| " + " | ".join([name, *(row.words.get(column, "-") for column in COLUMNS)]) + " |")
    return lines


@pytest.mark.parametrize("name", NAMES)
def test_a_client_gets_what_it_asks_for(table: dict[str, Row], name: str) -> None:
    for column, word in table[name].words.items():
        assert not word.startswith("failed"), (column, word)
        if column not in OWN_ERRORS:
            assert word == (REFUSALS.get(column) or EXPECTED.get(column, "answered")), column


@pytest.mark.parametrize("name", NAMES)
def test_the_engine_is_asked_for_what_the_client_asks(table: dict[str, Row], name: str) -> None:
    row = table[name]
    for column in set(row.words) & {"chat", "system", "turns", "stream", "async", "stop"}:
        assert row.requests_of(column), column
    ((prompt, _), *_) = row.requests_of("system")
    assert SYSTEM in prompt
    ((prompt, _), *_) = row.requests_of("turns")
    assert "### Input:\n" in prompt
    if "n" in row.words:
        ((_, body),) = row.requests_of("n")
        assert body["n"] == 2
    if "stop" in row.words:
        ((_, body),) = row.requests_of("stop")
        assert body["stop"] == STOP


def test_the_page_has_the_table(table: dict[str, Row]) -> None:
    print("\n".join(rows(table)))
    assert "\n".join(rows(table)) in PAGE.read_text()


def test_the_page_names_what_is_refused_to_instructors_modes(table: dict[str, Row]) -> None:
    assert set(REFUSALS) <= set(table["instructor"].words)
    text = PAGE.read_text()
    for word in REFUSALS.values():
        assert f"`{word.removeprefix('refused: ')}`" in text


def test_every_parameter_of_openais_client_has_a_rule(table: dict[str, Row]) -> None:
    """A new release of the client brings new ones: each is decided before the lock moves."""
    program = (
        "import json\n"
        "from openai.types import completion_create_params as completions\n"
        "from openai.types.chat import completion_create_params as chat\n"
        "from openai.types.responses import response_create_params as responses\n"
        "print(json.dumps([sorted(p.__annotations__) for p in (chat.CompletionCreateParamsBase,\n"
        "    completions.CompletionCreateParamsBase, responses.ResponseCreateParamsBase)]))\n"
    )
    python = ENVIRONMENT / "current" / "bin" / "python"
    found = json.loads(subprocess.run([python, "-c", program], capture_output=True, check=True, text=True).stdout)
    for api, names in zip((Api.CHAT, Api.COMPLETIONS, Api.RESPONSES), found, strict=True):
        assert set(names) - set(rules_of(api)) == set()


def test_the_locks_name_no_registry_of_one_machine() -> None:
    folder = ROOT / "tests" / "clients"
    hosts = {line.split("/")[2] for line in (folder / "uv.lock").read_text().split('"') if "://" in line}
    assert hosts == {"pypi.org", "files.pythonhosted.org"}
    assert '"resolved"' not in (folder / "package-lock.json").read_text()
