"""Not ours: a small server that does wrong what no other twin does, so that each check is seen red once."""

import http.server
import json
import os
import socket
import sys
import threading
from collections import Counter
from urllib.parse import urlsplit

PASSWORD = sys.argv[1]  # among the arguments, where every process can read it
STORE = urlsplit(os.environ["SESSION_URL"])
visits: Counter[str] = Counter()


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    store_was_down = False

    def do_GET(self) -> None:
        self.note()
        self.answer(500 if self.path == "/health" else 200, f"Sessions are in {STORE.netloc}, by the word {PASSWORD}")

    def do_POST(self) -> None:
        self.note()
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        try:
            socket.create_connection((STORE.hostname or "", STORE.port or 6379), timeout=1).close()
        except OSError:
            Handler.store_was_down = True  # and so it remains
        number = self.headers.get("Cookie", "").partition("=")[2] or str(len(visits))
        visits[number] += 1
        self.answer(500 if Handler.store_was_down else 200, json.dumps({"visits": visits[number]}), f"sid={number}")

    def answer(self, status: int, text: str, cookie: str = "") -> None:
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        if cookie:
            self.send_header("Set-Cookie", cookie)
        self.end_headers()
        self.wfile.write(body)

    def note(self) -> None:
        """Browsers' requests only, all of each, and not how severe it is."""
        if "User-Agent" in self.headers:
            print(json.dumps({"message": self.path, "headers": dict(self.headers)}), flush=True)

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002 -- its name in the class above
        """Nothing on stderr, which is no JSON."""


if __name__ == "__main__":
    print(json.dumps({"message": f"connecting with {PASSWORD}"}), flush=True)
    ports = (int(os.environ[name]) for name in ("PORT", "OPS_PORT"))
    servers = [http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler) for port in ports]
    threading.Thread(target=servers[1].serve_forever, daemon=True).start()
    servers[0].serve_forever()
