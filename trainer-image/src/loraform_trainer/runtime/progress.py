"""Reports progress of a stage to the operator by Kubeflow's KEP-2779 protocol.

transformers' own client (`KubeflowCallback`) covers only training. It posts from the training loop, so an unresponsive
operator delays each step by five seconds, and after a resume it divides the time of this process by the steps of all
processes. This client posts from a thread, and its errors never fail a stage.
"""

from __future__ import annotations

import http.client
import json
import logging
import os
import socket
import ssl
import threading
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from urllib.parse import urlsplit

from typing_extensions import override

from loraform_api.endpoint import OperatorEndpoint
from loraform_api.meta import timestamp
from loraform_api.names import ENV_ENDPOINT, ENV_TOKEN
from loraform_api.run import ProgressMessage, TrainerStatus

log = logging.getLogger(__name__)

INTERVAL_SECONDS = 5.0
"""Least time between two messages."""
TIMEOUT_SECONDS = 5.0
"""Longest time of one request."""
PATIENCE_SECONDS = 2.0
"""Longest wait at a stage's end for its last message, and only for an operator that takes messages."""

Send = Callable[[str], None]
"""Posts one message body (JSON); raises OSError or ValueError when that fails."""


class Progress:
    """Posts the newest progress at most once per `interval` seconds, and once more when the stage ends.

    A context manager that runs the posting thread. Without `send` nothing is posted. A stage never waits for an
    operator that refuses messages or does not answer; it learns the end from the stage's Job.
    """

    def __init__(
        self,
        send: Send | None,
        *,
        interval: float = INTERVAL_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._send = send
        self._interval = interval
        self._clock = clock
        self._last_failed = False
        self._posting_since: float | None = None
        self._changed = threading.Condition()
        self._pending: str | None = None
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="progress", daemon=True)

    def __enter__(self) -> Progress:
        if self._send is not None:
            self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        if kind is None:
            self._put(TrainerStatus(progress_percentage=100, estimated_remaining_seconds=0))
        with self._changed:
            self._closing = True
            self._changed.notify()
            patience = self._patience()
        if self._thread.is_alive() and patience > 0:
            self._thread.join(patience)

    def update(
        self, done: float, *, remaining_seconds: float | None = None, metrics: Mapping[str, object] | None = None
    ) -> None:
        """Set the progress: `done` is a share from 0 to 1, shown as at most 99 % until the stage ends.

        `metrics` are shown as text. Returns at once and raises nothing for a failed post.
        """
        remaining = None if remaining_seconds is None else max(0, int(remaining_seconds))
        self._put(
            TrainerStatus(
                progress_percentage=max(0, min(99, int(done * 100))),
                estimated_remaining_seconds=remaining,
                metrics=[{"name": name, "value": str(value)} for name, value in (metrics or {}).items()],
            )
        )

    def _put(self, status: TrainerStatus) -> None:
        stamped = status.model_copy(update={"last_updated_time": timestamp(datetime.now(UTC))})
        message = ProgressMessage(trainer_status=stamped).model_dump(mode="json", by_alias=True, exclude_none=True)
        with self._changed:
            self._pending = json.dumps(message)
            self._changed.notify()

    def _patience(self) -> float:
        """Return the seconds to wait for the last message."""
        if self._last_failed:
            return 0.0
        posting = 0.0 if self._posting_since is None else self._clock() - self._posting_since
        return max(0.0, PATIENCE_SECONDS - posting)

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._pending is not None or self._closing)
                body, self._pending = self._pending, None
                self._posting_since = self._clock()
            if body is None:
                return
            failed = not self._post(body)
            with self._changed:
                self._posting_since, self._last_failed = None, failed
                self._changed.wait_for(lambda: self._closing, timeout=self._interval)

    def _post(self, body: str) -> bool:
        """Post one message; return whether the operator took it."""
        try:
            if self._send is not None:
                self._send(body)
        except (OSError, ValueError) as error:
            log.info("cannot post the progress: %s", error)
            return False
        return True


class Countdown:
    """Estimates the remaining time from the progress of this process, without what was done before a resume.

    `done` and `total` are in any one unit, for example steps; `clock` returns seconds.
    """

    def __init__(self, done: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._start = (clock(), done)

    def remaining_seconds(self, done: float, total: float) -> float | None:
        """Return the seconds left at `done` of `total`; None while this process has made no progress."""
        started_at, done_before = self._start
        if done <= done_before:
            return None
        return (self._clock() - started_at) / (done - done_before) * max(0.0, total - done)


class _Connection(http.client.HTTPSConnection):
    """A connection to an IP address whose certificate is checked for a DNS name, as this pod has no DNS."""

    def __init__(self, endpoint: OperatorEndpoint) -> None:
        url = urlsplit(endpoint.url)
        super().__init__(url.hostname or "", url.port, timeout=TIMEOUT_SECONDS)
        self._tls = ssl.create_default_context(cadata=endpoint.ca)
        self._server_name = endpoint.server_name

    @override
    def connect(self) -> None:
        raw = socket.create_connection((self.host, self.port), TIMEOUT_SECONDS)
        self.sock = self._tls.wrap_socket(raw, server_hostname=self._server_name)


def sender(environment: Mapping[str, str] = os.environ) -> Send | None:
    """Return the function that posts to the operator as the pod's environment says; None when it names no operator.

    That function raises OSError for a failed request, and ValueError when the endpoint's file is invalid.
    """
    endpoint_file, token_file = environment.get(ENV_ENDPOINT), environment.get(ENV_TOKEN)
    if not endpoint_file or not token_file:
        return None

    def send(body: str) -> None:
        # read again for each message: the kubelet rotates the token, and the operator's address and CA may change
        endpoint = OperatorEndpoint.model_validate_json(Path(endpoint_file).read_bytes())
        headers = {
            "Authorization": f"Bearer {Path(token_file).read_text().strip()}",
            "Content-Type": "application/json",
        }
        connection = _Connection(endpoint)
        try:
            connection.request("POST", urlsplit(endpoint.url).path, body.encode(), headers)
            status = connection.getresponse().status
        except http.client.HTTPException as error:
            raise OSError(f"no answer of the operator: {type(error).__name__}") from error
        finally:
            connection.close()
        if status >= 300:  # a redirect too: the token must not go to another endpoint
            raise OSError(f"the operator answered {status}")

    return send
