"""Buckets of any S3 server, by boto3: credentials only from the Secret, never from environment, files or metadata."""

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
from loraform_trainer.remote.addresses import check_url, guard, refusal, resolve
from loraform_trainer.remote.body import Clock, pieces, whole
from loraform_trainer.remote.identity import Place
from loraform_trainer.remote.web import MAX_PAGES, Saved, save_chunks, status_error
from loraform_trainer.runtime.errors import InvalidConfigError, StageError, TransientError

ATTEMPTS = 3
TRANSFER = TransferConfig(use_threads=False)
"""Parts one after another: publishing is not worth eight buffers in memory."""

_MAKING = threading.Lock()
"""A session makes one client at a time; clients themselves may be used by any thread."""

Result = TypeVar("Result")

logging.getLogger("boto3").setLevel(logging.WARNING)
logging.getLogger("botocore").setLevel(logging.WARNING)  # at DEBUG it writes signatures


@dataclass(frozen=True, slots=True)
class S3Object:
    key: str
    size: int
    etag: str


class Bucket:
    """One bucket; its errors are StageErrors that name the place's field."""

    def __init__(self, place: Place, location: S3Location, name: str, clock: Clock = time.monotonic) -> None:
        guard()
        self.place = place
        self.name = name
        self._clock = clock
        if location.endpoint is not None:
            host, port = check_url(location.endpoint, f"{place.field}, endpoint", plain=True)
            resolve(host, port, f"{place.field}, endpoint")
        ca_file = place.ca_file or ssl.get_default_verify_paths().cafile
        with _MAKING:
            self._client = _session().client(
                "s3",
                aws_access_key_id=place.values.get("accessKeyId"),
                aws_secret_access_key=place.values.get("secretAccessKey"),
                aws_session_token=place.values.get("sessionToken"),
                region_name=location.region,
                endpoint_url=location.endpoint,
                verify=True if ca_file is None else str(ca_file),
                config=_config(signed=place.secret is not None, own_endpoint=location.endpoint is not None),
            )
        self._client.meta.events.register_first("needs-retry.s3", self._refuse_redirect)

    def list(self, prefix: str) -> Iterator[S3Object]:
        """Yield the objects right below `prefix`, which ends with `/` or is empty."""
        pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=self.name, Prefix=prefix, Delimiter="/")
        for number, page in enumerate(self._each(pages, prefix)):
            if number >= MAX_PAGES:
                raise self.place.invalid(
                    f"{self.place.field}: {Scheme.S3.uri(self.name)}/{prefix} has too many objects"
                )
            for entry in page.get("Contents", ()):
                yield S3Object(entry["Key"], entry["Size"], entry["ETag"])

    def save(self, key: str, target: Path, *, max_bytes: int, **version: str) -> Saved:
        """Stream an object into `target`; `version` is `VersionId` or `IfMatch` (an ETag)."""
        body = self._do(key, lambda: self._client.get_object(Bucket=self.name, Key=key, **version)["Body"])
        with body as stream:
            return save_chunks(self._pieces(stream, key), target, max_bytes, self.place)

    def read(self, key: str) -> bytes | None:
        """Return the content of a small object, or None where there is none."""
        found = self._find(key, lambda: self._client.get_object(Bucket=self.name, Key=key))
        if found is None:
            return None
        with found["Body"] as stream:
            return whole(self._pieces(stream, key), Scheme.S3.uri(f"{self.name}/{key}"), self.place)

    def head(self, key: str) -> tuple[int, Mapping[str, str]] | None:
        """Return size and metadata of an object, or None where there is none."""
        found = self._find(key, lambda: self._client.head_object(Bucket=self.name, Key=key))
        return None if found is None else (found["ContentLength"], found["Metadata"])

    def upload(self, key: str, file: Path, metadata: Mapping[str, str]) -> None:
        """Store a file; large ones go in parts."""
        extra = {"Metadata": dict(metadata)}
        with file.open("rb") as stream:
            self._do(
                key,
                lambda: self._client.upload_fileobj(stream, self.name, key, ExtraArgs=extra, Config=TRANSFER),
            )

    def _pieces(self, stream: urllib3.BaseHTTPResponse, key: str) -> Iterator[bytes]:
        return pieces(stream, Scheme.S3.uri(f"{self.name}/{key}"), self.place, self._clock)

    def _do(self, key: str, call: Callable[[], Result]) -> Result:
        try:
            return call()
        except Exception as error:
            raise self._error(key, error) from error

    def _find(self, key: str, call: Callable[[], dict[str, Any]]) -> dict[str, Any] | None:
        try:
            return call()
        except ClientError as error:
            if _status(error) == HTTPStatus.NOT_FOUND and _code(error) != "NoSuchBucket":
                return None
            raise self._error(key, error) from error
        except Exception as error:
            raise self._error(key, error) from error

    def _each(self, items: Iterator[Result], key: str) -> Iterator[Result]:
        try:
            yield from items
        except Exception as error:
            raise self._error(key, error) from error

    def _refuse_redirect(self, response: tuple[Any, Any] | None = None, **_: object) -> None:
        """Stand before botocore's own answer to redirects: it asks for the bucket's region, and is redirected again."""
        if response is not None and 300 <= response[0].status_code < 400:
            raise InvalidConfigError(
                f"{self.place.field}: {Scheme.S3.uri(self.name)}: the server redirects; correct `endpoint` or `region`"
            )

    def _error(self, key: str, error: Exception) -> Exception:
        where, advice = Scheme.S3.uri(f"{self.name}/{key}"), ""
        if isinstance(error, StageError):
            return error
        kind: type[StageError] = InvalidConfigError
        if (refused := refusal(error)) is not None:
            advice = refused.message
        elif isinstance(error, ClientError):
            return status_error(
                _status(error), f"{where} answered {_status(error)} {self.place.hide(_code(error))}", self.place
            )
        elif isinstance(error, SSLError):
            advice = "the server's certificate is not trusted; name a ConfigMap with its CA in `caConfigMapRef`"
        elif isinstance(error, ParamValidationError):
            advice = str(error)
        elif isinstance(error, BotoCoreError):
            kind, advice = TransientError, f"no answer ({type(error).__name__})"
        else:
            return error
        return kind(f"{self.place.field}: {where}: {advice}")


@functools.cache
def _session() -> Any:
    """Return a session without credentials; one for all clients, as it reads boto3's description of S3 only once."""
    return boto3.session.Session()


def _config(*, signed: bool, own_endpoint: bool) -> Any:
    return Config(
        signature_version="s3v4" if signed else UNSIGNED,
        s3={"addressing_style": "path" if own_endpoint else "virtual"},
        retries={"total_max_attempts": ATTEMPTS, "mode": "standard"},
        connect_timeout=20,
        read_timeout=60,
        proxies={},  # not None: that would ask the environment
        ignore_configured_endpoint_urls=True,
        request_checksum_calculation="when_required",  # servers other than AWS may not know the newer ones
        response_checksum_validation="when_required",
    )


def _status(error: ClientError) -> int:
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def _code(error: ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))[:64]
