"""The product's name: in one module of service/, and in pyproject.toml."""

import re
import tomllib
from pathlib import Path

from service.name import NAME, TITLE

PROJECT = Path(__file__).parents[2]
MODULE = PROJECT / "service" / "name.py"


def test_the_project_is_called_so_too() -> None:
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
    assert project["name"] == NAME
    assert list(project["scripts"]) == [NAME]
    extras = project["optional-dependencies"]
    assert extras["all"] == [f"{NAME}[{','.join(extra for extra in extras if extra != 'all')}]"]


def test_nothing_else_of_the_service_contains_the_name() -> None:
    """What no user looks at has none, and what users see comes from the module."""
    spellings = "|".join(map(re.escape, (NAME, NAME.replace("-", "_"), NAME.replace("-", ""), TITLE)))
    word = re.compile(rf"(?<![a-z0-9])({spellings})(?![a-z0-9])", re.IGNORECASE)  # a short one is part of many words
    paths = [path for path in (PROJECT / "service").rglob("*") if path.is_file() and path.suffix != ".pyc"]
    found = [path for path in paths if path != MODULE and word.search(path.read_text())]
    assert [str(path.relative_to(PROJECT)) for path in found] == []
