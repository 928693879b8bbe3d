"""The confined Rego evaluator: it reads questions from a file and writes one answer a line to standard output.

It runs as a script (`python -I child.py QUESTIONS.json ENGINE_FOLDER`), so it imports only the standard library and the
engine. Each set of policies is compiled and evaluated in a process of its own, so a policy that hangs, crashes or takes
over the engine affects only its own answers.
"""

from __future__ import annotations

import json
import os
import re
import select
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import takewhile
from pathlib import Path
from typing import Any

MAX_FINDINGS = 50
MAX_ERRORS = 3
MAX_TEXT = 500
MAX_MEMORY = 1 << 30
"""Resident bytes of an evaluating process."""
POLL_MILLISECONDS = 50
"""Interval of the checks of its memory."""
PATIENCE = 2
"""A set of policies is given up after it has lost this many more questions than it has answered."""
PACK_RULES = re.compile(r"^(?:deny|violation|warn)(?:_\w+)?$")
FIELDS = ("msg", "id", "severity", "resource", "hint")
ANSWERS = {"invalid", "decided", "false", "findings"}
COMPILED = b"compiled\n"
_PACKAGE = re.compile(r"^\s*package\s+([\w.]+)", re.MULTILINE)
_HOLDS_PACK_RULES = re.compile(r"\b(?:deny|violation|warn)")
_ENGINE_MESSAGE = re.compile(r"(?:\(error \d+:policy(\d+)\|(\d+)\|\d+\s+)?\(errormsg \d+:([^\n]*?)\)+(?=\s|$)")
_BUILT_INS = (1, 0, 2)
"""Path in a bundle's tree to the built-ins that it calls: policy, static, built-in functions."""

Json = Any


class InvalidError(Exception):
    """The engine refuses a policy; the message has the engine's error without the policy's text."""


class Policies:
    """One compiled set of policies."""

    def __init__(self, texts: list[str], root: tuple[str, ...] = ()) -> None:
        """Compile the query of `root` in `data`. Raises InvalidError."""
        from regopy import Interpreter, LogLevel, RegoError, rego_shared  # noqa: PLC0415 - unit tests import this module without the engine

        self._engine, self._raw, self._texts = Interpreter(), rego_shared, texts
        self._engine.log_level = LogLevel.NONE
        try:
            for number, text in enumerate(texts):
                self._engine.add_module(f"policy{number}", text)
            self._bundle = self._engine.build("data" + "".join(f"[{json.dumps(part)}]" for part in root))
            if not self._bundle.ok():  # to query it would crash
                raise InvalidError(self._errors(self._raw.rego_bundle_node(self._bundle._impl)))
        except RegoError as error:
            raise InvalidError(error_messages(str(error), texts)) from None
        except ValueError:
            raise InvalidError(error_messages("")) from None
        if lacking := [name for name in self._built_ins() if not self._engine.is_builtin(name)]:
            raise InvalidError(
                "; ".join(f"{name} is a built-in that the engine lacks{first_call(name, texts)}" for name in lacking)
            )

    def _built_ins(self) -> list[str]:
        """Return the built-ins that the policies call; the engine evaluates a call of an unknown one to undefined."""
        node = self._raw.rego_bundle_node(self._bundle._impl)
        for index in _BUILT_INS:
            node = self._raw.rego_node_get(node, index)
        functions = (self._raw.rego_node_get(node, i) for i in range(self._raw.rego_node_size(node)))
        return [self._raw.rego_node_value(self._raw.rego_node_get(function, 0)) for function in functions]

    def data(self, plan: str) -> Json:
        """Return the value of the query with `plan`, a JSON text, as input. Raises InvalidError.

        Uses `set_input_term`, since `set_input` does not escape quotes and newlines.
        """
        from regopy import RegoError  # noqa: PLC0415 - as above

        try:
            self._engine.set_input_term(plan)
            output = self._raw.rego_bundle_query(self._engine._impl, self._bundle._impl)
        except (RegoError, ValueError) as error:
            raise InvalidError(error_messages(str(error), self._texts)) from None
        try:
            text = self._raw.rego_output_string(output)
            if not self._raw.rego_output_ok(output):
                raise InvalidError(self._errors(self._raw.rego_output_node(output)))
        finally:
            self._raw.rego_free_output(output)
        try:
            return json.loads(text)["expressions"][0]
        except (ValueError, LookupError):
            raise InvalidError(error_messages(text, self._texts)) from None

    def _errors(self, node: Json) -> str:
        """Return the messages in a list of errors, which the engine itself prints as `<error>`."""
        children = (self._raw.rego_node_get(node, i) for i in range(min(MAX_ERRORS, self._raw.rego_node_size(node))))
        return error_messages(" ".join(map(self._raw.rego_node_json, children)), self._texts)


def error_messages(output: str, texts: Sequence[str] = ()) -> str:
    """Return the messages in the engine's output with their lines, without the tree that quotes the policy."""
    messages: dict[str, str] = {}
    for number, offset, message in _ENGINE_MESSAGE.findall(output):
        messages.setdefault(message, _location(texts, int(number), int(offset)) if number else "")
    return "; ".join(map("".join, messages.items()))[:MAX_TEXT] or "the engine cannot evaluate it"


def first_call(name: str, texts: Sequence[str]) -> str:
    """Return the location of a function's first call, as text."""
    call = re.compile(rf"^[^#\n]*?(?<![\w.]){re.escape(name)}\(", re.MULTILINE)
    calls = ((number, match.end()) for number, text in enumerate(texts) if (match := call.search(text)))
    return next((_location(texts, number, len(texts[number][:end].encode())) for number, end in calls), "")


def _location(texts: Sequence[str], number: int, offset: int) -> str:
    """Return the line of a byte offset as text; a single module is not named, since an intent must stay hidden."""
    line = texts[number].encode()[:offset].count(b"\n") + 1
    package = _PACKAGE.search(texts[number])
    module = f" of module {number + 1}, package {package[1] if package else 'unknown'}" if len(texts) > 1 else ""
    return f" (line {line}{module})"


def read_intent(data: Json, texts: list[str]) -> Json:
    """Return whether `data` holds any boolean, and the names of the rules that are or hold false."""
    packages = [match[1].split(".") for text in texts if (match := _PACKAGE.search(text))]
    values = list(_booleans(data, ()))
    false = dict.fromkeys(_rule(path, packages) for path, value in values if not value)
    return {"decided": bool(values), "false": [name[:MAX_TEXT] for name in false][:MAX_FINDINGS]}


def pack_root(texts: list[str]) -> tuple[str, ...]:
    """Return the common package path of all conftest rules; a smaller query costs less."""
    packages = [_PACKAGE.search(text) for text in texts if _HOLDS_PACK_RULES.search(text)]
    paths = [match[1].split(".") if match else [] for match in packages]
    return tuple(parts[0] for parts in takewhile(lambda parts: len(set(parts)) == 1, zip(*paths, strict=False)))


def read_pack(data: Json, root: tuple[str, ...] = ()) -> Json:
    """Return the findings of the conftest rules, each with its package and rule."""
    findings = [
        {"package": package, "rule": rule} | _finding(item)
        for package, rule, value in _rules(data, root)
        for item in _members(value)
    ]
    findings.sort(key=lambda finding: finding["rule"].startswith("warn"))  # the limit cuts warnings first
    return {"findings": findings[:MAX_FINDINGS]}


def _booleans(value: Json, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], bool]]:
    if isinstance(value, bool):
        yield path, value
    elif isinstance(value, list):
        for item in value:
            yield from _booleans(item, path)
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _booleans(item, (*path, key))


def _rule(path: tuple[str, ...], packages: list[list[str]]) -> str:
    for package in packages:
        if list(path[: len(package)]) == package and len(path) > len(package):
            return path[len(package)]
    return path[0] if path else "data"


def _rules(value: Json, path: tuple[str, ...]) -> Iterator[tuple[str, str, Json]]:
    if not isinstance(value, dict):
        return
    for key, item in value.items():
        if PACK_RULES.match(key):
            yield ".".join(path), key, item
        else:
            yield from _rules(item, (*path, key))


def _members(value: Json) -> list[Json]:
    """Return the members of a set; the engine parses the old `deny[msg] { … }` as an object of members to true."""
    if isinstance(value, list):
        return value
    if isinstance(value, dict):
        keys = [key for key, member in value.items() if member is True and not key.startswith("(error")]
        return [_member(key) for key in keys]
    return [value] if value is True or isinstance(value, str) else []


def _member(key: str) -> Json:
    with suppress(ValueError):
        member = json.loads(key)
        return member if isinstance(member, dict) else key
    return key


def _finding(item: Json) -> dict[str, str]:
    if not isinstance(item, dict):
        return {"msg": "" if item is True else _text(item)}
    return {name: _text(item[name]) for name in FIELDS if item.get(name) is not None}


def _text(value: Json) -> str:
    return (value if isinstance(value, str) else json.dumps(value))[:MAX_TEXT]


def answer_all(group: Json, folder: Path, seconds: float, out: int) -> None:
    """Compile the policies of a group and write one line for each question to file descriptor `out`."""
    signal.setitimer(signal.ITIMER_PROF, seconds)  # SIGPROF ends this process, whatever the engine does
    intent = group["asks"] == "intent"
    root = () if intent else pack_root(group["policies"])
    try:
        policies = Policies(group["policies"], root)
    except InvalidError as error:
        os.write(out, COMPILED + _line({"invalid": str(error)}) * len(group["questions"]))
        return
    os.write(out, COMPILED)
    for question in group["questions"]:
        signal.setitimer(signal.ITIMER_PROF, seconds)
        try:
            data = policies.data((folder / question["input"]).read_text(encoding="utf-8"))
            answer = read_intent(data, group["policies"]) if intent else read_pack(data, root)
        except InvalidError as error:
            answer = {"invalid": str(error)}
        os.write(out, _line(answer))


def ask(group: Json, folder: Path, seconds: float) -> Iterator[Json]:
    """Yield the answer to each question of a group, in order; fork again after each lost process."""
    pending, answered, lost = list(group["questions"]), 0, 0
    while pending:
        received, ended = _in_a_fork(group | {"questions": pending}, folder, seconds)
        compiled, lines = received[:1] == [COMPILED], received[1:]
        yield from map(_answer_of, lines)
        pending, answered = pending[len(lines) :], answered + len(lines)
        if not pending:
            return
        lost += 1
        lost_answer = {"lost": "timeout" if ended == signal.SIGPROF else "crash"}
        given_up = len(pending) if not compiled or lost >= answered + PATIENCE else 1
        yield from [lost_answer] * given_up
        pending = pending[given_up:]


def _answer_of(line: bytes) -> Json:
    """Return the answer in a line; a policy that took over the engine may write anything."""
    with suppress(ValueError):
        answer = json.loads(line)
        if isinstance(answer, dict) and answer.keys() <= ANSWERS:
            return answer
    return {"lost": "crash"}


def _in_a_fork(group: Json, folder: Path, seconds: float) -> tuple[list[bytes], int]:
    """Return the complete lines that a forked process wrote, and the signal that ended it."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(reading)
            answer_all(group, folder, seconds, writing)
        finally:
            os._exit(0)
    os.close(writing)
    received = _received(reading, child)
    lines = [line + b"\n" for line in received.split(b"\n")[:-1]]
    return lines[: 1 + len(group["questions"])], os.WTERMSIG(os.waitpid(child, 0)[1])


def _received(reading: int, child: int) -> bytes:
    """Read until end of file; kill a process that exceeds MAX_MEMORY.

    The engine's allocator reserves 256 GiB of address space at its start, so no rlimit can bound its memory.
    """
    poller, received = select.poll(), bytearray()
    poller.register(reading, select.POLLIN | select.POLLHUP)
    while True:
        resident = int(Path(f"/proc/{child}/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")
        if resident > MAX_MEMORY:
            os.kill(child, signal.SIGKILL)
        if poller.poll(POLL_MILLISECONDS):
            part = os.read(reading, 1 << 20)
            if not part:
                os.close(reading)
                return bytes(received)
            received += part


def _line(answer: Json) -> bytes:
    return json.dumps(answer).encode() + b"\n"


def main(questions: Path, engine: str) -> None:
    """Answer all groups. Standard output is redirected, since the engine writes to it too."""
    sys.path.append(engine)
    import regopy  # noqa: F401, PLC0415 - once, before the forks

    out, null = os.dup(1), os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.dup2(null, 2)
    request = json.loads(questions.read_bytes())
    for group in request["groups"]:
        for question, answer in zip(group["questions"], ask(group, questions.parent, request["seconds"]), strict=True):
            os.write(out, _line({"id": question["id"]} | answer))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
