"""Reads and writes S3 buckets by boto3. Credentials are only the Secret's: not environment, files or metadata."""

from __future__ import annotations

import functools
import logging
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any, TypeVar

import boto3  # type: ignore[import-untyped] # publishes no type information
import urllib3
from boto3.s3.transfer import TransferConfig  # type: ignore[import-untyped] # the same
from botocore import UNSIGNED  # type: ignore[import-untyped] # the same
from botocore.config import Config  # type: ignore[import-untyped] # the same
from botocore.exceptions import (  # type: ignore[import-untyped] # the same
    BotoCoreError,
    ClientError,
    ParamValidationError,
    SSLError,
)

from loraform_api.meta import Scheme
from loraform_api.sources import S3Location
from loraform_trainer.remote.access import RemoteAccess
from loraform_trainer.remote.addresses import check_url, guard, refusal, resolve
from loraform_trainer.remote.body import Clock, body_chunks, read_document
from loraform_trainer.remote.web import MAX_PAGES, SavedFile, save_chunks, status_error
from loraform_trainer.runtime.errors import InvalidConfigError, StageError, TransientError

ATTEMPTS = 3
TRANSFER = TransferConfig(use_threads=False)
"""Uploads parts one after another, to hold one buffer in memory instead of eight."""

_CLIENT_LOCK = threading.Lock()
"""Creating clients of a session is not thread-safe; using them is."""

Result = TypeVar("Result")

logging.getLogger("boto3").setLevel(logging.WARNING)
logging.getLogger("botocore").setLevel(logging.WARNING)  # at DEBUG it logs signatures


@dataclass(frozen=True, slots=True)
class S3Object:
    """An entry of a bucket's listing; `size` is in bytes."""

    key: str
    size: int
    etag: str


class Bucket:
    """One bucket; all methods raise StageError naming `access.field`."""

    def __init__(self, access: RemoteAccess, location: S3Location, name: str, clock: Clock = time.monotonic) -> None:
        guard()
        self.access = access
        self.name = name
        self._clock = clock
        if location.endpoint is not None:
            host, port = check_url(location.endpoint, f"{access.field}, endpoint", plain=True)
            resolve(host, port, f"{access.field}, endpoint")
        ca_file = access.ca_file or ssl.get_default_verify_paths().cafile
        with _CLIENT_LOCK:
            self._client = _session().client(
                "s3",
                aws_access_key_id=access.values.get("accessKeyId"),
                aws_secret_access_key=access.values.get("secretAccessKey"),
                aws_session_token=access.values.get("sessionToken"),
                region_name=location.region,
                endpoint_url=location.endpoint,
                verify=True if ca_file is None else str(ca_file),
                config=_config(signed=access.secret is not None, own_endpoint=location.endpoint is not None),
            )
        self._client.meta.events.register_first("needs-retry.s3", self._refuse_redirect)

    def list(self, prefix: str) -> Iterator[S3Object]:
        """Yield the objects directly below `prefix`, which ends with `/` or is empty."""
        pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=self.name, Prefix=prefix, Delimiter="/")
        for number, page in enumerate(self._translate_errors(pages, prefix)):
            if number >= MAX_PAGES:
                raise self.access.invalid(
                    f"{self.access.field}: {Scheme.S3.uri(self.name)}/{prefix} has too many objects"
                )
            for entry in page.get("Contents", ()):
                yield S3Object(entry["Key"], entry["Size"], entry["ETag"])

    def save(self, key: str, target: Path, *, max_bytes: int, **version: str) -> SavedFile:
        """Stream an object into `target`; `version` is `VersionId` or `IfMatch` (an ETag)."""
        body = self._call(key, lambda: self._client.get_object(Bucket=self.name, Key=key, **version)["Body"])
        with body as stream:
            return save_chunks(self._chunks(stream, key), target, max_bytes, self.access)

    def read(self, key: str) -> bytes | None:
        """Return the content of an object of at most 8 MiB; None when it does not exist."""
        response = self._call_or_none(key, lambda: self._client.get_object(Bucket=self.name, Key=key))
        if response is None:
            return None
        with response["Body"] as stream:
            return read_document(self._chunks(stream, key), Scheme.S3.uri(f"{self.name}/{key}"), self.access)

    def metadata(self, key: str) -> Mapping[str, str] | None:
        """Return the metadata of an object; None when it does not exist."""
        response = self._call_or_none(key, lambda: self._client.head_object(Bucket=self.name, Key=key))
        return None if response is None else response["Metadata"]

    def upload(self, key: str, file: Path, metadata: Mapping[str, str]) -> None:
        """Upload a file, large ones in parts."""
        extra = {"Metadata": dict(metadata)}
        with file.open("rb") as stream:
            self._call(
                key,
                lambda: self._client.upload_fileobj(stream, self.name, key, ExtraArgs=extra, Config=TRANSFER),
            )

    def _chunks(self, stream: urllib3.BaseHTTPResponse, key: str) -> Iterator[bytes]:
        return body_chunks(stream, Scheme.S3.uri(f"{self.name}/{key}"), self.access, self._clock)

    def _call(self, key: str, call: Callable[[], Result]) -> Result:
        try:
            return call()
        except Exception as error:
            raise self._error(key, error) from error

    def _call_or_none(self, key: str, call: Callable[[], dict[str, Any]]) -> dict[str, Any] | None:
        try:
            return call()
        except ClientError as error:
            if _status(error) == HTTPStatus.NOT_FOUND and _code(error) != "NoSuchBucket":
                return None
            raise self._error(key, error) from error
        except Exception as error:
            raise self._error(key, error) from error

    def _translate_errors(self, items: Iterator[Result], key: str) -> Iterator[Result]:
        try:
            yield from items
        except Exception as error:
            raise self._error(key, error) from error

    def _refuse_redirect(self, response: tuple[Any, Any] | None = None, **_: object) -> None:
        """Raise for a redirect before botocore handles it: it would ask for the region and be redirected again."""
        if response is not None and 300 <= response[0].status_code < 400:
            raise InvalidConfigError(
                f"{self.access.field}: {Scheme.S3.uri(self.name)}: the server redirects; correct `endpoint` or `region`"
            )

    def _error(self, key: str, error: Exception) -> Exception:
        url, advice = Scheme.S3.uri(f"{self.name}/{key}"), ""
        if isinstance(error, StageError):
            return error
        kind: type[StageError] = InvalidConfigError
        if (refused := refusal(error)) is not None:
            advice = refused.message
        elif isinstance(error, ClientError):
            return status_error(
                _status(error), f"{url} answered {_status(error)} {self.access.redact(_code(error))}", self.access
            )
        elif isinstance(error, SSLError):
            advice = "the server's certificate is not trusted; name a ConfigMap with its CA in `caConfigMapRef`"
        elif isinstance(error, ParamValidationError):
            advice = str(error)
        elif isinstance(error, BotoCoreError):
            kind, advice = TransientError, f"no answer ({type(error).__name__})"
        else:
            return error
        return kind(f"{self.access.field}: {url}: {advice}")


@functools.cache
def _session() -> Any:
    """Return the session of all clients, without credentials; boto3 loads its description of S3 once per session."""
    return boto3.session.Session()


def _config(*, signed: bool, own_endpoint: bool) -> Any:
    return Config(
        signature_version="s3v4" if signed else UNSIGNED,
        s3={"addressing_style": "path" if own_endpoint else "virtual"},
        retries={"total_max_attempts": ATTEMPTS, "mode": "standard"},
        connect_timeout=20,
        read_timeout=60,
        proxies={},  # None would read the environment
        ignore_configured_endpoint_urls=True,
        request_checksum_calculation="when_required",  # servers other than AWS may not support newer checksums
        response_checksum_validation="when_required",
    )


def _status(error: ClientError) -> int:
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def _code(error: ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))[:64]
