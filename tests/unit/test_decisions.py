"""Decision pages have a number, a date and a title; the index lists them; no relative link of a document is dead."""

import re
from itertools import pairwise
from pathlib import Path

import pytest

from tests.support.service import PROJECT

DECISIONS = PROJECT / "docs" / "decisions"
PAGES = sorted(page for page in DECISIONS.glob("*.md") if page.name != "README.md")
DOCUMENTS = sorted(
    path
    for pattern in ("*.md", "docs/**/*.md", "k8s/**/*.md", "sidecars/**/*.md", "bench/*.md", ".github/**/*.md")
    for path in PROJECT.glob(pattern)
)
HEADER = re.compile(r"# (\d+)\. (\S.*)\n\nDate: (\d{4}-\d\d-\d\d)\. Status: (?:accepted|superseded by \d+)\.\n\n")
ROW = re.compile(r"^\| \[(\d+)\]\((\d{4}-[a-z0-9-]+\.md)\) \| (.+) \| (\d{4}-\d\d-\d\d) \|$", re.MULTILINE)


def relative(path: Path) -> str:
    return str(path.relative_to(PROJECT))


def header(page: Path) -> tuple[int, str, str]:
    """Number, title and date of a decision page, from its first lines."""
    found = HEADER.match(page.read_text())
    assert found, f"{relative(page)} does not begin with '# N. title' and 'Date: YYYY-MM-DD. Status: accepted.'"
    return int(found[1]), found[2], found[3]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_decision_page_begins_with_the_number_of_its_file_a_title_and_a_date(page: Path) -> None:
    number, _, _ = header(page)
    assert page.name.startswith(f"{number:04}-")


def test_numbers_are_given_once_and_without_gaps() -> None:
    assert [header(page)[0] for page in PAGES] == list(range(1, len(PAGES) + 1))


def test_dates_do_not_go_back() -> None:
    dates = [header(page)[2] for page in PAGES]
    assert all(earlier <= later for earlier, later in pairwise(dates))


def test_the_index_has_a_row_with_number_title_and_date_of_each_page() -> None:
    rows = [
        (int(number), name, title, date)
        for number, name, title, date in ROW.findall((DECISIONS / "README.md").read_text())
    ]
    pages = [(number, page.name, title, date) for page in PAGES for number, title, date in [header(page)]]
    assert rows == pages


@pytest.mark.parametrize("document", DOCUMENTS, ids=relative)
def test_each_relative_link_points_to_something_that_exists(document: Path) -> None:
    text = re.sub(r"```.*?```|`[^`\n]+`", "", document.read_text(), flags=re.DOTALL)
    links = [link for link in re.findall(r"\]\(([^)\s]+)\)", text) if not re.match(r"[a-z]+:|#", link)]
    dead = [link for link in links if not (document.parent / link.partition("#")[0]).exists()]
    assert dead == []
