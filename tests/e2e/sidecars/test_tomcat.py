"""A real Tomcat, unchanged, that only writes files; the log agent beside it: everything comes out, once, as records."""

from collections import Counter
from pathlib import Path
from typing import Any

from tests.support.agent import log_agent
from tests.support.processes import wait_until
from tests.support.tomcat import ask, tomcat

# catalina.out has the same records as the files once more, for whoever has no files.
PATTERNS = "tomcat={0}/catalina.*.log tomcat={0}/localhost.*.log access={0}/localhost_access_log.*.txt"


def ledger(records: list[dict[str, Any]]) -> list[int]:
    return [int(record["message"].split()[1]) for record in records if record["message"].startswith("ledger ")]


def test_what_tomcat_writes_comes_out(tmp_path: Path) -> None:
    with tomcat(tmp_path) as running:
        files = PATTERNS.format(running.logs)
        with log_agent(tmp_path / "out", files, tmp_path / "state") as agent:
            for number in range(20):
                assert ask(running, "/") == 200
                assert ask(running, f"/log.jsp?from={number * 50}&to={number * 50 + 50}") == 200
            assert ask(running, "/fail.jsp") == 500
            assert ask(running, '/none?a="quoted\\"') in (400, 404)
            wait_until("half of the ledger", lambda: len(ledger(agent.records)) > 500)
            agent.process.kill()
        with log_agent(tmp_path / "out", files, tmp_path / "state") as agent:
            for number in range(20, 40):
                assert ask(running, f"/log.jsp?from={number * 50}&to={number * 50 + 50}") == 200
            running.end()  # a native sidecar gets its signal after the application has ended
            assert agent.terminate() == 0
    records = agent.records
    by_id = {record["logging.googleapis.com/insertId"]: record for record in records}
    assert sorted(ledger(list(by_id.values()))) == list(range(2000)), (
        "a line is missing, or a twin has another insertId"
    )
    [failure] = [record for record in by_id.values() if "the sale failed" in record["message"]]
    assert failure["severity"] == "ERROR"
    assert failure["message"].count("\tat ") > 60
    assert "java.lang.IllegalStateException: nothing is left" in failure["message"]
    access = [record["httpRequest"] for record in by_id.values() if "httpRequest" in record]
    statuses = Counter(request["status"] for request in access)
    assert (statuses[200], statuses[500]) == (60, 1)
    assert sum(statuses.values()) == 62
    assert {record["severity"] for record in by_id.values()} <= {"INFO", "WARNING", "ERROR", "NOTICE"}
    starts = [record for record in by_id.values() if record["message"].startswith("Server startup in")]
    assert [record["thread"] for record in starts] == ["main"]
