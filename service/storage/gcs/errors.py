"""What an error of Google's client means in our words, with advice (json_api/v1/status-codes)."""

import re

from google.api_core.exceptions import GoogleAPICallError, RetryError, from_http_response
from google.auth.exceptions import GoogleAuthError, TransportError
from requests import Response
from requests.exceptions import JSONDecodeError, RequestException

from service.storage.store import (
    ChecksumMismatch,
    ObjectNotFound,
    PreconditionFailed,
    StorageError,
    StorageMisconfigured,
    StorageUnavailable,
)


class Stalled(ConnectionError):
    """Bytes don't move. As a ConnectionError it is one of those that the library tries again."""


def raise_refusal(response: Response) -> None:
    """Raise what the library raises where the response to a request of our own is a refusal."""
    if not response.ok:
        raise from_http_response(response)  # type: ignore[no-untyped-call] # api-core is typed in parts


def in_our_words(error: Exception, bucket: str) -> StorageError | None:
    """The error as the contract names it; None for one that is not the store's."""
    if isinstance(error, GoogleAPICallError):
        return _refusal(error, bucket)
    if isinstance(error, GoogleAuthError):
        words = _short(error)
        if isinstance(error, TransportError) or error.retryable:
            return StorageUnavailable(f"no access token could be had: {words}")
        return StorageMisconfigured(f"there are no usable credentials; set up Workload Identity or ADC ({words})")
    if isinstance(error, JSONDecodeError):
        return StorageMisconfigured("this is no object store: its response is no JSON")
    if isinstance(error, RetryError):  # what the library thinks will pass did not pass within the budget
        return StorageUnavailable(_trouble(error.cause or error))
    return StorageUnavailable(_trouble(error)) if isinstance(error, RequestException) else None


def bucket_missing(bucket: str, said: object) -> StorageMisconfigured:
    """For a 404 that can't mean an object."""
    return StorageMisconfigured(f"gs://{bucket} is missing; create it or correct STORAGE_URL ({said})")


def _trouble(cause: BaseException) -> str:
    if isinstance(cause, GoogleAPICallError):
        return f"the object store says {cause.code}: {_message(cause)}"
    if isinstance(cause, Stalled):
        return str(cause)
    if "timed out" in str(cause):  # the type does not tell: a time-out while sending comes wrapped
        return "the object store did not answer in time"
    return f"the object store can't be reached, or broke off: {type(cause).__name__}"


def _refusal(error: GoogleAPICallError, bucket: str) -> StorageError:
    message = _message(error)
    if error.code == 404:
        return bucket_missing(bucket, message) if message.startswith("The specified b") else ObjectNotFound(message)
    kinds: dict[int | None, tuple[type[StorageError], str]] = {
        401: (StorageMisconfigured, "the credentials are refused; set up Workload Identity or ADC"),
        403: (StorageMisconfigured, f"grant roles/storage.objectUser on gs://{bucket} to this service account"),
        412: (PreconditionFailed, "the object is not of the generation that was asked for"),
    }
    if error.code == 400 and re.search("crc32c", message, re.IGNORECASE):
        kinds[400] = (ChecksumMismatch, "what arrived is not what was sent")
    kind, advice = kinds.get(error.code, (StorageMisconfigured, "the request was refused"))
    return kind(f"{advice} (the object store says {error.code}: {message})")


def _message(error: GoogleAPICallError) -> str:
    """What the store itself says. The exception's own text has the URL too, and a session's URL is a secret."""
    try:
        return _short(error.response.json()["error"]["message"])
    except (AttributeError, ValueError, KeyError, TypeError):
        return _short(getattr(error.response, "text", ""))


def _short(text: object) -> str:
    return " ".join(str(text).split())[:200]
