"""The JMX exporter beside a real Tomcat, redis_exporter beside a real Redis: what a Prometheus gets is true."""

import json
import re
from pathlib import Path
from urllib.parse import urlsplit

from tests.support.exporter import jar, jmx_exporter, jmx_options, redis_exporter, scrape
from tests.support.processes import free_port, wait_until
from tests.support.prometheus import Prometheus, check_metrics, prometheus
from tests.support.redis import redis_server
from tests.support.tomcat import ask, tomcat


def figure(running: Prometheus, expression: str) -> float | None:
    """The value of the one series that a query gives, or None."""
    found = running.query(expression)
    return float(found[0]["value"][1]) if len(found) == 1 else None


def test_the_counts_in_prometheus_are_the_requests_made(tmp_path: Path) -> None:
    jmx = free_port()
    with tomcat(tmp_path, *jmx_options(jmx)) as running, jmx_exporter(tmp_path, jmx) as url:
        with prometheus(tmp_path, urlsplit(url).netloc) as scraped:
            for _ in range(30):
                assert ask(running, "/") == 200
            for _ in range(7):
                assert ask(running, "/none") == 404
            wait_until("37 requests", lambda: figure(scraped, "tomcat_requests_total") == 37)
            assert figure(scraped, "tomcat_errors_total") == 7
            # No cookie was sent back, so each visit of the page made a session.
            assert figure(scraped, 'tomcat_sessions_total{context="/"}') == 30
            assert figure(scraped, "tomcat_threads_max") == 200
            for name in (
                "tomcat_threads_busy",
                "tomcat_connections",
                "tomcat_jvm_heap_used_bytes",
                "tomcat_jvm_threads",
            ):
                assert figure(scraped, name) is not None, name
            for name in ("tomcat_jvm_memory_pool_used_bytes", "tomcat_jvm_gc_collections_total"):
                assert scraped.query(name), name


def test_the_number_of_series_does_not_grow_with_what_visitors_send(tmp_path: Path) -> None:
    jmx = free_port()
    with tomcat(tmp_path, *jmx_options(jmx)) as running, jmx_exporter(tmp_path, jmx) as url:
        assert ask(running, "/") == 200
        before = {line.rpartition(" ")[0] for line in scrape(url).splitlines() if line.startswith("tomcat_")}
        for number in range(200):
            ask(running, f"/path-{number}?query={number}")
        after = {line.rpartition(" ")[0] for line in scrape(url).splitlines() if line.startswith("tomcat_")}
        assert after == before
        assert 20 < len(after) < 80
        assert check_metrics(scrape(url).encode()) == ""


def test_up_and_the_scrape_tell_the_truth_when_tomcat_or_the_exporter_is_gone(tmp_path: Path) -> None:
    jmx, port = free_port(), free_port()
    with prometheus(tmp_path, f"127.0.0.1:{port}") as scraped:
        wait_until("the exporter is seen as down", lambda: figure(scraped, "up") == 0)
        with jmx_exporter(tmp_path, jmx, port):
            # The exporter is up, but Tomcat is not: it answers, says so, and makes no figures up.
            wait_until("the failed scrape of JMX", lambda: figure(scraped, "jmx_scrape_error") == 1)
            assert figure(scraped, "up") == 1
            assert scraped.query("tomcat_requests_total") == []
            starts = []
            for requests in (5, 3):
                with tomcat(tmp_path, *jmx_options(jmx)) as running:
                    for _ in range(requests):
                        assert ask(running, "/") == 200
                    wait_until("the requests", lambda: figure(scraped, "tomcat_requests_total") == requests)  # noqa: B023 -- awaited here
                    assert figure(scraped, "jmx_scrape_error") == 0
                    starts.append(figure(scraped, "tomcat_jvm_start_time_seconds"))
                wait_until("the end of Tomcat", lambda: figure(scraped, "jmx_scrape_error") == 1)
                assert scraped.query("tomcat_requests_total") == [], "a stale figure"
            assert starts[0] != starts[1], "the restart shows"
        wait_until("the end of the exporter", lambda: figure(scraped, "up") == 0)


def test_the_java_agent_serves_the_same_names_from_inside(tmp_path: Path) -> None:
    port = free_port()
    config = tmp_path / "agent.yaml"
    text = (Path("sidecars/exporter/tomcat.yaml")).read_text()
    config.write_text(re.sub(r"(?m)^hostPort:.*\n", "", text))
    with tomcat(tmp_path, f"-javaagent:{jar('javaagent')}=127.0.0.1:{port}:{config}") as running:
        assert ask(running, "/") == 200
        text = scrape(f"http://127.0.0.1:{port}")
        assert re.search(r'(?m)^tomcat_requests_total\{connector="[^"]+",?\} 1\.0$', text)
        assert re.search(r"(?m)^tomcat_jvm_heap_used_bytes ", text)


def test_redis_exporter_takes_its_password_from_a_file(tmp_path: Path) -> None:
    password = "a password that is in no argument"
    with redis_server(tmp_path, "--requirepass", password) as server:
        url = f"redis://127.0.0.1:{server.port}"
        file = tmp_path / "password.json"
        file.write_text(json.dumps({url: password}))
        with redis_exporter(tmp_path, url, file) as exporter:
            text = scrape(exporter)
            assert re.search(r"(?m)^redis_up 1$", text)
            assert password not in text
        file.write_text(json.dumps({url: "another"}))
        with redis_exporter(tmp_path, url, file) as exporter:
            assert re.search(r"(?m)^redis_up 0$", scrape(exporter))
