"""A bare Flask application: it responds as ours does, and does nothing else."""

from flask import Flask

app = Flask(__name__)


@app.get("/api/instance")
def instance() -> dict[str, object]:
    """The document of our route, so that both encode and send the same."""
    return {
        "name": "bench",
        "version": "0.1.0",
        "revision": "unknown",
        "started": "2026-01-01T00:00:00Z",
        "stores": {"sessions": "memory", "files": "file"},
    }
