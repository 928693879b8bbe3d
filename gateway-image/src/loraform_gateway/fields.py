"""The fields of OpenAI's requests: which are used, and at which values the others change nothing.

A caller who sends `tools: []` gets an answer; one who sends tools is told that they are not supported. Ignoring a field
that would change the answer would be wrong, and so would be refusing a request for a field that changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import Flag, auto
from functools import cache
from typing import Any

from loraform_engine.sampling import MOST_CHOICES, MOST_PENALTY, MOST_STOPS, MOST_TOP_K, STOP_LENGTH
from loraform_gateway.errors import bad_request


class Api(Flag):
    """Paths of the gateway at which answers are asked for."""

    CHAT = auto()
    COMPLETIONS = auto()
    RESPONSES = auto()


CHAT, COMPLETIONS, RESPONSES = Api.CHAT, Api.COMPLETIONS, Api.RESPONSES
CHOICES, EVERYWHERE = CHAT | COMPLETIONS, CHAT | COMPLETIONS | RESPONSES

Neutral = Callable[[Any, Mapping[str, Any]], bool]
"""Function of a field's value and of the whole body: whether the value changes nothing."""


@dataclass(frozen=True)
class FieldRule:
    """What is done with one field. `null` is always the same as an absent field."""

    name: str
    apis: Api
    says: str
    """What is allowed, in words of the documentation and of the error."""
    neutral: Neutral | None = None
    """None: the field is read or passed on, and `openai.py` has its type and its bounds."""
    why: str = ""
    """Why another value is refused."""


def _any(value: Any, body: Mapping[str, Any]) -> bool:
    return True


def _only(*values: object) -> Neutral:
    return lambda value, body: any(type(value) is type(known) and value == known for known in values)


def _unless_called(choice: str, *values: object) -> Neutral:
    """Allow `values`, and anything where the caller chose that nothing is called."""
    only = _only(*values)
    return lambda value, body: body.get(choice) == "none" or only(value, body)


def _object(**entries: Neutral) -> Neutral:
    """Allow an object in which each entry is known and changes nothing."""

    def neutral(value: Any, body: Mapping[str, Any]) -> bool:
        return isinstance(value, dict) and all(
            entry is None or (name in entries and entries[name](entry, body)) for name, entry in value.items()
        )

    return neutral


def _nothing(*names: str, apis: Api, why: str) -> Iterator[FieldRule]:
    return (FieldRule(name, apis, "null", _only(), why) for name in names)


def _labels(*names: str, apis: Api = EVERYWHERE) -> Iterator[FieldRule]:
    return (FieldRule(name, apis, "any value: it changes no answer", _any) for name in names)


_PENALTIES = f"{-MOST_PENALTY:g} to {MOST_PENALTY:g}; 0 by default"
_TEXT_FORMAT = _only({"type": "text"})
_NO_TOOLS = "the model calls no tools"
_NO_LOGPROBS = "log-probabilities are not returned"
_TEXT = "the answer is always text"

RULES = (
    FieldRule("model", EVERYWHERE, "the name of the IaCModel"),
    FieldRule("messages", CHAT, "texts of system, developer, user and assistant; the last is the user's"),
    FieldRule("prompt", COMPLETIONS, "one text, not empty"),
    FieldRule("input", RESPONSES, "a text, or messages as in a chat"),
    FieldRule("instructions", RESPONSES, "a text; it stands before the system messages of `input`"),
    FieldRule("loraform", EVERYWHERE, "`verify`: on or off; `input`: what the instruction refers to"),
    FieldRule("stream", EVERYWHERE, "true or false"),
    FieldRule("stream_options", EVERYWHERE, "`include_usage`; `include_obfuscation` changes nothing"),
    FieldRule("max_tokens", CHOICES, "1 or more; cut to what the context leaves"),
    FieldRule("max_completion_tokens", CHAT, "as `max_tokens`, which it overrides"),
    FieldRule("max_output_tokens", RESPONSES, "1 or more; cut to what the context leaves"),
    FieldRule("temperature", EVERYWHERE, "0 to 2; 0 by default, as measured"),
    FieldRule("top_p", EVERYWHERE, "above 0, at most 1; 1 by default"),
    FieldRule("top_k", EVERYWHERE, f"-1 and 0 for all tokens, or 1 to {MOST_TOP_K}; 0 by default"),
    FieldRule("min_p", EVERYWHERE, "0 to 1; 0 by default"),
    FieldRule("presence_penalty", EVERYWHERE, _PENALTIES),
    FieldRule("frequency_penalty", EVERYWHERE, _PENALTIES),
    FieldRule("repetition_penalty", EVERYWHERE, f"0.1 to {MOST_PENALTY:g}; 1 by default"),
    FieldRule("seed", EVERYWHERE, "an integer of 64 bits; without effect at temperature 0"),
    FieldRule("stop", EVERYWHERE, f"a text or a list of at most {MOST_STOPS}, each of 1 to {STOP_LENGTH} characters"),
    FieldRule("n", CHOICES, f"1 to {MOST_CHOICES}; each choice is verified"),
    *_labels("metadata", "prompt_cache_key", "prompt_cache_options", "prompt_cache_retention"),
    *_labels("safety_identifier", "service_tier", "user"),
    *_labels("parallel_tool_calls", "store", apis=CHAT | RESPONSES),
    *_labels("prediction", apis=CHAT),
    *_labels("max_tool_calls", apis=RESPONSES),
    FieldRule("tool_choice", CHAT | RESPONSES, "none, auto", _only("none", "auto"), _NO_TOOLS),
    FieldRule(
        "tools", CHAT | RESPONSES, "[], or any with `tool_choice: none`", _unless_called("tool_choice", []), _NO_TOOLS
    ),
    FieldRule("function_call", CHAT, "none, auto", _only("none", "auto"), _NO_TOOLS),
    FieldRule(
        "functions", CHAT, "[], or any with `function_call: none`", _unless_called("function_call", []), _NO_TOOLS
    ),
    FieldRule("response_format", CHAT, '{"type": "text"}', _TEXT_FORMAT, _TEXT),
    FieldRule(
        "text",
        RESPONSES,
        '{"format": {"type": "text"}, "verbosity": "medium"}',
        _object(format=_TEXT_FORMAT, verbosity=_only("medium")),
        _TEXT,
    ),
    FieldRule("modalities", CHAT, '["text"]', _only(["text"]), _TEXT),
    FieldRule("verbosity", CHAT, "medium", _only("medium"), "the model writes one program"),
    FieldRule("reasoning_effort", CHAT, "none", _only("none"), "the model does not reason"),
    FieldRule(
        "reasoning",
        RESPONSES,
        '{"effort": "none"}, and any `summary`',
        _object(effort=_only("none"), summary=_any, generate_summary=_any),
        "the model does not reason",
    ),
    FieldRule("logprobs", CHAT, "false", _only(False), _NO_LOGPROBS),
    FieldRule("top_logprobs", CHAT | RESPONSES, "0", _only(0), _NO_LOGPROBS),
    FieldRule("logit_bias", CHOICES, "{}", _only({}), "it is not passed to the engine"),
    FieldRule("best_of", COMPLETIONS, "1", _only(1), "use `n`"),
    FieldRule("echo", COMPLETIONS, "false", _only(False), "the answer is verified without its prompt"),
    FieldRule("suffix", COMPLETIONS, "an empty text", _only(""), "the model fills no gap"),
    FieldRule("background", RESPONSES, "false", _only(False), "responses are not stored"),
    FieldRule("truncation", RESPONSES, "disabled", _only("disabled"), "shorten `input` instead"),
    FieldRule(
        "include",
        RESPONSES,
        '[], ["reasoning.encrypted_content"]',
        _only([], ["reasoning.encrypted_content"]),
        "the model has nothing of the kind",
    ),
    FieldRule("context_management", RESPONSES, "[]", _only([]), "shorten `input` instead"),
    *_nothing("logprobs", apis=COMPLETIONS, why=_NO_LOGPROBS),
    *_nothing("audio", "web_search_options", apis=CHAT, why=_TEXT),
    *_nothing("moderation", apis=CHAT | RESPONSES, why="answers are checked as Terraform"),
    *_nothing(
        "previous_response_id", "conversation", apis=RESPONSES, why="responses are not stored: send the messages"
    ),
    *_nothing("prompt", apis=RESPONSES, why="prompts are not stored: send the texts"),
)


@cache
def rules_of(api: Api) -> dict[str, FieldRule]:
    """Return the rules of one path by the field's name."""
    return {rule.name: rule for rule in RULES if api in rule.apis}


def used_fields(api: Api, body: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of `body` that the answer depends on; raises ApiError 400 that names one that is refused."""
    rules = rules_of(api)
    for name, rule in rules.items():  # in their order: `tool_choice` is named before `tools`
        value = body.get(name)
        if value is not None and rule.neutral and not rule.neutral(value, body):
            message = f"`{name}` is not supported at this value: {rule.why}; leave it out, or send {rule.says}"
            raise bad_request(message, name, "unsupported_value")
    neutral = {name for name, rule in rules.items() if rule.neutral}
    return {name: value for name, value in body.items() if value is not None and name not in neutral}
