"""Which object store ``STORAGE_URL`` means. A store is a module and its lines here; a fork deletes both."""

import logging
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from service.name import NAME

if TYPE_CHECKING:
    from service.settings import Settings
    from service.storage.store import ObjectStore

log = logging.getLogger(__name__)


def open_store(settings: "Settings") -> "ObjectStore":
    """The store that STORAGE_URL names, not asked for anything yet.

    ValueError or OSError where it can't be set up, or its client library is not installed.
    """
    url = urlsplit(settings.storage_url)
    try:
        if url.scheme == "gs":
            from service.storage.gcs import GcsClient, GcsStore  # noqa: PLC0415 -- only the store in use is imported

            client = GcsClient(
                url.netloc,
                timeout=settings.storage_timeout,
                retry_budget=settings.storage_retry_budget,
                least_rate=settings.min_transfer_rate,
                connections=settings.threads + 2,  # the health check's, and one to spare
            )
            return GcsStore(client, prefix=url.path.strip("/"))
        if url.scheme == "file":
            from service.storage.file import FileStore  # noqa: PLC0415 -- as above

            folder = unquote(url.path)
            log.info("files are kept in the folder %s: other instances see them only if it is a shared disk", folder)
            return FileStore(folder)
    except ImportError as error:
        raise ValueError(
            f"the client library of STORAGE_URL's store is missing ({error}); install {NAME}[gcs]"
        ) from error
    raise ValueError(f"no object store for {url.scheme}://")
