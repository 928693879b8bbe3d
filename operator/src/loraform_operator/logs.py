"""Logs as JSON lines, with the custom resource that is being reconciled."""

from __future__ import annotations

import json
import logging
from contextvars import ContextVar
from datetime import UTC, datetime

from loraform_operator.context import Key

current_key: ContextVar[Key | None] = ContextVar("current_key", default=None)


class JsonFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        """Return the record as JSON: ts, level, logger, msg, and in a reconcile also kind, namespace and name."""
        line = {
            "ts": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "msg": record.getMessage(),
        }
        key = current_key.get()
        if key is not None:
            line |= {"kind": key.kind.value, "namespace": key.namespace, "name": key.name}
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        return json.dumps(line)


def configure(level: str) -> None:
    """Log records of `level` and above to standard error."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonFormatter())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    for verbose in ("aiohttp.access", "kopf.objects", "asyncio"):
        logging.getLogger(verbose).setLevel(logging.WARNING)
