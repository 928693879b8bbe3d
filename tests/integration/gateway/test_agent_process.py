"""The agent's process when it is stopped: its engine stays until the answer in progress has been passed on."""

from __future__ import annotations

import http.client
import http.server
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from loraform_api import names
from loraform_operator.pods.draining import after_end_of

from ..waiting import free_port, wait_for


class SlowEngine:
    """A stub of vLLM whose answer to `/v1/models` waits for `answer`."""

    def __init__(self) -> None:
        self.asked, self.answer = threading.Event(), threading.Event()
        engine = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                engine.asked.set()
                engine.answer.wait(60)
                self.send_response(200)
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def engine() -> Iterator[SlowEngine]:
    made = SlowEngine()
    yield made
    made.answer.set()
    made.server.shutdown()
    made.server.server_close()


def listens(port: int) -> bool:
    try:
        http.client.HTTPConnection("127.0.0.1", port, timeout=5).connect()
    except OSError:
        return False
    return True


def status_of(port: int) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("GET", "/v1/models")
    return connection.getresponse().status


def test_the_engine_is_stopped_after_the_answer_in_progress(engine: SlowEngine, tmp_path: Path) -> None:
    port, metrics = free_port(), free_port()
    (tmp_path / "route.json").write_text("")
    words = ["agent", "--engine", f"http://127.0.0.1:{engine.server.server_port}", "--host", "127.0.0.1"]
    words += ["--port", str(port), "--metrics-port", str(metrics), "--route", str(tmp_path / "route.json")]
    operator = dict.fromkeys((names.ENV_ENDPOINT, names.ENV_TOKEN, names.ENV_POD_NAME), "none")
    environment = {**os.environ, **operator}
    before_stop = after_end_of(metrics, seconds=60)["lifecycle"]["preStop"]["exec"]["command"]
    with (
        subprocess.Popen([sys.executable, "-m", "loraform_gateway", *words], env=environment) as agent,
        ThreadPoolExecutor() as callers,
    ):
        wait_for("the agent", lambda: listens(port) and listens(metrics))
        answer = callers.submit(status_of, port)
        assert engine.asked.wait(30)
        with subprocess.Popen(before_stop) as waiting:
            agent.terminate()
            wait_for("the agent takes no more requests", lambda: not listens(port))
            assert (waiting.poll(), answer.done()) == (None, False)
            engine.answer.set()
            assert (answer.result(30), agent.wait(30), waiting.wait(30)) == (200, 0, 0)


def test_an_engine_whose_agent_hangs_is_stopped_in_time(engine: SlowEngine) -> None:
    """A stub stands for the agent."""
    command = after_end_of(engine.server.server_port, seconds=1)["lifecycle"]["preStop"]["exec"]["command"]
    assert subprocess.run(command, timeout=30, check=False).returncode == 0
