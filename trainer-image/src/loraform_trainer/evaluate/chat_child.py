"""Renders a chat template: `{template, variables, text}` from standard input, the prompt to standard output.

A template is untrusted code of the model's author, so it runs in a process of its own with limits on CPU time and
memory, in jinja's sandbox (transformers' environment).
"""

from __future__ import annotations

import json
import resource
import sys
from pathlib import Path
from typing import Any

from transformers.utils.chat_template_utils import render_jinja_template

CPU_SECONDS = 10
RENDER_BYTES = 256 << 20
"""Memory limit, in addition to the memory of the imports."""


def main() -> None:
    """Render one request within the limits."""
    request = json.load(sys.stdin)
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    memory = pages * resource.getpagesize() + RENDER_BYTES
    seconds = int(resource.getrusage(resource.RUSAGE_SELF).ru_utime) + CPU_SECONDS
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
    conversation = [{"role": "user", "content": request["text"]}]
    rendered: Any = render_jinja_template(  # annotated as `str`, returns lists
        [conversation], chat_template=request["template"], add_generation_prompt=True, **request["variables"]
    )
    sys.stdout.write(rendered[0][0])


if __name__ == "__main__":
    main()
