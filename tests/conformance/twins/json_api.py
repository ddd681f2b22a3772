"""Not ours: a small JSON API, with tenants, somebody who signs in, and notes. PORT and NOTES in the environment.

NOTES is a folder that all instances share. Broken in one place each: without it notes are in memory; with CUT, SIGTERM
ends the process as soon as it takes no more connections.
"""

import http.server
import json
import os
import signal
import threading
import time
import uuid
from pathlib import Path

DELAY = 1.4  # seconds that it still takes connections after SIGTERM
FOLDER = Path(os.environ["NOTES"]) if "NOTES" in os.environ else None
memory: dict[str, str] = {}


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        if self.path in ("/", "/health"):
            self.answer(200)
        elif self.signed_in():
            note = read(self.path.rpartition("/")[2])
            self.answer(200 if note else 404, note)

    def do_POST(self) -> None:
        if self.path == "/login":
            self.answer(204, cookie="user=Ada")
        elif self.signed_in():
            self.keep(uuid.uuid4().hex)

    def do_PUT(self) -> None:
        if self.signed_in():
            self.keep(self.path.rpartition("/")[2])

    def signed_in(self) -> bool:
        known = self.headers.get("Cookie") == "user=Ada"
        if not known:
            self.answer(401)
        return known

    def keep(self, name: str) -> None:
        """What it was given, and the time, as a service adds something of its own."""
        try:
            note = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            text = json.dumps(note | {"changed": time.time()})
        except (ValueError, TypeError):
            self.answer(400)
            return
        if FOLDER:
            (FOLDER / name).write_text(text)
        else:
            memory[name] = text
        self.answer(201, location=f"/notes/{name}" if self.command == "POST" else "")

    def answer(self, status: int, body: str = "", *, cookie: str = "", location: str = "") -> None:
        self.send_response(status)
        for name, value in (("Set-Cookie", cookie), ("Location", location)):
            if value:
                self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002 -- its name in the class above
        """Nothing."""


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = False  # so that server_close() waits for the requests in flight
    request_queue_size = 50


def read(name: str) -> str:
    if FOLDER is None:
        return memory.get(name, "")
    return (FOLDER / name).read_text() if (FOLDER / name).is_file() else ""


def end() -> None:
    """Take no more connections after DELAY."""
    time.sleep(DELAY)
    server.shutdown()


if __name__ == "__main__":
    server = Server(("127.0.0.1", int(os.environ["PORT"])), Handler)
    signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=end).start())
    server.serve_forever()
    if "CUT" in os.environ:
        os._exit(0)
    server.server_close()
