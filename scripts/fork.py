"""Make a service of your own from this one: a new folder with your name in it. This tree stays as it is.

    make fork NAME=parcel-box INTO=../parcel-box TITLE="Parcel Box" OWNER=@example/team SAMPLE=no

``python -m scripts.fork --here`` does the same to the project that it is in, again and again with the same result. Exit
codes: 0, or 2 where nothing was begun.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

PROJECT = Path(__file__).parents[1]
LABEL = re.compile("[a-z][a-z0-9-]{1,30}[a-z0-9]")  # RFC 1123, and room for what Kubernetes appends


@dataclass(frozen=True)
class Part:
    """What a fork may do without, and what names it. ``edits``: a file, a pattern, and what stands there instead."""

    paths: tuple[str, ...]
    verbs: tuple[str, ...] = ()  # of the Makefile
    edits: tuple[tuple[str, str, str], ...] = ()


BENCH = Part(
    paths=("bench", "docs/scale.md", "docs/images/bench.svg", "docs/images/flame.svg", "requirements-bench.txt",
           "tests/unit/test_bench.py"),
    verbs=("bench",),
    edits=(
        ("Makefile", r"^BENCH := .*\n", ""),
        ("Makefile", r"^\$\(BENCH\)/bench\.stamp:.*\n\t.*\n\n", ""),
        ("pyproject.toml", r'^(files = .*), "bench"', r"\1"),
        ("scripts/lock.sh", r"^.*--group bench .*\n", ""),
    ),
)  # fmt: skip
# With the sample go the proofs that run the whole product, by the sample's routes.
SAMPLE = Part(
    paths=("service/sample", "tests/sample", "tests/support/product.py", "tests/conformance", "tests/e2e/browser",
           "tests/e2e/container", "tests/e2e/cluster", "docs/cluster.md", "docs/practices.md", "docs/images",
           "scripts/prove.py", "scripts/screenshots.py", "scripts/axe.sh", "scripts/kind-test.sh", ".ci/node",
           "tests/support/practices.py",
           "tests/e2e/sidecars/test_practices_beside.py"),
    verbs=("prove", "test-practices", "test-browser", "test-container", "test-cluster", "screenshots"),
    edits=(
        ("service/__init__.py", r"^(FEATURES: .*) = .*", r"\1 = ()"),
        ("Makefile", r"^  tests/sample/\{.*\n", ""),
        ("pyproject.toml", r', "tests/sample"', ""),
        (".ci/run", r"\n# The manifests on a real Kubernetes[\s\S]*", ""),
        ("Makefile", r" tests/e2e/container/\*\.sh", ""),
    ),
)  # fmt: skip

# What was measured or promised for this service, and not for a fork of it.
FIGURES = ("The last full run", "What was missed in that run, and why")  # in bench/README.md
README = """# {title}

Say here in a few sentences what this service is for.

```sh
make run
make check
make test
```

The first starts it on <http://localhost:8080/>, with metrics and health on <http://localhost:9090/metrics>. The second
runs what needs only the virtual environment, the third all tests, against real stores. `make` lists the other commands.

- [docs/fork.md](docs/fork.md): where your routes go, and how to prove the practices on them
- [docs/settings.md](docs/settings.md): every setting
- [k8s/README.md](k8s/README.md): how it is deployed
- [docs/decisions](docs/decisions/README.md): why things are as they are
- [CONTRIBUTING.md](CONTRIBUTING.md): how to work on it

{practices}"""
CHANGELOG = """# Changelog

What changed for users, newest first. The format is that of [Keep a Changelog](https://keepachangelog.com/en/1.1.0/).

## [Unreleased]
"""


@dataclass(frozen=True)
class Answers:
    """What a fork is asked for. ``name`` is a DNS label; ``title`` is for people; ``owner`` is for CODEOWNERS."""

    name: str
    title: str
    owner: str
    leaves_out: tuple[Part, ...]

    @property
    def spellings(self) -> tuple[str, str, str]:
        """As it is; as a variable or a recording rule; as an alert."""
        return self.name, self.name.replace("-", "_"), self.name.title().replace("-", "")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command. The exit code."""
    options = _parser().parse_args(arguments)
    left_out = tuple(part for part, kept in ((SAMPLE, options.sample), (BENCH, options.bench)) if kept == "no")
    if SAMPLE in left_out:
        left_out = (SAMPLE, BENCH)  # it measures the sample's routes
    answers = Answers(options.name, options.title or options.name.replace("-", " ").title(), options.owner, left_out)
    target = PROJECT if options.here else Path(options.into)
    if errors := _errors(options, answers, target):
        for error in errors:
            print(f"fork: {error}", file=sys.stderr)
        return 2
    if not options.here:
        print(f"copying to {target}", file=sys.stderr)
        _copy(target)
    print(f"naming it {answers.name}", file=sys.stderr)
    apply(target, answers)
    if options.answers:  # JSON is YAML
        (target / ".copier-answers.yml").write_text(f"{options.answers}\n", encoding="utf-8")
    if not options.here:
        subprocess.run(["git", "init", "--quiet", "--initial-branch=main"], cwd=target, check=True)
        subprocess.run(["git", "add", "--all"], cwd=target, check=True)
    print(_what_is_left(target, answers))
    return 0


def apply(tree: Path, answers: Answers) -> None:
    """Make ``tree``, a copy of this project or a fork of it, the fork that the answers ask for."""
    old = _answers_of(tree)
    for part in answers.leaves_out:
        _leave_out(part, tree)
    if old.name != answers.name:
        _begin_anew(tree, answers)
    for path in list(_files(tree)):
        _rename(path, tree, old, answers)
    for path in list(_files(tree)):
        if path.suffix == ".md":
            _unlink(path)
            _forget(path, answers)
    if answers.owner:
        (tree / ".github" / "CODEOWNERS").write_text(f"* {answers.owner}\n", encoding="utf-8")
    if find_spec("ruff") is None or find_spec("yaml") is None:
        print("fork: run 'make format docs' in it; this Python has no ruff to do it", file=sys.stderr)
        return
    for module in ("scripts.settings_page", "scripts.rules"):
        subprocess.run([sys.executable, "-m", module], cwd=tree, check=True)
    ruff = [sys.executable, "-m", "ruff"]
    subprocess.run([*ruff, "check", "--quiet", "--fix", "--exit-zero", "--no-cache"], cwd=tree, check=True)
    subprocess.run([*ruff, "format", "--quiet", "--no-cache"], cwd=tree, check=True)


def _parser() -> argparse.ArgumentParser:
    def given(name: str, default: str = "") -> str:
        return os.environ.get(name) or default

    parser = argparse.ArgumentParser(prog="make fork", description="Make a service of your own from this one.")
    parser.add_argument("--name", default=given("NAME"), help="a DNS label, such as parcel-box")
    parser.add_argument("--into", default=given("INTO"), help="a folder that does not exist yet")
    parser.add_argument("--here", action="store_true", help="change this folder, which is a copy already")
    parser.add_argument("--title", default=given("TITLE"), help="the name for people; made of the name unless given")
    parser.add_argument("--owner", default=given("OWNER"), help="who reviews changes: @user or @organisation/team")
    parser.add_argument("--sample", default=given("SAMPLE", "yes"), help="no: without the sample's routes and page")
    parser.add_argument("--answers", help=argparse.SUPPRESS)  # copier's own, which it reads at an update
    parser.add_argument("--bench", default=given("BENCHMARK", "yes"), help="no: without the benchmark")
    return parser


def _errors(options: argparse.Namespace, answers: Answers, target: Path) -> list[str]:
    errors = []
    if not LABEL.fullmatch(answers.name):
        errors.append(f"NAME must be 3 to 32 small letters, digits and hyphens, as parcel-box, not {answers.name!r}")
    elif answers.name != _answers_of(PROJECT).name and answers.name in _words_of_the_service():
        errors.append(f"NAME: {answers.name} is a word of the code in service/ already; give another")
    if not answers.title.isprintable() or any(character in answers.title for character in "\"'\\<>&{}"):
        errors.append(f"TITLE must be one line without quotes, brackets and backslashes, not {answers.title!r}")
    if answers.owner and not re.fullmatch(r"@[\w.-]+(?:/[\w.-]+)?", answers.owner):
        errors.append(f"OWNER must be @user or @organisation/team, not {answers.owner!r}")
    for option, value in (("SAMPLE", options.sample), ("BENCHMARK", options.bench)):
        if value not in ("yes", "no"):
            errors.append(f"{option} must be yes or no, not {value!r}")
    return errors if options.here else errors + _errors_of_a_copy(options, target)


def _errors_of_a_copy(options: argparse.Namespace, target: Path) -> list[str]:
    errors = []
    if not options.into:
        errors.append("INTO must name a folder that does not exist yet, as INTO=../parcel-box")
    elif target.exists() and (not target.is_dir() or any(target.iterdir())):
        errors.append(f"INTO: {target} is there already, and not empty")
    elif target.resolve().is_relative_to(PROJECT):
        errors.append(f"INTO: {target} is inside of this project; give a folder beside it")
    if subprocess.run(["git", "status", "--porcelain"], cwd=PROJECT, capture_output=True, check=True).stdout:
        errors.append("this tree has changes that are not committed; commit or stash them")
    return errors


def _words_of_the_service() -> set[str]:
    """Words that a later change of the name could not tell from the name."""
    return {word for path in (PROJECT / "service").rglob("*.py") for word in re.findall("[a-z]+", path.read_text())}


def _copy(target: Path) -> None:
    """What git knows, and nothing else: no environment, no cache, no secret that lies about."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=PROJECT, capture_output=True, check=True, text=True)
    for name in filter(None, listed.stdout.split("\0")):
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(PROJECT / name, target / name, follow_symlinks=False)


def _answers_of(tree: Path) -> Answers:
    """The name that the tree has now."""
    name = tomllib.loads((tree / "pyproject.toml").read_text(encoding="utf-8"))["project"]["name"]
    title = re.search(r'^TITLE = "(.*)"', (tree / "service" / "name.py").read_text(encoding="utf-8"), re.MULTILINE)
    return Answers(name, title[1] if title else name, "", ())


def _files(tree: Path) -> Iterator[Path]:
    for folder, folders, names in os.walk(tree):
        folders[:] = sorted(set(folders) - {".git", ".venv", ".cache", "__pycache__"})
        yield from (Path(folder, name) for name in sorted(names))


def _rename(path: Path, tree: Path, old: Answers, new: Answers) -> None:
    """Replace the name in a file, and in its path."""
    if path.name not in ("LICENSE", "fork.py") and not path.is_symlink():
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            return  # a picture
        if (changed := in_spellings(text, old, new)) != text:
            path.write_text(changed, encoding="utf-8")
    inside = path.relative_to(tree)
    if old.name in str(inside) and old.name != new.name:
        renamed = tree / str(inside).replace(old.name, new.name)
        renamed.parent.mkdir(parents=True, exist_ok=True)
        path.replace(renamed)
        for folder in path.parents:
            if folder == tree or any(folder.iterdir()):
                break
            folder.rmdir()


def in_spellings(text: str, old: Answers, new: Answers) -> str:
    """A text with the new name for the old one, in the three spellings that syntax forces, and the new title."""
    (plain, joined, camel), (new_plain, new_joined, new_camel) = old.spellings, new.spellings
    if plain != new_plain:
        text = re.sub(rf"{joined}(?=_|:[a-z_]+:[a-z])", new_joined, text)  # variables; recording rules: name:what:how
        text = re.sub(rf"{camel}(?=[A-Z])", new_camel, text)  # alerts
        text = text.replace(plain, new_plain)
    return re.sub(rf"\b{re.escape(old.title)}\b", lambda _: new.title, text)


def _delete(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _begin_anew(tree: Path, answers: Answers) -> None:
    """Pages that say what was measured, promised or changed here, and not in a fork."""
    readme = tree / "README.md"
    found = re.search(r"^## The practices.*\n\n(?:\|.*\n)+", readme.read_text(encoding="utf-8"), re.MULTILINE)
    practices = found[0] if found else ""
    readme.write_text(README.format(title=answers.title, practices=practices), encoding="utf-8")
    (tree / "CHANGELOG.md").write_text(CHANGELOG, encoding="utf-8")
    figures = tree / "bench/README.md"
    if figures.exists():
        for title in FIGURES:
            _edit(figures, rf"^## {re.escape(title)}\n(?:(?!## ).*\n?)*", "")


def _leave_out(part: Part, tree: Path) -> None:
    for path in part.paths:
        _delete(tree / path)
    for verb in part.verbs:
        _edit(tree / "Makefile", rf"(?:^#.*\n)?^{verb}:.*\n(?:\t.*\n)+\n?", "")
        _edit(tree / "Makefile", rf"(^\.PHONY:.*) {verb}(?= |$)", r"\1")
        _edit(tree / ".ci/run", rf"^part make {verb}\n", "")
        for workflow in (tree / ".github/workflows").glob("*.yml"):
            _edit(workflow, rf"^ *- run: make {verb}\n", "")
    for path, pattern, replacement in part.edits:
        _edit(tree / path, pattern, replacement)


def _edit(path: Path, pattern: str, replacement: str) -> None:
    text = path.read_text(encoding="utf-8")
    path.write_text(re.sub(pattern, replacement, text, flags=re.MULTILINE), encoding="utf-8")


def _forget(page: Path, answers: Answers) -> None:
    """Take out of a page what names files or commands that are gone: in a table the name, else the paragraph."""
    gone = [re.escape(path) for part in answers.leaves_out for path in part.paths]
    gone += [rf"make {verb}\b|`{verb}`" for part in answers.leaves_out for verb in part.verbs]
    if not gone:
        return
    names = re.compile(rf"(?<![\w/-])(?:{'|'.join(gone)})")
    kept = []
    for block in re.split(r"\n{2,}", page.read_text(encoding="utf-8")):
        if block.startswith("|"):
            cleaned = re.sub(r"(?:, )?(`[^`]*`)", lambda found: "" if names.search(found[1]) else found[0], block)
            kept.append(cleaned.replace("| , ", "| "))
        elif not names.search(block):
            kept.append(block)
    page.write_text("\n\n".join(kept).rstrip("\n") + "\n", encoding="utf-8")


def _unlink(page: Path) -> None:
    """Links to pages that are gone become plain text."""

    def link(found: re.Match[str]) -> str:
        target = found[2].partition("#")[0]
        is_there = "://" in found[2] or not target or (page.parent / target).exists()
        return found[0] if is_there else found[1]

    text = page.read_text(encoding="utf-8")
    text = re.sub(r"!\[[^\]]*\]\((?!\w+://)([^)]+)\)\n?", lambda f: f[0] if (page.parent / f[1]).exists() else "", text)
    page.write_text(re.sub(r"(?<!!)\[([^\]]*)\]\(([^)\s]+)\)", link, text), encoding="utf-8")


def _what_is_left(target: Path, answers: Answers) -> str:
    is_bare = SAMPLE in answers.leaves_out
    own = "write your first feature: docs/fork.md" if is_bare else "service/sample: keep what fits your service"
    return f"""
{answers.title} is in {target}. Try it:

  cd {target} && make run

What is left to you:

  - {own}
  - README.md and SECURITY.md: what your service is for, and where to report a hole in it
  - pyproject.toml: the description, the version
  - k8s/overlays: your image, your project, your hosts
"""


if __name__ == "__main__":
    sys.exit(main())
