"""What a service keeps: files, and the documents of a JSON API. How one is stored, and whether it is still the same."""

import json
import secrets
from collections.abc import Iterable
from dataclasses import dataclass, field
from urllib.parse import urljoin, urlsplit

from conformance.http import Call, Client, NoResponse, Response

CONTENT = b"a file that must survive " * 40


@dataclass
class Kept:
    """One file or document. ``what``: which of them. ``where``: its path; "" until that is known."""

    what: str
    call: Call
    where: str = ""
    headers: dict[str, str] = field(default_factory=dict)

    def store(self, client: Client, body: Iterable[bytes] | None = None) -> None:
        """NoResponse where it is refused. ``body``: its content in parts."""
        headers = self.headers | {"Content-Length": str(len(self.call.body))}
        response = client.ask(self.call.method, self.call.path, body or self.call.body, headers)
        if refusal := self.refusal(response):
            raise NoResponse(f"{self.call.method} {client.base_url}{self.call.path} {refusal} {response.text[:80]!r}")
        self.where = self.where or place(client.base_url, self.call.path, response.headers["Location"])

    def refusal(self, response: Response) -> str:
        """Why it is not stored, or can't be found again; "" where it can."""
        if not 200 <= response.status < 300:
            return f"gets {response.status}"
        return "" if self.where or response.headers["Location"] else f"gets {response.status} without a Location"

    def read_back(self, client: Client) -> str:
        """What came instead of it; "" where it is right."""
        try:
            response = client.get(self.where)
        except NoResponse as error:
            return str(error)
        if response.status != 200:
            return f"{client.base_url}{self.where}: {response.status}"
        return self.difference(response)

    def difference(self, response: Response) -> str:
        """How it differs from what was stored; "" where it does not."""
        return "" if response.body == self.call.body else "other bytes than were stored"


class Document(Kept):
    """The service may add members of its own: an id, a time."""

    def difference(self, response: Response) -> str:
        try:
            found = json.loads(response.body)
        except ValueError:
            return f"not JSON: {response.text[:80]!r}"
        for name, value in json.loads(self.call.body).items():
            if not isinstance(found, dict) or found.get(name) != value:
                return f"the member {name!r} is not as it was stored: {response.text[:80]!r}"
        return ""


def place(base_url: str, path: str, location: str) -> str:
    """The path below ``base_url`` that a Location names in the response to ``path`` (RFC 9110 §10.2.2)."""
    found = urlsplit(urljoin(path, location))
    below = found.path.removeprefix(urlsplit(base_url).path.rstrip("/"))
    return f"{below}?{found.query}" if found.query else below


def a_file(folder: str, name: str) -> Kept:
    """Below this path."""
    path = f"{folder.rstrip('/')}/{name}"
    return Kept("file", Call("PUT", path, CONTENT), path, {"Content-Type": "text/plain"})


def a_document(call: Call) -> Kept:
    """As this request makes it, with a word that is used once for {unique}. One that is PUT is at its own path."""
    word = secrets.token_hex(8)
    path, body = call.path.replace("{unique}", word), call.body.replace(b"{unique}", word.encode())
    where = path if call.method == "PUT" else ""
    return Document("document", Call(call.method, path, body), where, {"Content-Type": "application/json"})
