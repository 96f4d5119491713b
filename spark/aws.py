"""AWS for replays and deployments: requests retried while they may still succeed, readable errors, files in S3."""

from __future__ import annotations

import hashlib
import shutil
import time
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from random import Random
from typing import Any, TypeVar

from schemas.aws import EXPIRED
from schemas.errors import InsightsError, Misconfigured, Retryable

T = TypeVar("T")
TRIES = 8
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 1.0, 60.0
# botocore's own, for one of our tries; its pauses are short.
BOTOCORE_TRIES = 3
TIMEOUT_SECONDS = 60
THROTTLED = (429, 503)
NOT_THERE = ("404", "NoSuchKey", "NotFound", "ResourceNotFoundException")


class AwsUnavailable(Retryable):
    """AWS did not answer, or was overloaded, for all our attempts."""


class AwsRefused(InsightsError):
    """AWS rejected the request, and would reject it again. ``code`` is AWS' name of the error."""

    def __init__(self, text: str, code: str = "") -> None:
        super().__init__(text)
        self.code = code


class NotThere(AwsRefused):
    """The requested object does not exist."""


class Aws:
    """One region. Credentials are found where boto3 looks for them. ``sleep`` and ``rng`` make the pauses.

    ``page`` is what its errors name for permissions and settings.

    What its methods raise: Misconfigured for credentials, AwsUnavailable, AwsRefused, NotThere.
    """

    def __init__(
        self,
        *,
        region: str,
        endpoint_url: str | None,
        sleep: Callable[[float], None] = time.sleep,
        rng: Random,
        page: str = "docs/emr.md",
    ) -> None:
        self._region = region
        self._endpoint_url = endpoint_url
        self._sleep = sleep
        self._rng = rng
        self._page = page
        self._client = cache(self._new_client)

    def ask(self, service: str, operation: str, /, **arguments: Any) -> dict[str, Any]:
        """The answer to one request, as boto3 gives it. Blocks. Only for requests that may be repeated."""

        def call() -> dict[str, Any]:
            answer: dict[str, Any] = getattr(self._client(service), operation)(**arguments)
            return answer

        return self._patiently(f"{service} {operation}", call)

    def pause(self, seconds: float) -> None:
        """Waits about this long, with jitter, so that many clients do not retry at the same moment."""
        self._sleep(self._rng.uniform(seconds / 2, seconds))

    # ---- files ----

    def put(self, path: Path, folder: str) -> str:
        """Uploads a file under its content's hash unless it is there already; its URI. Whole or not at all."""
        uri = self.place(path, folder)
        if not self.has(path, uri):
            bucket, key = split_uri(uri)
            self._patiently("s3 put_object", lambda: self._upload(path, bucket, key))
        return uri

    def place(self, path: Path, folder: str) -> str:
        """The URI that ``put`` gives a file."""
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()[:32]
        return f"{folder}/{digest}/{path.name}"

    def has(self, path: Path, uri: str) -> bool:
        """Is a file of this size there?"""
        bucket, key = split_uri(uri)
        try:
            found = self.ask("s3", "head_object", Bucket=bucket, Key=key)
        except NotThere:
            return False
        return bool(found.get("ContentLength") == path.stat().st_size)

    def _upload(self, path: Path, bucket: str, key: str) -> None:
        with path.open("rb") as file:
            self._client("s3").put_object(Bucket=bucket, Key=key, Body=file)

    def listed(self, folder: str) -> Iterator[tuple[str, int]]:
        """Path below the folder and size in bytes of every object in it."""
        bucket, prefix = split_uri(f"{folder}/")
        following: dict[str, str] = {}
        while True:
            page = self.ask("s3", "list_objects_v2", Bucket=bucket, Prefix=prefix, **following)
            for entry in page.get("Contents", ()):
                yield entry["Key"].removeprefix(prefix), entry["Size"]
            if not page.get("IsTruncated"):
                return
            following = {"ContinuationToken": page["NextContinuationToken"]}

    def get(self, uri: str, path: Path) -> int:
        """Downloads an object into a file, replacing it; returns its size in bytes."""
        bucket, key = split_uri(uri)

        def call() -> int:
            with path.open("wb") as file:
                shutil.copyfileobj(self._client("s3").get_object(Bucket=bucket, Key=key)["Body"], file, 1 << 20)
                return file.tell()

        return self._patiently("s3 get_object", call)

    # ---- patience ----

    def _patiently(self, what: str, call: Callable[[], T]) -> T:
        import boto3.exceptions
        import botocore.exceptions

        for attempt in range(1, TRIES + 1):
            try:
                return call()
            except (boto3.exceptions.Boto3Error, botocore.exceptions.BotoCoreError) as error:
                problem = _of_client(what, error)
            except botocore.exceptions.ClientError as error:
                problem = _of_service(what, error.response, self._page)
            if not isinstance(problem, AwsUnavailable) or attempt == TRIES:
                raise problem
            self.pause(min(LONGEST_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * 2**attempt))
        raise AssertionError("unreachable")

    def _new_client(self, service: str) -> Any:
        # Loading it takes half a second, which no other engine should pay.
        import boto3
        from botocore.config import Config

        config = Config(
            retries={"mode": "standard", "total_max_attempts": BOTOCORE_TRIES},
            connect_timeout=10,
            read_timeout=TIMEOUT_SECONDS,
        )
        session = boto3.session.Session(region_name=self._region)
        return session.client(service, endpoint_url=self._endpoint_url, config=config)


def _of_client(what: str, error: Exception) -> InsightsError:
    """What went wrong on this side of the wire."""
    from botocore import exceptions as e

    if isinstance(error, e.NoCredentialsError):
        return Misconfigured(
            "there are no AWS credentials: `aws configure` or `aws sso login` provides them, or set AWS_PROFILE, or"
            " AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
        )
    if isinstance(error, e.PartialCredentialsError | e.CredentialRetrievalError | e.TokenRetrievalError | e.SSOError):
        return Misconfigured(f"the AWS credentials can't be used: {error}. `aws sso login` may renew them")
    if isinstance(error, e.ConnectionError | e.HTTPClientError | e.IncompleteReadError):
        return AwsUnavailable(f"AWS can't be reached ({what}: {error}). Check the network and try again")
    return Misconfigured(f"{what} can't be requested from AWS: {error}")


def _of_service(what: str, response: dict[str, Any], page: str) -> InsightsError:
    """The error that AWS returned."""
    code = str(response["Error"].get("Code", ""))
    said = f"{code}: {response['Error'].get('Message', '')}".rstrip(": ")
    status = int(response["ResponseMetadata"].get("HTTPStatusCode", 0))
    if status >= 500 or status in THROTTLED or "Throttl" in code or code in ("SlowDown", "RequestTimeout"):
        return AwsUnavailable(f"AWS is throttling requests ({what}, {said}). Try again later")
    if code in NOT_THERE:
        return NotThere(f"AWS does not know what {what} names: {said}. {page} lists the settings that it takes", code)
    if code in EXPIRED:
        return Misconfigured(f"the AWS credentials have expired ({said}). Renew them and try again")
    return AwsRefused(f"AWS refuses {what}: {said}. {page} lists the permissions and settings that it takes", code)


def split_uri(uri: str) -> tuple[str, str]:
    """Bucket and key: of ``s3://lake/a/b`` these are ``lake`` and ``a/b``."""
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    return bucket, key
