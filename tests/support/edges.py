"""What holds of every response of the app listener, whatever the application."""

import subprocess
import sys
from pathlib import Path

from tests.support.http import Answer


def assert_guarded(answer: Answer) -> None:
    """It has the headers that guard it."""
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert "frame-ancestors 'none'" in answer.headers["Content-Security-Policy"]
    assert "unsafe" not in answer.headers["Content-Security-Policy"]
    assert answer.headers["Referrer-Policy"] in ("no-referrer", "same-origin")  # the page's forms need the latter
    assert "Access-Control-Allow-Origin" not in answer.headers
    assert "Strict-Transport-Security" not in answer.headers  # COOKIE_SECURE is off
    assert answer.headers["X-Request-Id"]


def assert_problem(answer: Answer, path: str) -> None:
    """It is a problem document (RFC 9457) about this path."""
    problem = answer.json
    assert answer.headers.get_content_type() == "application/problem+json"
    assert problem["status"] == answer.status
    assert problem["request_id"] == answer.headers["X-Request-Id"]
    assert problem["instance"] == "/" + path.lstrip("/")
    assert problem["title"]


def find_nothing(app_url: str, config: Path, folder: Path) -> None:
    """Hundreds of requests made from the description, valid, invalid and hostile ones, have good responses."""
    command = [sys.executable, "-m", "schemathesis.cli", f"--config-file={config}"]
    command += ["run", f"{app_url}/openapi.json", "--max-examples=25"]
    command += ["--seed=1", "--no-color", "--request-timeout=10"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=150, check=False)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
