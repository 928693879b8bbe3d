"""Renders a chat template: `{template, variables, text}` in on standard input, the prompt out on standard output.

A process of its own, since a template is a program of whoever made the model: it gets seconds and some memory, and
what it does with them ends with the process. transformers' environment is jinja's sandbox.
"""

from __future__ import annotations

import json
import resource
import sys
from pathlib import Path
from typing import Any

from transformers.utils.chat_template_utils import render_jinja_template

CPU_SECONDS = 10
MORE_BYTES = 256 << 20
"""Memory beside what the imports took."""


def main() -> None:
    """Render once, within limits."""
    asked = json.load(sys.stdin)
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    memory = pages * resource.getpagesize() + MORE_BYTES
    seconds = int(resource.getrusage(resource.RUSAGE_SELF).ru_utime) + CPU_SECONDS
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
    conversation = [{"role": "user", "content": asked["text"]}]
    rendered: Any = render_jinja_template(  # whose annotation says `str`
        [conversation], chat_template=asked["template"], add_generation_prompt=True, **asked["variables"]
    )
    sys.stdout.write(rendered[0][0])


if __name__ == "__main__":
    main()
