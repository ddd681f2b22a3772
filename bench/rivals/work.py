"""The same work on the usual instrumentation."""

from bench.rivals.exporter import app
from bench.work import work

app.add_url_rule("/work", view_func=work)
