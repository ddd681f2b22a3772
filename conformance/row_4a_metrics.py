"""Row 4a: metrics that a Prometheus can read, that are right, and that do not grow with what visitors send."""

import contextlib
import re
import secrets
from dataclasses import dataclass

from conformance.check import Broken, NotRun, check
from conformance.http import Client, NoResponse
from conformance.target import Instance, Target, ask

REQUESTS = 60
SCRAPES = 12
SETTLE = 2.0  # seconds
OTHERS = 50  # requests of the platform meanwhile, and our scrapes
MADE_UP = 40

# Counters of requests, by the names that are in use; others are found by how they grow.
KNOWN = (
    "http_server_request_duration_seconds_count",
    "http_server_requests_seconds_count",
    "http_server_duration_milliseconds_count",
    "http_requests_total",
    "http_request_duration_seconds_count",
    "flask_http_request_total",
    "flask_http_request_duration_seconds_count",
    "requests_total",
    "tomcat_requests_total",
)
_LINE = re.compile(r'([a-zA-Z_:][a-zA-Z0-9_:]*)(\{(?:[^"}]|"(?:[^"\\]|\\.)*")*\})?\s+(\S+)(?:\s+[0-9.-]+)?(?:\s+#.*)?')
_LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\]|\\.)*)"')


@dataclass(frozen=True)
class Sample:
    """A line of the metrics."""

    name: str
    labels: str
    value: float


def scrape(target: Target, instance: Instance) -> list[Sample]:
    """The metrics of an instance. Broken where they are none."""
    path = target.paths.metrics or "/metrics"
    url = f"{instance.platform}{path}"
    response = ask(instance.platform, path)
    if response.status != 200:
        raise Broken(
            f"{url}: {response.status}", "serve Prometheus' text format there, or give --ops-url, --metrics-path"
        )
    found = []
    for number, line in enumerate(response.text.splitlines(), 1):
        if line.startswith("#") or not line.strip():
            continue
        match = _LINE.fullmatch(line.strip())
        value = _float(match[3]) if match else None
        if match is None or value is None:
            do = "send Prometheus' text format and nothing else"
            raise Broken(f"{url}: line {number} is no sample: {line[:80]!r}", do)
        found.append(Sample(match[1], match[2] or "", value))
    if not found:
        raise Broken(f"{url}: 200, but no samples", "count requests at least: prometheus-client or OpenTelemetry do it")
    return found


@check("4a", "The metrics are there, in Prometheus' format.", needs=("metrics",))
def metrics_can_be_read(target: Target) -> str:
    counts = [len(scrape(target, instance)) for instance in target.instances]
    return f"{' and '.join(map(str, counts))} samples"


@check(
    "4a", "Requests are counted to the unit, whichever worker responded, and no counter goes back.", needs=("metrics",)
)
def counts_are_right(target: Target) -> str:
    names = {count_requests(target, instance) for instance in target.instances}
    return f"{REQUESTS} requests each, and {SCRAPES} scrapes: {', '.join(sorted(names))}"


@check("4a", "The number of series does not grow with what visitors send.", needs=("metrics",))
def labels_are_bounded(target: Target) -> str:
    instance = target.instances[0]
    word = secrets.token_hex(6)
    for number in range(MADE_UP):
        _ask_made_up(instance, f"{word}-{number}")
    # New series alone prove nothing: another worker may have responded. What was made up has to be in them.
    made = sorted({s.name + s.labels for s in scrape(target, instance) if word in s.labels.lower()})
    if made:
        labels = [name for name, value in _LABEL.findall(made[0]) if word in value.lower()]
        label = f"the label {labels[0]!r}" if labels else "a label"
        saw = f"{MADE_UP} made-up paths made {len(made)} series: {label} holds what visitors send: {made[0][:120]}"
        raise Broken(saw, "label with the route's template ('/files/<name>') and one fixed value for all unknown paths")
    return f"{MADE_UP} made-up paths, queries and methods are in no label"


def count_requests(target: Target, instance: Instance) -> str:
    """Make requests; the name of the counter that has grown by them. Broken where there is none."""
    path = target.paths.visits.path if target.paths.visits else target.paths.home
    before = scrape(target, instance)
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(Client(instance.base)) for _ in range(6)]  # so that several workers get some
        for number in range(REQUESTS):
            if target.paths.visits:
                target.visit(clients[number % len(clients)])
            else:
                clients[number % len(clients)].get(path)

    def look() -> Growth:
        return Growth(before, scrape(target, instance), path)

    # A request may be counted a moment after its response. Once the number is right it has to stay so.
    target.wait_until(lambda: bool(_right(look())), SETTLE)
    looks = [look() for _ in range(SCRAPES)]
    name = next((name for name in _right(looks[0]) if all(name in _right(later) for later in looks)), "")
    if name:
        return name
    known = [name for name in KNOWN if name in looks[-1].by_name]
    if not known:
        saw = f"no counter grew by {REQUESTS} with {REQUESTS} requests to {path}"
        raise Broken(saw, f"count requests, for example in {KNOWN[0]}")
    grew = ", ".join(f"{each.by_name.get(known[0], 0):g}" for each in looks)
    raise Broken(
        f"{REQUESTS} requests to {path} made {known[0]} grow by {grew}, scrape by scrape",
        "each worker process counts for itself, and any of them serves the scrape: one worker a container, "
        "or the metrics library's multiprocess mode",
    )


class Growth:
    """By how much each name has grown: the series of the route alone, where a label names the route (``exact``)."""

    def __init__(self, before: list[Sample], after: list[Sample], path: str) -> None:
        label = f'"{path}"'
        self.exact = {sample.name for sample in after if label in sample.labels}
        self.by_name: dict[str, float] = {}
        for sign, samples in ((-1, before), (1, after)):
            for sample in samples:
                if sample.name not in self.exact or label in sample.labels:
                    self.by_name[sample.name] = self.by_name.get(sample.name, 0) + sign * sample.value


def _right(growth: Growth) -> list[str]:
    """The names that have grown as requests were made. Without the route, scrapes and probes may be in them too."""
    names = [name for name in KNOWN if name in growth.by_name]
    names = names or [name for name in growth.by_name if name.endswith(("_total", "_count"))]
    most = {name: REQUESTS if name in growth.exact else REQUESTS + OTHERS for name in names}
    return [name for name in names if REQUESTS <= growth.by_name[name] <= most[name]]


def _float(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _ask_made_up(instance: Instance, word: str) -> None:
    with Client(instance.base) as client:
        for method, path in (("GET", f"/{word}"), ("GET", f"/?q={word}"), (word.upper().replace("-", ""), "/")):
            try:
                client.ask(method, path)
            except NoResponse as error:
                raise NotRun(f"a made-up request gets no response: {error}") from None
