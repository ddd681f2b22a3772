"""Requests to the JSON API: where it is, who we are, how long we wait, what is tried again, what a refusal means.

google-auth finds the credentials and urllib3 carries the requests. Google's storage client is not used: a call through
it costs three times the processor time, and it can't stream as the protocol here wants (docs/decisions/storage.md).
"""

import base64
import json
import logging
import os
import random
import re
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar
from urllib.parse import quote, urlencode, urlsplit
from urllib.request import getproxies, proxy_bypass

import google.auth
import urllib3
from google.auth.credentials import AnonymousCredentials, Credentials
from google.auth.exceptions import GoogleAuthError, TransportError
from google.auth.transport.requests import Request

from service.storage.store import ChecksumMismatch, StorageError, StorageMisconfigured, StorageUnavailable

log = logging.getLogger(__name__)

T = TypeVar("T")

_SCOPE = "https://www.googleapis.com/auth/devstorage.read_write"
_ENDPOINT = "https://storage.googleapis.com"
_TRANSIENT = frozenset({408, 429, 500, 502, 503, 504})  # retry-strategy#response
_FIRST_PAUSE = 0.1  # seconds
_LONGEST_PAUSE = 5.0
_AGENT = "seatrial"


class Broken(StorageUnavailable):
    """One attempt came to nothing, and another may help. It may still have taken effect."""


@dataclass(frozen=True)
class Reply:
    """An answer. ``repeated``: attempts came before it, whose effect nobody knows."""

    status: int
    headers: Mapping[str, str]
    raw: urllib3.BaseHTTPResponse
    repeated: bool = False

    def json(self) -> Any:
        """The body as JSON. StorageMisconfigured where it is none."""
        try:
            return json.loads(self.raw.data)
        except ValueError:
            raise StorageMisconfigured("what answers is no object store: its answer is no JSON") from None

    def message(self) -> str:
        """What an error's answer says, in one short line (json_api/v1/status-codes#errorformat)."""
        try:
            text = str(json.loads(self.raw.data)["error"]["message"])
        except (ValueError, KeyError, TypeError):
            text = self.raw.data[:200].decode("utf-8", "replace")
        return " ".join(text.split())[:200]


class Pauses:
    """When to try again: twice as long each time, with jitter, within a budget (retry-strategy#exponential-backoff)."""

    def __init__(self, budget: float) -> None:
        self._end = time.monotonic() + budget
        self._pause = _FIRST_PAUSE

    def wait(self) -> bool:
        """Wait before another attempt; False when the budget does not allow for one."""
        pause = random.uniform(0.5, 1) * self._pause  # noqa: S311 -- spreads load, keeps no secret
        if time.monotonic() + pause > self._end:
            return False
        time.sleep(pause)
        self._pause = min(2 * self._pause, _LONGEST_PAUSE)
        return True


class Api:
    """One bucket's part of the API. The endpoint is STORAGE_EMULATOR_HOST (a URL; nobody is asked for credentials), or
    API_ENDPOINT_OVERRIDE, as Google's client library defines them, or Google's own.
    """

    def __init__(
        self,
        bucket: str,
        *,
        timeout: float,
        retry_budget: float,
        connections: int,
        endpoint: str | None,
        credentials: Credentials | None,
    ) -> None:
        emulator = os.environ.get("STORAGE_EMULATOR_HOST")
        if emulator and credentials is None:
            credentials = AnonymousCredentials()  # type: ignore[no-untyped-call] # google-auth is typed in parts
        endpoint = endpoint or emulator or os.environ.get("API_ENDPOINT_OVERRIDE") or _ENDPOINT
        self._endpoint = (endpoint if "://" in endpoint else f"http://{endpoint}").rstrip("/")
        self.bucket = bucket
        self.objects = f"/storage/v1/b/{quote(bucket, safe='')}/o"
        self.uploads = f"/upload{self.objects}"
        self._budget = retry_budget
        self._timeout = urllib3.Timeout(connect=timeout, read=timeout)
        self._http = _pool(self._endpoint, connections)
        self._credentials = credentials
        self._credentials_lock = threading.Lock()
        self._no_credentials: GoogleAuthError | None = None
        self._look_again = 0.0
        self._auth_request = partial(Request(), timeout=timeout)

    def request(
        self,
        method: str,
        path: str,
        query: Mapping[str, str],
        *,
        headers: Mapping[str, str] | None = None,
        body: Sequence[bytes] = (),
        expect: Sequence[int] = (200,),
        stream: bool = False,
        budget: float | None = None,
    ) -> Reply:
        """Ask until there is an answer; one whose status is not in ``expect`` is raised as a StorageError.

        The request must be safe to repeat. ``budget`` (seconds) is the store's own unless given.
        """
        url = f"{self._endpoint}{path}?{urlencode(query)}"
        pauses = self.pauses(budget)
        repeated = False
        while True:
            try:
                reply = self.attempt(method, url, headers=headers, body=body, stream=stream)
            except Broken as broken:
                if not pauses.wait():
                    raise
                log.info("trying again: %s", broken)
                repeated = True
                continue
            if reply.status not in expect or self._bucket_is_missing(reply):
                raise self.error(reply)
            return Reply(reply.status, reply.headers, reply.raw, repeated)

    def pauses(self, budget: float | None = None) -> Pauses:
        """A budget for retries that begins now."""
        return Pauses(self._budget if budget is None else budget)

    def attempt(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: Sequence[bytes | memoryview] = (),
        stream: bool = False,
    ) -> Reply:
        """Ask once. Broken where another attempt may help. ``stream``: a good answer's body is left to be read."""
        sent = {"User-Agent": _AGENT, "Accept-Encoding": "identity", **(headers or {})}
        if body or method in ("POST", "PUT", "DELETE"):
            sent["Content-Length"] = str(sum(len(part) for part in body))
        response = self._send(method, url, sent, body)
        if response.status == 401 and self._renew_credentials():
            response.close()
            response = self._send(method, url, sent, body)
        reply = Reply(response.status, response.headers, response)
        if not (stream and response.status < 300):
            self._guard(partial(response.read, cache_content=True))
            response.release_conn()
        if response.status in _TRANSIENT:
            raise Broken(f"the object store says {response.status} {reply.message()}")
        return reply

    def _bucket_is_missing(self, reply: Reply) -> bool:
        return reply.status == 404 and reply.message().startswith("The specified bucket")

    def error(self, reply: Reply) -> StorageError:
        """A refusal as an exception that says what to do (json_api/v1/status-codes)."""
        said = f"(the object store says {reply.status}: {reply.message()})"
        match reply.status:
            case 400 if re.search("crc32c", reply.message(), re.IGNORECASE):
                return ChecksumMismatch(f"what arrived is not what was sent {said}")
            case 401:
                return StorageMisconfigured(f"the credentials are refused; set up Workload Identity or ADC {said}")
            case 403:
                advice = f"grant roles/storage.objectUser on gs://{self.bucket} to this service account"
                return StorageMisconfigured(f"no permission; {advice} {said}")
            case 404:
                return StorageMisconfigured(f"gs://{self.bucket} is missing; create it or correct STORAGE_URL {said}")
        return StorageMisconfigured(f"the request was refused {said}")

    def close(self) -> None:
        """Close idle connections."""
        self._http.clear()

    def _send(
        self, method: str, url: str, headers: dict[str, str], body: Sequence[bytes | memoryview]
    ) -> urllib3.BaseHTTPResponse:
        headers = dict(headers)
        try:
            self._signer().before_request(self._auth_request, method, url, headers)  # type: ignore[no-untyped-call] # as above
        except GoogleAuthError as error:
            raise _no_credentials(error) from error
        return self._guard(
            partial(
                self._http.urlopen,
                method,
                url,
                body=iter(body) if body else None,
                headers=headers,
                timeout=self._timeout,
                retries=False,
                redirect=False,
                preload_content=False,
                decode_content=False,
            )
        )

    def _guard(self, call: "partial[T]") -> T:
        try:
            return call()
        except urllib3.exceptions.HTTPError as error:
            raise broken(error) from error

    def _signer(self) -> Credentials:
        """The credentials, looked for when they are first needed: that may mean to ask a metadata server.

        While one thread looks, others wait; what it does not find, none of them looks for again at once.
        """
        with self._credentials_lock:
            if self._credentials is None:
                if self._no_credentials and time.monotonic() < self._look_again:
                    raise self._no_credentials
                try:
                    self._credentials, _ = google.auth.default(scopes=[_SCOPE])
                except GoogleAuthError as error:
                    self._no_credentials, self._look_again = error, time.monotonic() + _LONGEST_PAUSE
                    raise
            return self._credentials

    def _renew_credentials(self) -> bool:
        """After a 401 a token may have been withdrawn before its time. False where there is no other to get."""
        credentials = self._signer()
        if isinstance(credentials, AnonymousCredentials):
            return False
        try:
            credentials.refresh(self._auth_request)  # type: ignore[no-untyped-call] # as above
        except GoogleAuthError as error:
            raise _no_credentials(error) from error
        return True


def broken(error: urllib3.exceptions.HTTPError) -> Broken:
    """What ended an attempt, in words. A time-out while sending comes wrapped; a refused connection is called one."""
    causes = (error, *error.args)
    timed_out = isinstance(error, urllib3.exceptions.TimeoutError) or any(isinstance(c, TimeoutError) for c in causes)
    if timed_out and not isinstance(error, urllib3.exceptions.NewConnectionError):
        return Broken("the object store did not answer in time")
    return Broken(f"the object store can't be reached, or broke off: {type(error).__name__}")


def _no_credentials(error: GoogleAuthError) -> StorageError:
    said = " ".join(str(error).split())[:200]
    if isinstance(error, TransportError) or error.retryable:
        return Broken(f"no access token could be had: {said}")
    return StorageMisconfigured(f"there are no usable credentials; set up Workload Identity or ADC ({said})")


def _pool(endpoint: str, connections: int) -> urllib3.PoolManager:
    """Connections; through the proxy that the environment names, as for every other client."""
    parts = urlsplit(endpoint)
    proxy = getproxies().get(parts.scheme)
    if proxy and parts.hostname and not proxy_bypass(parts.hostname):
        return urllib3.ProxyManager(proxy, maxsize=connections)
    return urllib3.PoolManager(maxsize=connections)


def crc32c_from(encoded: str) -> int:
    """A CRC32C as the API writes it: base64 of its big-endian bytes (json_api/v1/objects#resource). ValueError."""
    return int.from_bytes(base64.b64decode(encoded, validate=True), "big")


def crc32c_text(crc32c: int) -> str:
    """The same the other way."""
    return base64.b64encode(crc32c.to_bytes(4, "big")).decode()
