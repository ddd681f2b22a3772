"""The visitor's files: ``/api/files``. Bodies stream both ways; nothing touches a local disk.

The object's key is ``visitors/<owner>/<name>``; the owner is a random id in the visitor's session, so one visitor
never reaches another's file, whatever the name.
"""

import contextlib
import logging
import re
from collections.abc import Iterator
from typing import Any

from flask import Flask, Response, jsonify, request
from werkzeug.datastructures import Headers
from werkzeug.http import http_date, quote_etag
from werkzeug.routing import BaseConverter

from service import Parts, sessions
from service.http import conditional, request_body
from service.http.errors import Problem
from service.http.transfer_slots import SMALL, LargeResponse, close
from service.sample import file_names
from service.sample.file_descriptions import PROBLEMS, SCHEMAS, paths
from service.sample.quota import Quota, owner_of_files
from service.sample.settings import SampleSettings
from service.sessions.interface import SessionGone
from service.sessions.store import StoreUnavailable
from service.storage.store import (
    GENERATION_OF_NOTHING,
    ObjectInfo,
    ObjectNotFound,
    OutcomeUnknown,
    PreconditionFailed,
)

log = logging.getLogger(__name__)

ROUTE = "/api/files/"
_ATTEMPTS = 5  # to delete a file that is written meanwhile
INLINE_TYPES = frozenset({"image/png", "image/jpeg", "image/gif", "image/webp", "image/avif"})
_PARTLY = frozenset({"If-Match", "If-None-Match", "If-Modified-Since", "If-Unmodified-Since", "Range"})
# A file is a visitor's data, never a part of this site: it runs nothing and reaches nothing, even if opened.
FILE_CSP = "sandbox; default-src 'none'"


class _AnyText(BaseConverter):
    """The rest of the path, also with slashes, so that the response to a bad name says what is wrong with it."""

    regex = r"[\s\S]*"
    part_isolating = False


class Files:
    """The routes under ``/api/files``."""

    def __init__(self, parts: Parts) -> None:
        self._openapi = parts.openapi
        self._storage = parts.storage
        self._max_upload_bytes = parts.settings.max_upload_bytes
        self._quota = Quota(parts.storage, parts.settings.of(SampleSettings))
        self._transfers = parts.transfers

    def register(self, app: Flask) -> None:
        """Put the routes on ``app``, and describe them."""
        app.add_url_rule("/api/files", "files.list", self.list, methods=["GET"])
        app.url_map.converters["anything"] = _AnyText
        app.add_url_rule(f"{ROUTE}<anything:name>", "files.put", self.put, methods=["PUT"])
        app.add_url_rule(f"{ROUTE}<anything:name>", "files.get", self.get, methods=["GET"])
        app.add_url_rule(f"{ROUTE}<anything:name>", "files.delete", self.delete, methods=["DELETE"])
        self._openapi.add(paths=paths(self._max_upload_bytes), schemas=SCHEMAS, problems=PROBLEMS)

    def list(self) -> dict[str, Any]:
        """One page of the visitor's files, in the order of the names' bytes: which one, the query says."""
        prefix = file_names.check_prefix(request.args.get("prefix", ""))
        limit = request.args.get("limit", "100")
        if not re.fullmatch(r"[0-9]{1,4}", limit, re.ASCII) or not 1 <= int(limit) <= 1000:
            raise Problem(400, "limit must be a whole number from 1 to 1000.")
        session = sessions.current()
        owner = session.get("owner")
        if owner is None:
            return {"files": [], "next_page_token": None, "usage": self._quota.usage({})}
        folder = _key(owner, "")
        try:
            token = request.args.get("page_token") or None
            page = self._storage.list(folder + prefix, page_token=token, limit=int(limit))
        except ValueError:
            raise Problem(400, "page_token is not valid. Leave it out to get the first page.") from None
        return {
            "files": [_describe(info, info.key[len(folder) :]) for info in page.objects],
            "next_page_token": page.next_token,
            "usage": self._quota.usage(session.counters),
        }

    def put(self, name: str) -> Response:
        """Store the body under the name: 201 where it is new, 200 where it replaced one."""
        name = file_names.from_path(request.environ, ROUTE)
        length = request_body.declared_length(self._max_upload_bytes)
        if "Content-Range" in request.headers:
            raise Problem(400, "Send the whole file, without Content-Range (RFC 9110 §14.5).")
        chunks = request_body.stream(length=length, limit=self._max_upload_bytes)
        content_type = declared_type(request.headers)
        with self._transfers.take():
            info, is_new = self.write(name, chunks, length, content_type=content_type, headers=request.headers)
        response = jsonify(_describe(info, name))
        response.status_code = 201 if is_new else 200
        response.headers["ETag"] = _validators(info)["ETag"]
        return response

    def write(
        self, name: str, chunks: Iterator[bytes], length: int | None, *, content_type: str, headers: Headers
    ) -> tuple[ObjectInfo, bool]:
        """Store ``chunks`` (``length`` bytes, if that is known) under a name that was checked; whether it is new.

        The caller holds a slot for it. ``headers``: the conditions, If-Match and If-None-Match. Raises Problems, and
        the errors of the stores.
        """
        owner = owner_of_files()
        key = _key(owner, name)
        # The store itself refuses to create a file that exists, so a small one is sent without a question before it.
        is_small = length is not None and length <= request_body.CHUNK
        current = None if is_small and conditional.wants_nothing(headers) else self._storage.stat(key)
        if not conditional.write_is_allowed(headers, _current(current) if current else None):
            raise PreconditionFailed
        files, old_size, generation = (
            (0, current.size, current.generation) if current else (1, 0, GENERATION_OF_NOTHING)
        )
        if is_small:  # the reservation, which comes after the last byte, finds out whether the session is still there
            chunks = iter([b"".join(chunks)])
        reservation = self._quota.reserve(owner, files=files, size=max(0, (length or 0) - old_size))
        if not is_small:
            chunks = reservation.confirmed(chunks if length is not None else reservation.grow_with(chunks, old_size))
        try:
            info = self._storage.put(key, chunks, content_type=content_type, generation=generation)
        except OutcomeUnknown:
            raise  # the reservation is kept: the file may be there
        except BaseException as error:
            reservation.give_back()
            if not isinstance(error, PreconditionFailed) or "If-Match" in headers or "If-None-Match" in headers:
                raise
            # The client set no condition, but nothing is overwritten unseen.
            detail = "Another request changed the file during the upload. Nothing of this upload was kept."
            raise Problem(409, detail, kind="changed-meanwhile") from None
        try:
            reservation.settle(files=files, size=info.size - old_size, maybe_twice=info.maybe_twice)
        except (SessionGone, StoreUnavailable) as error:
            if isinstance(error, SessionGone) and not error.moved:
                # The visitor has signed out: no session leads to this file.
                with contextlib.suppress(PreconditionFailed):
                    self._storage.delete(key, generation=info.generation)
                raise
            # The file is the visitor's, and it may have replaced one. The lease puts the account right.
            log.warning("a file is stored, and not in the account yet: %s", error)
        return info, current is None

    def get(self, name: str) -> Response:
        """The file, or a range of it. HEAD comes here too."""
        name = file_names.from_path(request.environ, ROUTE)
        owner = sessions.current().get("owner")
        if owner is None:
            raise ObjectNotFound
        source = None
        if request.method == "GET" and _PARTLY.isdisjoint(request.headers.keys()):
            # All bytes are wanted, so they come with the description, in one request to the store.
            info, source = self._storage.open(_key(owner, name)) or (None, None)
        else:
            info = self._storage.stat(_key(owner, name))
        if info is None:
            raise ObjectNotFound
        headers = Headers(_validators(info) | {"Cache-Control": "private, no-cache", "Accept-Ranges": "bytes"})
        start, end, status = 0, info.size, 200
        if source is None:
            status = conditional.read_status(request.headers, _current(info))
            if status == 412:
                raise PreconditionFailed
            if status == 304:
                return Response(status=304, headers=headers)
            # RFC 9110 §14.2: Range means something for GET only.
            span = conditional.requested_range(request.headers, _current(info)) if request.method == "GET" else None
            if span:
                start, end = span
                status = 206
                headers["Content-Range"] = f"bytes {start}-{end - 1}/{info.size}"
        headers["Content-Security-Policy"] = FILE_CSP
        headers["Content-Type"] = info.content_type
        inline = info.content_type in INLINE_TYPES
        headers["Content-Disposition"] = file_names.content_disposition(name, inline=inline)
        headers["Content-Length"] = str(end - start)
        if request.method == "HEAD" or start == end:
            close(source)
            return Response(status=status, headers=headers)
        return Response(self._read(info, start, end, source), status, headers, direct_passthrough=True)

    def _read(self, info: ObjectInfo, start: int, end: int, source: Iterator[bytes] | None) -> Iterator[bytes]:
        """The bytes as an iterator whose ``close()`` ends the transfer. Errors of the first bytes come from here."""
        if end - start <= SMALL:
            return iter([b"".join(source or self._storage.get(info, start, end))])
        try:
            slot = self._transfers.take()
        except Problem:
            close(source)
            raise
        try:
            source = source or self._storage.get(info, start, end)
        except BaseException:
            slot.give_back()
            raise
        return LargeResponse(source, slot, request.environ["service.in_flight"])

    def delete(self, name: str) -> tuple[str, int]:
        """Delete the file; a 404 if there is none."""
        name = file_names.from_path(request.environ, ROUTE)
        self.remove(name, request.headers)
        return "", 204

    def remove(self, name: str, headers: Headers) -> None:
        """Delete the file of a name that was checked, if ``headers`` (as in ``write``) allow it."""
        owner = sessions.current().get("owner")
        for _ in range(_ATTEMPTS):
            info = self._storage.stat(_key(owner, name)) if owner else None
            if not conditional.write_is_allowed(headers, _current(info) if info else None):
                raise PreconditionFailed
            with contextlib.suppress(PreconditionFailed):  # written meanwhile: decide again
                if info is None or not self._storage.delete(info.key, generation=info.generation):
                    raise ObjectNotFound
                self._quota.release(info)
                return
        raise Problem(409, "Other requests keep changing the file. It was not deleted.", kind="changed-meanwhile")


def _key(owner: str, name: str) -> str:
    return f"visitors/{owner}/{name}"


def _tag(info: ObjectInfo) -> str:
    """The generation changes with every write, so the entity tag that is made from it is strong."""
    return f"{info.generation:x}"


def _current(info: ObjectInfo) -> conditional.Representation:
    """For conditions."""
    return conditional.Representation(_tag(info), int(info.updated), info.size)


def _validators(info: ObjectInfo) -> dict[str, str]:
    return {"ETag": quote_etag(_tag(info)), "Last-Modified": http_date(int(info.updated))}


def _describe(info: ObjectInfo, name: str) -> dict[str, Any]:
    validators = _validators(info)
    return {
        "name": name,
        "size": info.size,
        "content_type": info.content_type,
        "etag": validators["ETag"],
        "updated": validators["Last-Modified"],
        "crc32c": f"{info.crc32c:08x}",
    }


def declared_type(headers: Headers) -> str:
    """The type that the client declares, if it is valid (RFC 9110 §8.3.1)."""
    given = headers.get("Content-Type", "")
    token = r"[A-Za-z0-9!#$&^_.+-]{1,100}"  # noqa: S105 -- the grammar's word
    if re.fullmatch(rf"{token}/{token}(?:; ?charset=[A-Za-z0-9_-]{{1,40}})?", given, re.ASCII):
        return given.lower()
    return "application/octet-stream"
