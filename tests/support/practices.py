"""What the documents say of the practices' rows: tests compare it with what was proved."""

from collections.abc import Iterator

from tests.support.service import PROJECT


def _tables(page: str) -> Iterator[dict[str, str]]:
    """The rows of a page's tables about practices, by their columns' names."""
    names: list[str] = []
    for line in (PROJECT / page).read_text().splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")] if line.startswith("|") else []
        if "practice" in cells:
            names = cells
        elif not cells:
            names = []
        elif names and not cells[0].startswith("---"):
            yield dict(zip(names, cells, strict=True))


def titles() -> dict[str, str]:
    """The practices of docs/practices.md by their row."""
    return {found["row"]: found["practice"] for found in _tables("docs/practices.md")}


def proved_by(command: str) -> set[str]:
    """The rows with a "yes" in docs/practices.md, in the column of this command."""
    return {
        found["row"]
        for found in _tables("docs/practices.md")
        for name, cell in found.items()
        if f"`{command}`" in name and cell == "yes"
    }


def rows_of_the_readme() -> set[str]:
    """The rows that README.md says where to find."""
    return {row for found in _tables("README.md") for row in found["row"].split(", ")}
