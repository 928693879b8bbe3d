"""Errors of a reconcile, by what follows: a condition, a quiet wait, or a retry with backoff."""

# ruff: noqa: N818 - an error is named by its cause

from __future__ import annotations

from pydantic import ValidationError


class InvalidSpec(Exception):
    """The spec, or what is stored for it, cannot be used: becomes a condition, and is retried when an object changes.

    The message names field, value and fix.
    """


class Waiting(Exception):
    """What the object needs is not there yet: reconcile it again after `after` seconds, without an error in the log.

    Objects in motion go first.
    """

    def __init__(self, message: str, after: float) -> None:
        super().__init__(message)
        self.after = after


class ClusterError(Exception):
    """A request to the API server failed; the key is retried with backoff.

    `status` is the HTTP status, 0 without a response; the message includes that of the API server.
    `retry_after` is the server's `Retry-After` in seconds, 0 without one.
    """

    def __init__(self, message: str, status: int = 0, retry_after: float = 0) -> None:
        super().__init__(message)
        self.status = status
        self.retry_after = retry_after


class Conflict(ClusterError):
    """The object changed since it was read (409): reconcile again."""


class NotLeading(ClusterError):
    """The request was not sent: it would change something, and this process does not hold the lease (any more)."""


class NotFound(ClusterError):
    """The object or its kind does not exist (404)."""


class Forbidden(ClusterError):
    """RBAC, quota or admission refused the request (403)."""


class Invalid(ClusterError):
    """The object is invalid (422)."""


class ForeignObject(ClusterError):
    """The name of a child belongs to an object of another owner."""


REFUSALS = (Forbidden, Invalid, ForeignObject, NotFound)
"""Answers to an object that the API server does not accept; they become a condition of its owner."""


def first_error(error: ValidationError) -> str:
    """Return the first error of a validation as `field: message`."""
    first = error.errors()[0]
    return f"{'.'.join(str(p) for p in first['loc'])}: {first['msg']}"
