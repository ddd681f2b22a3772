"""What the page is made of beside its HTML: ``static/``, kept in memory, compressed once at the start.

The address holds a hash of the whole folder's content, so browsers may keep what they have for a year, and modules
import one another by plain relative names.
"""

import gzip
import hashlib
from dataclasses import dataclass
from pathlib import Path

from flask import Flask, Response, request

from service.http.errors import Problem

FOLDER = Path(__file__).parents[1] / "sample" / "static"
TYPES = {".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml"}
FOR_A_YEAR = "public, max-age=31536000, immutable"  # RFC 9111 §5.2.2, RFC 8246


@dataclass(frozen=True)
class Asset:
    """One file, as it is and compressed."""

    content_type: str
    plain: bytes
    gzipped: bytes


class Assets:
    """The files of a folder under ``/static/<hash>/``. Names of other kinds than TYPES are a KeyError at the start."""

    def __init__(self, folder: Path = FOLDER) -> None:
        digest = hashlib.sha256()
        self._assets: dict[str, Asset] = {}
        for path in sorted(folder.iterdir()):
            content = path.read_bytes()
            digest.update(f"{path.name} {len(content)}\n".encode() + content)
            self._assets[path.name] = Asset(TYPES[path.suffix], content, gzip.compress(content, mtime=0))
        self._hash = digest.hexdigest()[:16]

    def register(self, app: Flask) -> None:
        """Put the route on ``app``, and ``asset(name)`` into its templates."""
        app.add_url_rule("/static/<hash_>/<name>", "asset", self.serve)
        app.jinja_env.globals["asset"] = self.url

    def url(self, name: str) -> str:
        """Where a file is. A KeyError where there is none."""
        return f"/static/{self._hash}/{self._assets[name] and name}"

    def serve(self, hash_: str, name: str) -> Response:
        """The file.

        While a new version is rolled out, the page of one may ask the other for its files. Then the nearest thing is
        given: this version's file, which nobody may keep under that address.
        """
        asset = self._assets.get(name)
        if asset is None:
            raise Problem(404, "There is no such file.")
        # RFC 9110 §12.5.3: compressed only for who says so.
        is_gzip = request.accept_encodings.quality("gzip") > 0
        headers = {"Cache-Control": FOR_A_YEAR if hash_ == self._hash else "no-store", "Vary": "Accept-Encoding"}
        if is_gzip:
            headers["Content-Encoding"] = "gzip"
        return Response(asset.gzipped if is_gzip else asset.plain, headers=headers, content_type=asset.content_type)
