"""One request in its thread: parse it, call the application, write the response, keep the connection or close it."""

import errno
from typing import TYPE_CHECKING, Any

from gunicorn.http import wsgi  # type: ignore[import-untyped] # gunicorn ships no types
from gunicorn.http.errors import ParseException  # type: ignore[import-untyped] # as above

from service.server import error_responses
from service.server.request_reader import RequestInput, VisitorConnection

if TYPE_CHECKING:
    from wsgiref.types import WSGIApplication

    from service.lifecycle import Lifecycle

_CLIENT_HAS_GONE = frozenset({errno.EPIPE, errno.ECONNRESET, errno.ENOTCONN})


class RequestHandler:
    """Serves requests with one application, in any number of threads."""

    def __init__(self, app: "WSGIApplication", lifecycle: "Lifecycle", cfg: Any, log: Any) -> None:
        """``cfg`` and ``log`` are gunicorn's."""
        self._app = app
        self._lifecycle = lifecycle
        self._cfg = cfg
        self._log = log

    def serve(self, conn: VisitorConnection) -> bool:
        """Serve the request that has arrived. Whether the connection can take another."""
        try:
            request = conn.next_request(self._cfg)
            response, environ = wsgi.create(request, conn.socket, conn.address, conn.server, self._cfg)
        except ParseException as error:
            status, detail = error_responses.reason(error)
            # Not what was sent: it may hold a secret, and anybody may send anything.
            self._log.info("refused a malformed request from %s: %s", conn.address[0], type(error).__name__)
            error_responses.send(conn.socket, status, detail)
            return False
        environ["wsgi.multithread"] = True
        environ["wsgi.input"] = body = RequestInput(environ)
        try:
            self._call(environ, response, body)
        except Exception as error:  # noqa: BLE001 -- the last code that can send a response
            if isinstance(error, OSError) and error.errno in _CLIENT_HAS_GONE:
                return False
            self._log.exception("error while a request was served")
            if not response.headers_sent:
                error_responses.send(conn.socket, 500, "Something went wrong here.")
            return False
        return not response.should_close() and body.finish()

    def _call(self, environ: dict[str, Any], response: Any, body: RequestInput) -> None:
        """Call the application and write its response."""
        status_code = 0

        def start_response(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
            nonlocal status_code
            # The middleware calls this just before the first bytes leave; what is said now has to hold.
            if self._must_close(environ, body):
                response.force_close()
            write = response.start_response(status, headers, exc_info)
            status_code = int(status[:3])
            return write

        pieces = self._app(environ, start_response)
        try:
            for piece in pieces:
                response.write(piece)
            promised = response.response_length or 0
            has_body = environ["REQUEST_METHOD"] != "HEAD" and status_code != 304
            if has_body and response.sent < promised:
                response.force_close()  # or the client would take the next response for the rest of this one
            response.close()
        finally:
            if hasattr(pieces, "close"):
                pieces.close()

    def _must_close(self, environ: dict[str, Any], body: RequestInput) -> bool:
        """Whether the response says "Connection: close", for reasons that gunicorn does not know.

        When the service ends, so that the client's next request goes elsewhere. Where some of the body is unread and
        perhaps has not arrived, because waiting for it would hold the thread. And where "close" is one of several
        members of the client's header (RFC 9110 §7.6.1).
        """
        asked = environ.get("HTTP_CONNECTION", "").lower().split(",")
        return self._lifecycle.draining or body.may_be_on_its_way or "close" in map(str.strip, asked)
