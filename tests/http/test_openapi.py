"""The API's description is merged from its modules, and it describes the routes that there are."""

import re
from pathlib import Path

import pytest

import service
from service.http.openapi import OpenApi
from service.settings import load

FOR_BROWSERS = re.compile(r"/static/|/forms/")  # part of a page, not of the API


def assert_described(folder: Path, feature: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The routes of the service with this feature, and those that its description has, are the same."""
    monkeypatch.setattr(service, "FEATURES", (feature,))
    settings = load({"SESSION_URL": "memory://", "STORAGE_URL": f"file://{folder}"}, *service.feature_settings())
    app = service.create_app(settings)
    routes: dict[str, set[str]] = {}
    for rule in app.url_map.iter_rules():
        if not FOR_BROWSERS.match(rule.rule):
            path = re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule.rule)
            routes.setdefault(path, set()).update((rule.methods or set()) - {"OPTIONS", "HEAD"})
    described = {
        path: {method.upper() for method in methods if method not in ("parameters", "head")}
        for path, methods in app.extensions["service"].openapi.document["paths"].items()
    }
    assert described == routes


def test_every_route_is_described_and_every_description_has_its_route(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert_described(tmp_path, "tests.probe", monkeypatch)


def test_nothing_is_described_twice() -> None:
    openapi = OpenApi(title="A", version="1")
    openapi.add(paths={"/a": {}}, schemas={"A": {}}, problems={"a": "A."})
    with pytest.raises(ValueError, match="/a"):
        openapi.add(paths={"/a": {}, "/b": {}})
    with pytest.raises(ValueError, match="A"):
        openapi.add(paths={}, schemas={"A": {}})
    assert openapi.document["paths"] == {"/a": {}}
