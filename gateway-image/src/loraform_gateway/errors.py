"""Errors that callers see, in OpenAI's format with the request's id beside `message`, `type`, `param` and `code`."""

from __future__ import annotations

import json
import logging
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp
from aiohttp import web

from loraform_engine.errors import EngineRefused, EngineUnreachable
from loraform_gateway import request_id
from loraform_verifier.http.blocking import VerifierRefused, VerifierUnavailable

LOG = logging.getLogger(__name__)
PATH_LIMIT = 200
"""Most characters of a path that an error repeats."""
UPSTREAM = (EngineUnreachable, EngineRefused, VerifierUnavailable, VerifierRefused, aiohttp.ClientError)
"""Errors of servers behind this one; their texts quote no prompt."""


KINDS = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}
"""Types of errors by status, where they are neither `invalid_request_error` nor `server_error`."""


class ApiError(Exception):
    """A response other than 200. `message` says what is wrong and what is allowed; it never quotes a prompt."""

    def __init__(
        self, status: int, code: str, message: str, *, param: str | None = None, retry_after: int | None = None
    ) -> None:
        super().__init__(message)
        self.status, self.code, self.message, self.param, self.retry_after = status, code, message, param, retry_after

    def body(self) -> dict[str, Any]:
        """Return the JSON body."""
        kind = KINDS.get(self.status, "invalid_request_error" if self.status < 500 else "server_error")
        error = {"message": self.message, "type": kind, "param": self.param, "code": self.code}
        return {"error": {**error, "request_id": request_id.current()}}

    def log_reason(self) -> None:
        """Log what an engine or a verifier said, and every failure of ours, with the request's id."""
        cause = self.__cause__
        if self.status < 500 and not isinstance(cause, UPSTREAM):
            return
        reason = f"; {cause}" if isinstance(cause, UPSTREAM) else ""  # texts of other errors may quote a prompt
        LOG.warning("request %s: %d %s: %s%s", request_id.current(), self.status, self.code, self.message, reason)

    def response(self) -> web.Response:
        """Return the HTTP response."""
        headers = {} if self.retry_after is None else {"Retry-After": str(self.retry_after)}
        if self.status == 401:
            headers["WWW-Authenticate"] = "Bearer"
        return web.json_response(self.body(), status=self.status, headers=headers)


def bad_request(message: str, param: str | None = None, code: str = "invalid_request") -> ApiError:
    return ApiError(400, code, message, param=param)


def unavailable(code: str, message: str, retry_after: int = 5) -> ApiError:
    return ApiError(503, code, message, retry_after=retry_after)


def internal_error(request: web.Request, error: Exception) -> ApiError:
    """Return the error for a fault of ours, and log it by its type only, as its text may quote a prompt."""
    path = request.rel_url.raw_path[:PATH_LIMIT]  # with `%0A` for a line end, which could forge a log line
    LOG.error("request %s: %s %s failed: %s", request_id.current(), request.method, path, type(error).__name__)
    return ApiError(500, "internal_error", "the gateway failed; its log names the type of the error")


@web.middleware
async def shape_errors(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """Return every error before a response began in OpenAI's format."""
    try:
        return await handler(request)
    except ApiError as error:
        error.log_reason()
        return error.response()
    except web.HTTPRequestEntityTooLarge:
        return ApiError(413, "body_too_large", "the body is too large; send a shorter instruction").response()
    except web.HTTPException as error:
        unknown = error.status in (404, 405)
        message = f"there is no {request.method} {request.path[:PATH_LIMIT]} here" if unknown else error.reason
        return ApiError(error.status, "unknown_url" if unknown else "http_error", message).response()
    except ConnectionResetError:
        raise  # the caller disconnected
    except (web.RequestPayloadError, json.JSONDecodeError, UnicodeDecodeError):
        return bad_request("the body must be JSON").response()
    except Exception as error:
        return internal_error(request, error).response()
