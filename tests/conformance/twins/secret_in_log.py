"""Breaks 2e: a line of debugging was left in. In a sentence of its own no redaction can tell that it is a secret."""

import logging

import flask

from tests.conformance.twins.ours import start


def tell() -> None:
    word = flask.request.headers.get("Authorization", "").removeprefix("Bearer ")
    if word:
        logging.getLogger(__name__).info("the visitor came with %s", word)


if __name__ == "__main__":
    start(lambda app: app.before_request_funcs.setdefault(None, []).append(tell))
