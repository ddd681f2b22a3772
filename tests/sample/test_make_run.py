"""``make run`` with the sample: a page to open, and visits and files that are kept."""

from pathlib import Path

from tests.support.product import Visitor
from tests.unit.test_make_run import make_run


def test_the_page_visits_and_files_are_there(tmp_path: Path) -> None:
    with make_run(tmp_path, "PORT=0", "OPS_PORT=0") as service, Visitor(service.app_url) as visitor:
        assert visitor.get("/").headers.get_content_type() == "text/html"
        assert [visitor.ask("POST", "/api/session/visits").json["visits"] for _ in range(2)] == [1, 2]
        assert visitor.put("a", b"x").status == 201
