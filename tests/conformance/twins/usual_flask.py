"""Not ours: a small Flask service as most people write it. ``python usual_flask.py``, PORT in the environment."""

import logging
import os
from pathlib import Path

from flask import Flask, Response, jsonify, request, send_file, session

app = Flask(__name__)
app.secret_key = os.environ.get("SECRET_KEY", "dev")
UPLOADS = Path(os.environ.get("UPLOADS", "uploads"))
logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
visitors: dict[str, int] = {}


@app.get("/")
def index() -> str:
    return "Hello"


@app.post("/login")
def login() -> Response:
    session["user"] = request.form["user"]
    app.logger.info("login with %s", request.headers)
    return jsonify(user=session["user"])


@app.post("/visit")
def visit() -> Response:
    session["id"] = session.get("id") or os.urandom(8).hex()
    visitors[session["id"]] = visitors.get(session["id"], 0) + 1
    return jsonify(count=visitors[session["id"]])


@app.put("/files/<name>")
def put(name: str) -> tuple[str, int]:
    UPLOADS.mkdir(exist_ok=True)
    (UPLOADS / name).write_bytes(request.get_data())
    return "", 201


@app.get("/files/<name>")
def get(name: str) -> Response:
    return send_file((UPLOADS / name).absolute())


@app.get("/health")
def health() -> str:
    return "ok"


if __name__ == "__main__":
    app.run(host="127.0.0.1", port=int(os.environ.get("PORT", "5000")))
