"""Where the suite's options stand: on the command line, in the environment, or in a file that the service keeps."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.service import PROJECT

NOBODY = "http://127.0.0.1:1/"  # the run ends with its words, so that the address that was read is seen


def conform(folder: Path, *options: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run the suite in a folder as a user does."""
    own = {"PATH": os.environ["PATH"], "PYTHONPATH": str(PROJECT), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-m", "conformance", *options]
    return subprocess.run(
        command, cwd=folder, env=own | environ, capture_output=True, text=True, check=False, timeout=60
    )


@pytest.mark.parametrize(
    ("file", "lines"),
    [("conformance.toml", ""), ("pyproject.toml", "[tool.conformance]\n")],
    ids=["own", "pyproject"],
)
def test_options_stand_in_a_file_and_the_environment_and_the_command_line_win(
    tmp_path: Path, file: str, lines: str
) -> None:
    named = tmp_path / "elsewhere" / file
    named.parent.mkdir()
    named.write_text(f'{lines}base_url = "{NOBODY}named"\n')
    (tmp_path / file).write_text(f'{lines}base_url = ["{NOBODY}file"]\ngrace = 2\nnotice = 0.5\ndetails = true\n')
    for options, environ, last in (
        ((), {}, "file"),
        ((), {"BASE_URL": f"{NOBODY}environment"}, "environment"),
        (("--base-url", f"{NOBODY}command-line"), {"BASE_URL": f"{NOBODY}environment"}, "command-line"),
        (("--config", str(named)), {}, "named"),
        ((), {"CONFIG": str(named)}, "named"),
    ):
        done = conform(tmp_path, *options, **environ)
        assert (done.returncode, f"connection at {NOBODY}{last}:" in done.stderr) == (2, True), done.stderr


@pytest.mark.parametrize(
    ("file", "content", "words"),
    [
        ("conformance.toml", "visit_path = '/'", "there is no option 'visit_path'; is it 'visits_path'?"),
        ("conformance.toml", "base-url = 'http://localhost'", "there is no option 'base-url'; is it 'base_url'?"),
        ("conformance.toml", "grace = 'long'", "'grace' must be a number"),
        ("conformance.toml", "grace = true", "'grace' must be a number"),
        ("conformance.toml", "details = 'yes'", "'details' must be true or false"),
        ("conformance.toml", "home_path = 5", "'home_path' must be a string"),
        ("conformance.toml", "home_path = ['/']", "'home_path' must be a string"),
        ("conformance.toml", "only = [7]", "'only' must be a string or a list of strings"),
        ("conformance.toml", "[here]", "there is no option 'here'"),
        ("conformance.toml", "grace =", "conformance.toml: Invalid value"),
        ("pyproject.toml", "[tool.conformance]\nnope = 1", "pyproject.toml: there is no option 'nope'"),
        ("pyproject.toml", "[tool]\nconformance = 1", "pyproject.toml: tool.conformance is not a table"),
        ("pyproject.toml", "tool = 1", "pyproject.toml: tool is not a table"),
    ],
)
def test_what_can_not_be_right_in_the_file_is_told(tmp_path: Path, file: str, content: str, words: str) -> None:
    (tmp_path / file).write_text(content)
    done = conform(tmp_path, "--base-url", NOBODY)
    assert (done.returncode, words in done.stderr) == (2, True), done.stderr


def test_a_file_that_is_named_must_be_there_and_two_are_one_too_many(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text("[project]\nname = 'x'\n")
    (tmp_path / "conformance.toml").write_text(f"base_url = '{NOBODY}'\n")
    for options, words in (
        (("--config", "nowhere.toml"), "No such file or directory: 'nowhere.toml'"),
        (("--config", "pyproject.toml"), "pyproject.toml: there is no [tool.conformance]"),
        ((), "nobody takes a connection"),
    ):
        done = conform(tmp_path, *options)
        assert (done.returncode, words in done.stderr) == (2, True), done.stderr
    (tmp_path / "pyproject.toml").write_text("[tool.conformance]\n")
    done = conform(tmp_path)
    assert (done.returncode, "options stand in conformance.toml and in pyproject.toml" in done.stderr) == (2, True)
