"""The same instrumentation from stock parts: prometheus-flask-exporter, and python-json-logger for an access record."""

import logging
import sys
import time

from flask import Flask, Response, g, request
from prometheus_flask_exporter import PrometheusMetrics
from pythonjsonlogger.json import JsonFormatter

from bench.rivals.hello import instance

app = Flask(__name__)
PrometheusMetrics(app, group_by="url_rule")

handler = logging.StreamHandler(sys.stdout)
handler.setFormatter(JsonFormatter("{asctime}{levelname}{name}{message}", style="{"))
log = logging.getLogger("access")
log.addHandler(handler)
log.setLevel(logging.INFO)


@app.before_request
def begin() -> None:
    """When it came."""
    g.began = time.perf_counter()


@app.after_request
def record(response: Response) -> Response:
    """One record a request, with what ours has that stock parts know."""
    log.info(
        "%s %s %s",
        request.method,
        request.path,
        response.status_code,
        extra={
            "httpRequest": {
                "requestMethod": request.method,
                "requestUrl": request.url,
                "requestSize": str(request.content_length or 0),
                "status": response.status_code,
                "responseSize": str(response.content_length or 0),
                "remoteIp": request.remote_addr,
                "latency": f"{time.perf_counter() - g.began:.6f}s",
                "protocol": request.environ["SERVER_PROTOCOL"],
                "userAgent": request.headers.get("User-Agent"),
            }
        },
    )
    return response


app.add_url_rule("/api/instance", view_func=instance)
