"""A bare Flask application that imports the same client libraries: what a start and a process cost without ours."""

import prometheus_client
import pythonjsonlogger.json
import redis
from google.cloud import storage

from bench.rivals.hello import app

__all__ = ["app", "prometheus_client", "pythonjsonlogger", "redis", "storage"]
