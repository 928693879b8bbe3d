"""Errors named by their cause; their class says what happens next: tell the user, wait quietly, or try again."""

# ruff: noqa: N818 - an error is named by its cause

from __future__ import annotations

from pydantic import ValidationError


class InvalidSpec(Exception):
    """The user must act: becomes a condition and is not retried until something changes.

    `reason` is CamelCase; the text names field, value and fix.
    """

    def __init__(self, message: str, reason: str = "InvalidSpec") -> None:
        super().__init__(message)
        self.reason = reason


class Waiting(Exception):
    """Something normal is not there yet: look again after `after` seconds, without an error in the log."""

    def __init__(self, message: str, after: float) -> None:
        super().__init__(message)
        self.after = after


class ClusterError(Exception):
    """A call to the API server failed; the key is tried again with backoff.

    `status` is the HTTP status, 0 when no answer came; the text holds the API's own message.
    `retry_after` is the pause in seconds that the server asked for, 0 when it asked for none.
    """

    def __init__(self, message: str, status: int = 0, retry_after: float = 0) -> None:
        super().__init__(message)
        self.status = status
        self.retry_after = retry_after


class Conflict(ClusterError):
    """The object changed meanwhile (409): observe again."""


class NotFound(ClusterError):
    """The object or its kind is not there (404)."""


class Forbidden(ClusterError):
    """RBAC, quota or admission refused the call (403); the text is the API's."""


class Invalid(ClusterError):
    """The API server found the object invalid (422); the text is the API's."""


class ForeignObject(ClusterError):
    """A name that we need is taken by an object of another owner."""


REFUSALS = (Forbidden, Invalid, ForeignObject, NotFound)
"""Answers to an object that the API server does not accept; they become a condition of its owner."""


def first_error(error: ValidationError) -> str:
    """Return the first error of a validation as `field: message`."""
    first = error.errors()[0]
    return f"{'.'.join(str(p) for p in first['loc'])}: {first['msg']}"
