"""Style sheets, scripts and icons of pages: kept in memory, compressed once at the start.

The address holds a hash of all their content, so that browsers may keep them for a year, and modules import one another
by plain relative names.
"""

import gzip
import hashlib
from pathlib import Path

from flask import Flask, Response, request

from service.http.errors import Problem

TYPES = {".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml"}
FOR_A_YEAR = "public, max-age=31536000, immutable"  # RFC 9111 §5.2.2, RFC 8246


class StaticAssets:
    """Files under ``/static/<hash>/``, from the folders that modules add before the first request."""

    def __init__(self) -> None:
        self._assets: dict[str, tuple[str, bytes, bytes]] = {}  # type, content, content compressed
        self._digest = hashlib.sha256()

    def add(self, folder: Path) -> None:
        """Add the folder's files. ValueError for a name that is known already, or with a suffix that TYPES lacks."""
        for path in sorted(folder.iterdir()):
            if path.name in self._assets or path.suffix not in TYPES:
                raise ValueError(f"{path} can't be served: another folder has this name, or its suffix is unknown")
            content = path.read_bytes()
            self._digest.update(f"{path.name} {len(content)}\n".encode() + content)
            self._assets[path.name] = TYPES[path.suffix], content, gzip.compress(content, mtime=0)

    def register(self, app: Flask) -> None:
        """Put the route on ``app``, and ``asset(name)`` into its templates."""
        app.add_url_rule("/static/<hash_>/<name>", "asset", self.serve)
        app.jinja_env.globals["asset"] = self.url

    def url(self, name: str) -> str:
        """The path of a file. KeyError if there is no such file."""
        if name not in self._assets:
            raise KeyError(name)
        return f"/static/{self._hash()}/{name}"

    def serve(self, hash_: str, name: str) -> Response:
        """The file.

        During a rollout the page of one version may ask an instance of another for its files. That instance then sends
        its own file of that name, and forbids caches to keep it under that address.
        """
        if name not in self._assets:
            raise Problem(404, "There is no such file.")
        content_type, plain, compressed = self._assets[name]
        headers = {"Cache-Control": FOR_A_YEAR if hash_ == self._hash() else "no-store", "Vary": "Accept-Encoding"}
        if request.accept_encodings.quality("gzip") > 0:  # RFC 9110 §12.5.3
            return Response(compressed, headers=headers | {"Content-Encoding": "gzip"}, content_type=content_type)
        return Response(plain, headers=headers, content_type=content_type)

    def _hash(self) -> str:
        return self._digest.hexdigest()[:16]
