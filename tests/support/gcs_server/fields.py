"""Partial responses: ``fields=nextPageToken,items(name,size)`` (json_api#partial-response)."""

import re
from typing import Any

from tests.support.gcs_server.objects import Refusal


def selected(document: Any, fields: str | None) -> Any:
    """The document with just these fields; 400 where they are not written as they should be."""
    if fields is None:
        return document
    rest, tree = _parse(fields)
    if rest:
        raise Refusal(400, "invalidParameter", f"Invalid field selection {fields}")
    return _pick(document, tree)


def _parse(text: str) -> tuple[str, dict[str, Any]]:
    tree: dict[str, Any] = {}
    while match := re.match(r"[A-Za-z0-9]+", text):
        name, text = match[0], text[match.end() :]
        tree[name] = None
        if text.startswith("("):
            text, tree[name] = _parse(text[1:])
            if not text.startswith(")"):
                raise Refusal(400, "invalidParameter", "Invalid field selection")
            text = text[1:]
        if not text.startswith(","):
            break
        text = text[1:]
    return text, tree


def _pick(document: Any, tree: dict[str, Any] | None) -> Any:
    if tree is None:
        return document
    if isinstance(document, list):
        return [_pick(item, tree) for item in document]
    return {name: _pick(document[name], below) for name, below in tree.items() if name in document}
