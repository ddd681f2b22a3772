"""A visitor for tests: sends exactly what it is told, keeps the cookie, and shows the whole answer."""

import http.client
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from http.cookies import SimpleCookie
from typing import Any, Self
from urllib.parse import urlsplit

from tests import probe


@dataclass(frozen=True)
class Answer:
    """A response, read to its end."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def kind(self) -> str:
        """The last part of a problem document's ``type``."""
        assert self.headers.get_content_type() == "application/problem+json", (self.status, self.body[:200])
        return str(self.json["type"]).rpartition("/")[2]


class Visitor:
    """One visitor: a cookie and a connection, made anew when the server closed it."""

    path_of = staticmethod(probe.path_of)  # where ``put`` stores an object; the sample's visitors have their own

    def __init__(self, base_url: str, *, timeout: float = 30) -> None:
        self._netloc = urlsplit(base_url).netloc
        self._timeout = timeout
        self._connection: http.client.HTTPConnection | None = None
        self.cookies: dict[str, str] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def ask(
        self,
        method: str,
        path: str,
        body: bytes | Iterable[bytes] | None = None,
        headers: Mapping[str, str] | None = None,
        **document: object,
    ) -> Answer:
        """Send a request and read the whole answer. Keyword arguments become a JSON body.

        An iterable body without a Content-Length goes out chunked.
        """
        sent = dict(headers or {})
        if document:
            body = json.dumps(document).encode()
            sent.setdefault("Content-Type", "application/json")
        if self.cookies and "Cookie" not in sent:
            sent["Cookie"] = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        if self._connection is None:
            self._connection = http.client.HTTPConnection(self._netloc, timeout=self._timeout)
        try:
            self._connection.request(method, path, body=body, headers=sent)
            response = self._connection.getresponse()
            answer = Answer(response.status, response.headers, response.read())
        except BaseException:
            self.close()
            raise
        if response.will_close:
            self.close()
        self._keep_cookies(answer)
        return answer

    def get(self, path: str, **headers: str) -> Answer:
        """GET with headers given as ``if_none_match=…``."""
        return self.ask("GET", path, headers=_names(headers))

    def put(self, name: str, body: bytes | Iterable[bytes], **headers: str) -> Answer:
        """Store an object."""
        return self.ask("PUT", self.path_of(name), body, _names(headers))

    def _keep_cookies(self, answer: Answer) -> None:
        for line in answer.headers.get_all("Set-Cookie") or []:
            for name, morsel in SimpleCookie(line).items():
                if morsel["max-age"] == "0" or not morsel.value:
                    self.cookies.pop(name, None)
                else:
                    self.cookies[name] = morsel.value


def _names(headers: Mapping[str, str]) -> dict[str, str]:
    return {name.replace("_", "-").title(): value for name, value in headers.items()}
