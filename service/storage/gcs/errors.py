"""What an error of Google's client means in the contract's words, with advice (json_api/v1/status-codes)."""

import re

from google.api_core.exceptions import GoogleAPICallError, RetryError
from google.auth.exceptions import GoogleAuthError, TransportError
from requests.exceptions import JSONDecodeError, RequestException

from service.storage.store import (
    ChecksumMismatch,
    ObjectNotFound,
    PreconditionFailed,
    StorageError,
    StorageMisconfigured,
    StorageUnavailable,
)

OF_THE_CLIENT = (GoogleAPICallError, GoogleAuthError, RetryError, RequestException)


class Stalled(ConnectionError):
    """Bytes don't move. As a ConnectionError it is one of those that the library tries again."""


def translate(error: Exception, bucket: str) -> StorageError:
    """One of OF_THE_CLIENT as the contract names it."""
    if isinstance(error, GoogleAPICallError):
        return _refusal(error, bucket)
    if isinstance(error, GoogleAuthError):
        words = _short(error)
        if isinstance(error, TransportError) or error.retryable:
            return StorageUnavailable(f"no access token could be had: {words}")
        return StorageMisconfigured(f"there are no usable credentials; set up Workload Identity or ADC ({words})")
    if isinstance(error, JSONDecodeError):
        return StorageMisconfigured("this is not an object store: its response is not JSON")
    # RetryError: a failure that may pass, but did not within the budget.
    return StorageUnavailable(_trouble(getattr(error, "cause", None) or error))


def bucket_missing(bucket: str, detail: object) -> StorageMisconfigured:
    """For a 404 that can't mean an object."""
    return StorageMisconfigured(f"gs://{bucket} is missing; create it or correct STORAGE_URL ({detail})")


def _trouble(cause: BaseException) -> str:
    if isinstance(cause, GoogleAPICallError):
        return f"the object store says {cause.code}: {_message(cause)}"
    if isinstance(cause, Stalled):
        return str(cause)
    if "timed out" in str(cause):  # the type does not tell: a time-out while sending comes wrapped
        return "the object store did not respond in time"
    return f"the object store can't be reached, or broke off: {type(cause).__name__}"


def _refusal(error: GoogleAPICallError, bucket: str) -> StorageError:
    message = _message(error)
    if error.code == 404:
        return bucket_missing(bucket, message) if message.startswith("The specified b") else ObjectNotFound(message)
    kind: type[StorageError] = StorageMisconfigured
    advice = "the request was refused"
    if error.code == 400 and re.search("crc32c", message, re.IGNORECASE):
        kind, advice = ChecksumMismatch, "what arrived is not what was sent"
    elif error.code == 401:
        advice = "the credentials are refused; set up Workload Identity or ADC"
    elif error.code == 403:
        advice = f"grant roles/storage.objectUser on gs://{bucket} to this service account"
    elif error.code == 412:
        kind, advice = PreconditionFailed, "the object is not of the generation that was asked for"
    return kind(f"{advice} (the object store says {error.code}: {message})")


def _message(error: GoogleAPICallError) -> str:
    """What the store itself says. The exception's own text has the URL too, and a session's URL is a secret."""
    try:
        return _short(error.response.json()["error"]["message"])
    except (AttributeError, ValueError, KeyError, TypeError):
        return _short(getattr(error.response, "text", ""))


def _short(text: object) -> str:
    return " ".join(str(text).split())[:200]
