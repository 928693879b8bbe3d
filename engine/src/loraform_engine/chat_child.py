"""Renders a chat template: `{template, variables, text, cpu_seconds}` from standard input, the prompt to its output.

A template is untrusted code of the model's author, so it runs in a process of its own with limits on CPU time and
memory, in jinja's sandbox, with what transformers offers to templates.
"""

from __future__ import annotations

import json
import resource
import sys
from datetime import datetime
from pathlib import Path
from typing import Any, NoReturn

from jinja2 import nodes
from jinja2.exceptions import TemplateError
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

RENDER_BYTES = 256 << 20
"""Memory limit, in addition to the memory of the imports."""


class GenerationBlock(Extension):
    """`{% generation %}` … `{% endgeneration %}` marks an assistant's text; rendering shows its content alone."""

    tags = {"generation"}

    def parse(self, parser: Parser) -> list[nodes.Node]:
        """Return the block's content. As in transformers it is a scope: what it sets ends with it."""
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return [nodes.Scope(body, lineno=line)]


def environment() -> ImmutableSandboxedEnvironment:
    """Return the environment of chat templates."""
    made = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[GenerationBlock, loopcontrols]
    )
    made.filters["tojson"] = _tojson
    made.globals["raise_exception"] = _raise_exception
    made.globals["strftime_now"] = lambda format: datetime.now().strftime(format)
    return made


def render(template: str, variables: dict[str, Any], text: str) -> str:
    """Return the prompt for one user message; raises jinja2's TemplateError."""
    return (
        environment()
        .from_string(template)
        .render(
            messages=[{"role": "user", "content": text}],
            tools=None,
            documents=None,
            add_generation_prompt=True,
            **variables,
        )
    )


def _tojson(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def _raise_exception(message: str) -> NoReturn:
    raise TemplateError(message)


def main() -> None:
    """Render one request within the limits."""
    request = json.load(sys.stdin)
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    memory = pages * resource.getpagesize() + RENDER_BYTES
    seconds = int(resource.getrusage(resource.RUSAGE_SELF).ru_utime) + request["cpu_seconds"]
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
    sys.stdout.write(render(request["template"], request["variables"], request["text"]))


if __name__ == "__main__":
    main()
