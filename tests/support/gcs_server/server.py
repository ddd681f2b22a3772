"""HTTP: routes, parameters, the form of answers, and the control endpoint.

Names of calls, for faults and counts: ``buckets.get``, ``buckets.insert``, ``objects.get``, ``objects.media``,
``objects.list``, ``objects.delete``, ``upload.multipart``, ``upload.start``, ``upload.chunk``, ``upload.status``,
``upload.cancel``, ``token``.
"""

import contextlib
import json
import re
import socket
import sys
import time
from collections.abc import Iterable, Mapping
from email.utils import format_datetime
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from tests.support.gcs_server.faults import Fault, Faults
from tests.support.gcs_server.fields import selected
from tests.support.gcs_server.objects import Buckets, Refusal, StoredObject, crc32c_text
from tests.support.gcs_server.uploads import MAX_MULTIPART, Answer, Uploads

# Any call may have these (json_api/v1/parameters#query).
_COMMON = {"alt", "fields", "prettyPrint", "projection", "key", "quotaUser", "userProject"}
_CONDITIONS = {"ifGenerationMatch", "ifGenerationNotMatch", "ifMetagenerationMatch", "ifMetagenerationNotMatch"}
_BUCKET = r"/b/(?P<bucket>[^/]+)"
_OBJECT = _BUCKET + r"/o/(?P<name>[^/]+)"
# What a call is known by: method, path, further query parameters, the name.
_ROUTES = [
    ("GET", r"/storage/v1" + _BUCKET, set[str](), "buckets.get"),
    ("POST", r"/storage/v1/b", {"project"}, "buckets.insert"),
    ("GET", r"/storage/v1" + _BUCKET + "/o", {"prefix", "maxResults", "pageToken"}, "objects.list"),
    ("GET", r"(?:/download)?/storage/v1" + _OBJECT, {"generation", *_CONDITIONS}, "objects.get"),
    ("DELETE", r"/storage/v1" + _OBJECT, {"generation", *_CONDITIONS}, "objects.delete"),
    ("POST", r"/upload/storage/v1" + _BUCKET + "/o", {"uploadType", "name", *_CONDITIONS}, "upload"),
    ("PUT", r"/upload/storage/v1" + _BUCKET + "/o", {"uploadType", "upload_id"}, "upload.chunk"),
    ("DELETE", r"/upload/storage/v1" + _BUCKET + "/o", {"uploadType", "upload_id"}, "upload.cancel"),
    ("POST", r"/token", set[str](), "token"),
]


class _Dropped(Exception):
    """Close the connection, and say nothing."""


class GcsServer(ThreadingHTTPServer):
    """The server. ``url`` is where it is."""

    daemon_threads = True
    request_queue_size = 256

    def __init__(self, port: int, folder: str) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self.buckets = Buckets(folder)
        self.uploads = Uploads(self.buckets)
        self.faults = Faults()
        self.tokens: set[str] | None = None  # accepted access tokens; None: nobody is asked

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exc_info()[1], ConnectionError | _Dropped | TimeoutError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    server: GcsServer
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    timeout = 600
    _left = 0  # bytes of the request's body that were not read
    _call = ""
    _faults: tuple[Fault, ...] = ()

    def log_message(self, *_: object) -> None:
        """Nothing: tests count calls."""

    def _do(self) -> None:
        url = urlsplit(self.path)
        self._left = int(self.headers.get("Content-Length") or 0)
        self._faults = ()
        try:
            if url.path.startswith("/_control/"):
                return self._control(url.path)
            self._serve(url.path, parse_qsl(url.query, keep_blank_values=True))
        except Refusal as refusal:
            self._refuse(refusal)
        except _Dropped:
            self.close_connection = True
            with contextlib.suppress(OSError):
                self.connection.shutdown(socket.SHUT_RDWR)
        return None

    do_GET = do_POST = do_PUT = do_DELETE = _do  # noqa: N815 -- http.server's names

    def _serve(self, path: str, pairs: list[tuple[str, str]]) -> None:
        query = dict(pairs)
        match, allowed, name = self._route(path)
        self._call = self._exact(name, query)
        self._faults = tuple(self.server.faults.arrived(self._call))
        self._begin_faults()
        if len(query) != len(pairs) or (unknown := set(query) - allowed - _COMMON):
            raise Refusal(400, "invalidParameter", f"This server knows no such parameter here: {unknown or 'twice'}")
        if self.command in ("POST", "PUT", "DELETE") and "Content-Length" not in self.headers:
            raise Refusal(411, "required", "Content-Length required")  # json_api/v1/status-codes#411-length_required
        self._authorize()
        parts = {key: unquote(value, errors="strict") for key, value in match.groupdict().items()}
        self._dispatch(parts.get("bucket", ""), parts.get("name", ""), query)

    def _route(self, path: str) -> tuple[re.Match[str], set[str], str]:
        for method, pattern, allowed, name in _ROUTES:
            match = re.fullmatch(pattern, path)
            if match and method == self.command:
                return match, allowed, name
        raise Refusal(404, "notFound", "Not Found")

    def _exact(self, name: str, query: Mapping[str, str]) -> str:
        if name == "upload":
            return {"multipart": "upload.multipart", "resumable": "upload.start"}.get(query.get("uploadType", ""), name)
        if name == "upload.chunk" and (self.headers.get("Content-Range") or "").startswith("bytes */"):
            return "upload.status"
        if name == "objects.get" and query.get("alt") == "media":
            return "objects.media"
        return name

    def _dispatch(self, bucket: str, name: str, query: Mapping[str, str]) -> None:
        buckets, uploads = self.server.buckets, self.server.uploads
        match self._call:
            case "buckets.get":
                buckets.get(bucket)
                self._json({"kind": "storage#bucket", "name": bucket, "id": bucket}, query)
            case "buckets.insert":
                document = json.loads(self._body())
                buckets.create(document["name"])
                self._json({"kind": "storage#bucket", **document}, query)
            case "objects.get":
                self._object(buckets.find(bucket, name, query, changes=False), query)
            case "objects.media":
                self._media(buckets.find(bucket, name, query, changes=False))
            case "objects.list":
                self._list(bucket, query)
            case "objects.delete":
                buckets.delete(bucket, name, query)
                self._answer(204)
            case "upload.multipart":
                buckets.get(bucket)
                content_type = self.headers.get("Content-Type", "")
                self._uploaded(uploads.multipart(bucket, query, content_type, self._body()), query)
            case "upload.start":
                buckets.get(bucket)
                self._uploaded(uploads.start(bucket, query, self._titled(), self._body()), query)
            case "upload.chunk" | "upload.status":
                self._chunk(query)
            case "upload.cancel":
                self._uploaded(uploads.cancel(query.get("upload_id", "")), query)
            case "token":
                self._token()
            case _:
                raise Refusal(400, "invalid", "Invalid uploadType")

    def _chunk(self, query: Mapping[str, str]) -> None:
        if self._fault("stall"):
            self._read(self._left)
            return self._uploaded(self.server.uploads.status(query.get("upload_id", "")), query)
        if self._fault("forget"):
            self.server.uploads.forget(query.get("upload_id", ""))
        drop = self._fault("drop")
        answer = self.server.uploads.put(
            query.get("upload_id", ""), self._titled(), self._read, self._left, drop.after if drop else None
        )
        if drop:
            raise _Dropped
        return self._uploaded(answer, query)

    def _uploaded(self, answer: Answer, query: Mapping[str, str]) -> None:
        if answer.made is not None:
            return self._object(answer.made, query)
        headers = dict(answer.headers or {})
        if "Location" in headers:
            base = f"{self.server.url}{urlsplit(self.path).path}"
            headers["Location"] = f"{base}?uploadType=resumable&upload_id={headers['Location']}"
        return self._answer(answer.status, headers=headers)

    def _object(self, stored: StoredObject, query: Mapping[str, str]) -> None:
        resource = stored.resource(self.server.url)
        if self._fault("corrupt"):
            resource["crc32c"] = crc32c_text(stored.body.crc32c ^ 1)
        self._json(resource, query)

    def _media(self, stored: StoredObject) -> None:
        """json_api/v1/objects/get with alt=media; ranges as RFC 9110 §14 and json_api/v1/parameters#range."""
        start, end, status = 0, stored.body.size, 200
        headers = {"Content-Type": stored.content_type, "Accept-Ranges": "bytes"}
        if not self._fault("bare"):
            headers |= self._described(stored)
        if self._fault("nothing"):
            headers["X-Goog-Stored-Content-Length"], end = "0", 0
        match = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range") or "")
        if match:
            start, end = int(match[1]), min(end, int(match[2]) + 1 if match[2] else end)
            if start >= stored.body.size:
                raise Refusal(416, "requestedRangeNotSatisfiable", "Request range not satisfiable")
            status = 206
            headers["Content-Range"] = f"bytes {start}-{end - 1}/{stored.body.size}"
        self._send_head(status, headers, end - start)
        cut = self._fault("cut")
        self._send_body(stored.body.read(start, min(end, start + cut.after) if cut else end), last=end - start)
        if cut:
            raise _Dropped

    @staticmethod
    def _described(stored: StoredObject) -> dict[str, str]:
        """xml-api/reference-headers: response headers; sent with the JSON API's downloads too."""
        return {
            "X-Goog-Generation": str(stored.generation),
            "X-Goog-Hash": f"crc32c={crc32c_text(stored.body.crc32c)}",
            "X-Goog-Stored-Content-Length": str(stored.body.size),
            "Last-Modified": format_datetime(stored.created.replace(microsecond=0), usegmt=True),
        }

    def _send_body(self, chunks: Iterable[bytes], *, last: int) -> None:
        corrupt = self._fault("corrupt")
        sent = 0
        for chunk in chunks:
            sent += len(chunk)
            changed = corrupt and sent == last
            self.connection.sendall(chunk[:-1] + bytes([chunk[-1] ^ 1]) if changed else chunk)

    def _list(self, bucket: str, query: Mapping[str, str]) -> None:
        """json_api/v1/objects/list: maxResults from 1 to 1000, items left out where there are none."""
        limit = query.get("maxResults", "1000")
        if not re.fullmatch(r"[0-9]{1,9}", limit) or int(limit) < 1:
            raise Refusal(400, "invalid", f"Invalid value for maxResults: {limit}")
        page, token = self.server.buckets.list(
            bucket, prefix=query.get("prefix", ""), limit=min(1000, int(limit)), token=query.get("pageToken")
        )
        document: dict[str, Any] = {"kind": "storage#objects"}
        if token:
            document["nextPageToken"] = token
        if page:
            document["items"] = [stored.resource(self.server.url) for stored in page]
        self._json(document, query)

    def _token(self) -> None:
        """The token endpoint of a service account (RFC 7523). The newest token is the only one."""
        self._body()
        token = f"token-{time.monotonic_ns()}"
        self.server.tokens = {token}
        self._json({"access_token": token, "expires_in": 3600, "token_type": "Bearer"}, {})

    def _authorize(self) -> None:
        """json_api/v1/status-codes#401-unauthorized."""
        tokens = self.server.tokens
        given = (self.headers.get("Authorization") or "").removeprefix("Bearer ")
        if tokens is not None and self._call != "token" and given not in tokens:
            raise Refusal(401, "authError", "Invalid Credentials")

    def _control(self, path: str) -> None:
        """``faults`` (POST; DELETE: forget counts, sessions and tokens too), ``state`` (GET), ``tokens`` (POST: ask
        for one from now on).
        """
        server = self.server
        match self.command, path:
            case "POST", "/_control/faults":
                server.faults.order(Fault(**json.loads(self._body())))
            case "DELETE", "/_control/faults":
                server.faults.clear()
                server.uploads.forget_all()
                server.tokens = None
            case "POST", "/_control/tokens":
                server.tokens = set()
            case "GET", "/_control/state":
                state = {"calls": server.faults.calls(), "sessions": server.uploads.open_count()}
                return self._json(state | server.buckets.totals(), {})
        return self._answer(204)

    def _begin_faults(self) -> None:
        if fault := self._fault("latency"):
            time.sleep(fault.seconds)
        if fault := self._fault("status"):
            raise Refusal(fault.status, "injected", f"Injected fault {fault.status}")
        if self._call not in ("upload.chunk", "upload.status") and (fault := self._fault("drop")):
            self._read(fault.after)
            raise _Dropped

    def _fault(self, kind: str) -> Fault | None:
        return next((fault for fault in self._faults if fault.kind == kind), None)

    def _titled(self) -> dict[str, str]:
        return {name.title(): value for name, value in self.headers.items()}

    def _body(self) -> bytes:
        if self._left > MAX_MULTIPART:
            raise Refusal(413, "uploadTooLarge", "This server holds such a body in memory")
        raw = self._read(self._left)
        if self._left:
            raise _Dropped  # the client went away: nothing is done
        return raw

    def _read(self, size: int) -> bytes:
        """Up to so many bytes of the request's body; fewer where it ends."""
        data = self.rfile.read(min(size, self._left))
        self._left -= len(data)
        if self._fault("damage") and data:
            at = data.rfind(b"\r\n--") - 1 if self._call == "upload.multipart" else 0
            data = data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]
        return data

    def _json(self, document: Any, query: Mapping[str, str]) -> None:
        body = json.dumps(selected(document, query.get("fields"))).encode()
        for kind, instead in (("garbage", b"no JSON"), ("empty", b""), ("foreign", b'{"status": "ok"}')):
            if self._fault(kind):
                body = instead
        if cut := self._fault("cut"):
            self._send_head(200, {"Content-Type": "application/json; charset=UTF-8"}, len(body), body[: cut.after])
            raise _Dropped
        self._answer(200, body)

    def _refuse(self, refusal: Refusal) -> None:
        """json_api/v1/status-codes#errorformat."""
        error = {"message": refusal.message, "domain": "global", "reason": refusal.reason}
        document = {"error": {"code": refusal.status, "message": refusal.message, "errors": [error]}}
        self._answer(refusal.status, b"" if refusal.status == 304 else json.dumps(document).encode())

    def _answer(self, status: int, body: bytes = b"", headers: Mapping[str, str] | None = None) -> None:
        if lost := self._fault("lost"):
            time.sleep(lost.seconds)
            raise _Dropped
        if self._left > MAX_MULTIPART:
            self.close_connection = True
        elif self._left:
            self._read(self._left)  # so that the connection can be used again
        self._send_head(status, {"Content-Type": "application/json; charset=UTF-8", **(headers or {})}, len(body), body)

    def _send_head(self, status: int, headers: Mapping[str, str], length: int, body: bytes = b"") -> None:
        phrase = HTTPStatus(status).phrase if status in set(HTTPStatus) else "Client Closed Request"
        lines = [f"HTTP/1.1 {status} {phrase}", *(f"{name}: {value}" for name, value in headers.items())]
        if status not in (204, 304):
            lines.append(f"Content-Length: {length}")
        if self.close_connection:
            lines.append("Connection: close")
        self.connection.sendall("\r\n".join([*lines, "", ""]).encode() + body)
