"""Errors of an engine, for its callers. Without imports, so that a stage without an engine can name them cheaply."""

from __future__ import annotations


class EngineUnreachable(Exception):  # noqa: N818 (the cause is the name)
    """The engine gave no usable response: it starts, restarts or is gone."""

    def __init__(self, message: str, *, may_repeat: bool = True) -> None:
        """`may_repeat`: the same request may succeed at once, on another connection."""
        super().__init__(message)
        self.may_repeat = may_repeat


class EngineRefused(Exception):  # noqa: N818
    """The engine refused the request; `status` is the HTTP status."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class NotServable(Exception):  # noqa: N818
    """The adapter must not be served by this engine, and a retry cannot help."""
