"""Google's client: its endpoint, credentials, connections and time-outs, and what is tried again."""

import logging
import math
import os
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass
from typing import Any, NamedTuple, TypeVar

import google.auth
from google.api_core.exceptions import RetryError, TooManyRequests
from google.auth.credentials import AnonymousCredentials, Credentials
from google.auth.exceptions import GoogleAuthError
from google.auth.transport.requests import AuthorizedSession
from google.cloud import storage
from google.cloud.storage.retry import DEFAULT_RETRY
from requests.utils import get_environ_proxies

from service.breaker import Breaker
from service.storage.gcs.connections import Connections
from service.storage.gcs.errors import OF_THE_CLIENT, bucket_missing, translate
from service.storage.store import ObjectNotFound, StorageError, StorageUnavailable

log = logging.getLogger(__name__)

T = TypeVar("T")

_FIRST_PAUSE = 0.1  # seconds; then twice as long each time, with jitter
_LONGEST_PAUSE = 5.0


class Connected(NamedTuple):
    """The library's bucket, for its methods, and its connections, for requests that it has no method for."""

    bucket: storage.Bucket
    session: AuthorizedSession


@dataclass(eq=False, repr=False)
class GcsClient:
    """One bucket.

    ``endpoint`` and ``credentials`` are for tests. Else the endpoint is STORAGE_EMULATOR_HOST (without credentials),
    API_ENDPOINT_OVERRIDE, as the library defines them, or Google's own; and credentials are Application Default
    Credentials.
    """

    bucket_name: str
    _: KW_ONLY
    timeout: float = 10  # seconds that a transfer may make no progress, or another call may take as a whole
    retry_budget: float = 15  # seconds that calls are repeated
    least_rate: int = 0  # bytes a second of a transfer, after the time-out
    connections: int = 10  # that are kept open
    endpoint: str | None = None
    credentials: Credentials | None = None

    def __post_init__(self) -> None:
        emulator = os.environ.get("STORAGE_EMULATOR_HOST")
        if emulator and self.credentials is None:
            self.credentials = AnonymousCredentials()  # type: ignore[no-untyped-call] # google-auth is typed in parts
        self.endpoint = self.endpoint or emulator
        if self.endpoint and "://" not in self.endpoint:
            self.endpoint = f"http://{self.endpoint}"
        # For calls of the library. It would try again without a word; call() does so by its rules, and logs it.
        self.once: dict[str, Any] = {"timeout": self.timeout, "retry": None}
        self._retry = DEFAULT_RETRY.with_delay(_FIRST_PAUSE, _LONGEST_PAUSE, 2)
        self._breaker = Breaker(self.timeout)
        self._of_thread = threading.local()  # ``ends``: when the call has to be over
        self._lock = threading.Lock()
        self._connected: Connected | None = None
        self._no_credentials: GoogleAuthError | None = None
        self._look_again = 0.0

    def call(
        self,
        do: Callable[[], T],
        *,
        budget: float | None = None,
        failed: list[str] | None = None,
        is_short: bool = False,
        always: bool = False,
    ) -> T:
        """Do it until it succeeds; StorageError where it does not. It must be safe to repeat.

        ``budget`` (seconds) is the store's own unless given. To ``failed`` is added the name of each failed attempt's
        error: the attempt may have taken effect all the same. ``is_short``: it is no transfer, so all attempts together
        have the time of one. ``always``: even while the breaker is open.
        """
        if not always and (cause := self._breaker.admit()):
            raise StorageUnavailable(cause)
        outer = sys.exception()  # what the caller is handling

        def note(error: Exception) -> None:
            log.info("a request to the object store failed: %s", type(error).__name__)
            if failed is not None:
                failed.append(type(error).__name__)
            _let_go(error, outer)
            if is_short and self._breaker.is_open:  # other requests found out meanwhile
                raise RetryError("", error)  # type: ignore[no-untyped-call] # api-core is typed in parts

        budget = self.retry_budget if budget is None else budget
        if is_short:
            budget = min(budget, self.timeout)
            self._of_thread.ends = time.monotonic() + self.timeout
        try:
            done: T = self._retry.with_timeout(budget)(do, note)()
        except OF_THE_CLIENT as error:
            _let_go(error, outer)
            raise self._reported(error) from error  # no variable: its traceback would keep it, and what was sent
        except StorageUnavailable as error:
            self._breaker.failed(str(error))
            raise
        finally:
            self._of_thread.ends = math.inf
        self._breaker.succeeded()
        return done

    def _reported(self, error: Exception) -> StorageError:
        """What an error of the library means; the breaker is told."""
        meaning = translate(error, self.bucket_name)
        if not isinstance(meaning, StorageUnavailable):
            self._breaker.succeeded()  # the store has responded
        elif not isinstance(getattr(error, "cause", error), TooManyRequests):  # that may be about one object
            self._breaker.failed(str(meaning))
        return meaning

    def call_bucket(self, do: Callable[[], T], *, failed: list[str] | None = None, is_short: bool = False) -> T:
        """As call(), where only the bucket can be what is missing."""
        try:
            return self.call(do, failed=failed, is_short=is_short)
        except ObjectNotFound as error:
            raise bucket_missing(self.bucket_name, error) from error

    def look(self, name: str, *, budget: float | None = None, always: bool = False) -> storage.Blob:
        """The object's description (json_api/v1/objects/get). ObjectNotFound."""

        def do() -> storage.Blob:
            blob = self.blob(name)
            blob.reload(**self.once)
            return blob

        return self.call(do, budget=budget, is_short=True, always=always)

    def delete(self, name: str, generation: int, *, failed: list[str] | None = None) -> None:
        """Delete just this one (json_api/v1/objects/delete). ObjectNotFound, PreconditionFailed."""

        def do() -> None:
            self.blob(name).delete(if_generation_match=generation, **self.once)

        self.call(do, failed=failed, is_short=True)

    def close(self) -> None:
        """Close idle connections."""
        if self._connected is not None:
            self._connected.bucket.client.close()

    def blob(self, name: str) -> storage.Blob:
        """The object, for the library's own methods. To be used within call()."""
        return self.connected().bucket.blob(name)

    def connected(self) -> Connected:
        """The bucket and its connections. To be used within call().

        Credentials are looked for when they are first needed, because a metadata server may have to be asked. While
        one thread looks, others wait; if it finds none, no thread looks again for some seconds.
        """
        with self._lock:
            if self._connected is None:
                if self._no_credentials and time.monotonic() < self._look_again:
                    raise self._no_credentials
                try:
                    self._connected = self._connect()
                except GoogleAuthError as error:
                    self._no_credentials, self._look_again = error, time.monotonic() + _LONGEST_PAUSE
                    raise
            return self._connected

    def _connect(self) -> Connected:
        credentials = self.credentials
        if credentials is None:
            credentials, _ = google.auth.default(scopes=storage.Client.SCOPE)
        # Else the library asks for the bucket's description, in threads: for each client, and after each 404.
        os.environ.setdefault("DISABLE_GCS_PYTHON_CLIENT_OTEL_BUCKET_METADATA", "true")
        # A session of our own because the library's keeps ten connections, whatever the number of threads.
        session = AuthorizedSession(credentials, refresh_timeout=self.timeout)  # type: ignore[no-untyped-call] # as above
        for scheme in ("http://", "https://"):
            session.mount(scheme, Connections(self.connections, self.timeout, self.least_rate, self._ends))
        options = {"api_endpoint": self.endpoint}
        client = storage.Client(None, credentials, session, client_options=options)
        # It would look up proxies and ~/.netrc at every request, and a password from there would replace the token.
        session.trust_env = False
        session.proxies.update(get_environ_proxies(client.api_endpoint))
        session.verify = os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("CURL_CA_BUNDLE") or True
        return Connected(client.bucket(self.bucket_name), session)

    def _ends(self) -> float:
        return getattr(self._of_thread, "ends", math.inf)


def _let_go(error: BaseException | None, outer: BaseException | None) -> None:
    """Free what a failed attempt sent, up to 8 MiB, at once. ``outer`` is not the attempt's, and is left as it is.

    The library keeps the errors of a call until its end. An error keeps its request, and its traceback keeps the whole
    stack, in cycles that only the garbage collector would find.
    """
    while error is not None and error is not outer:
        error.__traceback__ = None
        for holder in (error, getattr(error, "response", None)):
            if (request := getattr(holder, "request", None)) is not None:
                request.body = None
        error = error.__context__
