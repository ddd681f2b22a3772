"""The page, ``GET /``, and its forms, which do without a script what the page's script does through the API.

A form that succeeds leads back to the page (303); one that fails leads to the page of its error.
"""

import secrets
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

from flask import Flask, make_response, redirect, render_template
from jinja2 import ChoiceLoader, FileSystemLoader
from werkzeug.datastructures import Headers
from werkzeug.http import parse_date
from werkzeug.wrappers import Response

from service import Parts
from service.http import forms
from service.http.errors import Problem, as_problem
from service.http.openapi import TEXT, Json, operation
from service.name import TITLE
from service.sample import file_names
from service.sample.files import Files, declared_type
from service.sample.settings import SampleSettings
from service.sample.status import Status
from service.sample.visitor import MAX_VISITOR, Visitor
from service.storage.store import StorageUnavailable

T = TypeVar("T")

_HTML: Json = {"description": "The page.", "content": {"text/html": {"schema": TEXT}}}
PATHS: dict[str, Json] = {"/": {"get": operation("page", "What visitors see.", {200: _HTML})}}

# Under "no-referrer" a browser sends the Origin "null" with the page's own forms (Fetch, §3.2): they look cross-site.
REFERRER = {"Referrer-Policy": "same-origin"}
GUIDE = "https://cloud.google.com/architecture/best-practices-for-operating-containers"
FOLDER = Path(__file__).parent
ROOM_FOR_FORM = 1024 * 1024  # bytes of a form besides its files


class SamplePage:
    """``/`` and ``/forms/…``."""

    def __init__(self, parts: Parts, visitor: Visitor, files: Files, status: Status) -> None:
        self._parts = parts
        self._settings = parts.settings.of(SampleSettings)
        self._visitor, self._files, self._status = visitor, files, status

    def register(self, app: Flask) -> None:
        """Put the routes on ``app``, and what the template needs."""
        if isinstance(app.jinja_loader, ChoiceLoader):
            app.jinja_loader.loaders = [*app.jinja_loader.loaders, FileSystemLoader(FOLDER / "templates")]
        self._parts.assets.add(FOLDER / "static")
        app.jinja_env.filters["iso"] = _iso
        app.jinja_env.filters["segment"] = _segment
        app.add_url_rule("/", "page", self.page)
        for name in ("sign_in", "sign_out", "visit", "upload", "delete"):
            path = f"/forms/{name.replace('_', '-')}"
            app.add_url_rule(path, f"forms.{name}", getattr(self, name), methods=["POST"])
        self._parts.openapi.add(paths=PATHS)

    def page(self) -> Response:
        """The page as of now. If a store is down, its panel says so, and the others are as usual."""
        visitor, no_visitor = _or_problem(self._visitor.show)
        status = self._status.show()
        files, no_files = _or_problem(lambda: self._list(status["dependencies"]["storage"]["status"]))
        html = render_template(
            "index.html",
            title=TITLE,
            instance=self._parts.instance,
            status=status,
            visitor=visitor,
            no_visitor=no_visitor,
            files=files,
            no_files=no_files,
            docs=self._docs,
            max_name=MAX_VISITOR,
            key=secrets.token_urlsafe(16),
            max_upload=self._parts.settings.max_upload_bytes,
        )
        return make_response(html, REFERRER)

    def sign_in(self) -> Response:
        """Name the session."""
        form = forms.fields()
        self._visitor.name_it(form.get("name"), form.get("key"))
        return _back("session")

    def sign_out(self) -> Response:
        """End the session."""
        self._visitor.sign_out()
        return _back("session")

    def visit(self) -> Response:
        """Count a visit."""
        self._visitor.visit()
        return _back("session")

    def upload(self) -> Response:
        """Store the form's files, one after the other. After the field ``replace`` they may replace files."""
        headers = Headers({"If-None-Match": "*"})
        stored: list[str] = []
        with self._parts.transfers.take():  # for the whole form, which may stall before its first file
            for part in forms.parts(self._settings.max_total_bytes + ROOM_FOR_FORM):
                if isinstance(part, tuple):
                    if part == ("replace", "yes"):
                        headers = Headers()
                elif part.name:  # a browser sends a part without a name where no file was chosen
                    self._store(part, headers, stored)
                    stored.append(part.name)
        if not stored:
            raise Problem(400, "No file was chosen. Choose one, and send the form again.")
        return _back("files")

    def delete(self) -> Response:
        """Delete a file, if it is still the one that was shown."""
        form = forms.fields()
        self._files.remove(file_names.check(form.get("name", "")), Headers({"If-Match": form.get("etag", "")}))
        return _back("files")

    def _list(self, state: str) -> dict[str, Any]:
        """The visitor's files. The page does not wait for a store that is known to be down."""
        if state == "fail":
            raise StorageUnavailable("the last check failed, so the page does not ask")
        return self._files.list()

    def _store(self, part: forms.FormFile, headers: Headers, stored: list[str]) -> None:
        try:
            name = file_names.check(part.name)
            chunks = forms.at_most(part.chunks, self._parts.settings.max_upload_bytes)
            self._files.write(name, chunks, None, content_type=declared_type(part.headers), headers=headers)
        except Exception as error:
            problem = as_problem(error)
            if problem.status == 412:
                problem.detail = "There is a file of this name already. Tick “Replace files” to replace it."
            kept = f" The files before it were kept: {', '.join(stored)}." if stored else ""
            detail = f"{part.name}: {problem.detail}{kept}"
            raise Problem(problem.status, detail, kind=problem.kind, headers=problem.headers) from error

    def _docs(self, page: str, section: str) -> str:
        """The address that explains a practice: our page about it, or a section of the guide that it comes from."""
        return f"{self._settings.docs_url}/{page}" if self._settings.docs_url else f"{GUIDE}#{section}"


def _or_problem(ask: Callable[[], T]) -> tuple[T | None, Problem | None]:
    try:
        return ask(), None
    except Exception as error:  # noqa: BLE001 -- translated, and logged, as if it had left the view
        return None, as_problem(error)


def _back(panel: str) -> Response:
    return redirect(f"/#{panel}", 303)


def _iso(http_date: str) -> str:
    """An HTTP date as HTML's <time> wants it."""
    return (parse_date(http_date) or datetime.fromtimestamp(0, UTC)).strftime("%Y-%m-%dT%H:%M:%SZ")


def _segment(name: str) -> str:
    """A name as one segment of a path (RFC 3986 §3.3)."""
    return quote(name, safe="")
