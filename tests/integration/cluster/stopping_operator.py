"""The operator, which stops itself (SIGSTOP) once, after the lease was checked for a write and before it is sent.

    python stopping_operator.py FILE OPTIONS...

FILE holds a pattern of method and URL; it is removed when a write matches and the process stops.
"""

from __future__ import annotations

import os
import re
import signal
import sys
from pathlib import Path
from typing import Any

from kubernetes.aio import client

from loraform_operator.__main__ import main


def stop_at_match(file: Path, request: str) -> None:
    """Stop this process if the request matches the file's pattern."""
    if file.exists() and re.search(file.read_text(), request):
        file.unlink()
        os.kill(os.getpid(), signal.SIGSTOP)


def stop_before_sending(file: Path) -> None:
    """Stop in the client's last call before the request is sent; the check of the lease stands right before it."""
    send = client.ApiClient.call_api

    async def call_api(self: client.ApiClient, method: str, url: str, *args: Any, **kwargs: Any) -> Any:
        if method != "GET":
            stop_at_match(file, f"{method} {url}")
        return await send(self, method, url, *args, **kwargs)

    client.ApiClient.call_api = call_api


if __name__ == "__main__":
    stop_before_sending(Path(sys.argv.pop(1)))
    main()
